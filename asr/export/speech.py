"""The speech by which an export is checked: of the run's dev set where that is here, else seeded noise.

Shape suffixes: B utterances, N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr.data.dataset import SpeechSet, load_dev_sets
from asr.data.reading import Readable, padded
from asr.decoding.decode_dataset import batches_of, manifest_fields
from asr.decoding.greedy import greedy
from asr.errors import UserError
from asr.evaluation.bootstrap import Score, score_aligned
from asr.evaluation.edit_distance import align
from asr.evaluation.hypotheses import Utterance, utterance_of
from asr.evaluation.normalisers import Normaliser, recorded_normaliser
from asr.evaluation.systems import normalised
from asr.model.features import frame_mask
from asr.model.loaded_model import LoadedModel
from asr.utils.seeds import SeedTag, generator

_CHECKED = 8
_NOISE_SECONDS = (1.0, 2.5, 4.0)

Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Waveforms (B, N) and samples (B,) -> log-probabilities (B, S, V) and frames (B,)."""


@dataclass(frozen=True)
class CheckSpeech:
    """Some utterances, and the whole set where it is one."""

    waveforms: Sequence[Tensor]
    """(N,) each, at the model's rate."""
    what: str
    """For people."""
    whole: SpeechSet | None = None
    """The set, within what the model was trained with; None for noise."""

    @classmethod
    def of(cls, model: LoadedModel, manifest: Path | None) -> CheckSpeech:
        """Of a prepared set, by default the recipe's first dev set that is here; else noise.

        Raises UserError for a set that was asked for and cannot be read.
        """
        speech = _speech_set(model, manifest)
        if speech is None:
            return cls(_noise(model), "seeded noise, since no dev set of the recipe is here")
        limit = model.front_end.longest_seconds or model.config.corpus.max_seconds
        most = min(limit - 0.01, model.config.corpus.max_seconds)
        speech = speech.within(0.0, most)
        if not len(speech):
            if manifest is not None:
                raise UserError(
                    f"{manifest}: all its utterances are longer than {most:g} s, what the model knows",
                    "name a set of shorter ones",
                )
            what = f"seeded noise, since all of dev set '{speech.name}' is longer than {most:g} s"
            return cls(_noise(model), what)
        places = np.linspace(0, len(speech) - 1, min(_CHECKED, len(speech))).astype(int)
        read = Readable.of(speech.cuts, places.tolist())
        if not read.kept:
            if manifest is not None:
                raise next(iter(read.lost.values()))
            what = f"seeded noise, since the audio of dev set '{speech.name}' is not here"
            return cls(_noise(model), what)
        waveforms = [
            wave[:count]
            for wave, count in zip(read.waveforms_BN, read.samples_B.tolist(), strict=True)
        ]
        return cls(waveforms, f"{len(waveforms)} utterances of '{speech.name}'", speech)


def _speech_set(model: LoadedModel, manifest: Path | None) -> SpeechSet | None:
    rate_hz = model.config.features.sample_rate_hz
    if manifest is not None:
        speech = SpeechSet.load(manifest).at_rate(rate_hz)
        if not len(speech):
            raise UserError(f"{manifest}: has no utterances", "name a set that has some")
        return speech
    try:
        found = load_dev_sets(model.config)
    except UserError:
        return None
    return next((speech for speech in found if len(speech)), None)


def _noise(model: LoadedModel) -> list[Tensor]:
    rate_hz = model.config.features.sample_rate_hz
    return [
        torch.from_numpy(
            generator(0, SeedTag.EXPORT_CHECK, place)
            .normal(0.0, 0.1, round(seconds * rate_hz))
            .astype(np.float32)
        )
        for place, seconds in enumerate(_NOISE_SECONDS)
    ]


def batched(waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Waveforms (B, N) and samples (B,)."""
    return padded([wave.numpy() for wave in waveforms])


def texts_of(model: LoadedModel, log_probs_BSV: Tensor, frames_B: Tensor) -> list[str]:
    """The greedy text of each utterance."""
    return [model.tokenizer.decode(h.tokens) for h in greedy(log_probs_BSV, frames_B)]


def difference(found: Tensor, frames_B: Tensor, expected: Tensor, own_frames_B: Tensor) -> float:
    """The largest, over the valid frames; infinite where these are others, or one is NaN."""
    if frames_B.tolist() != own_frames_B.tolist():
        return float("inf")
    longest = int(frames_B.max())
    mask_BS = frame_mask(frames_B, longest)
    largest = float((found[:, :longest] - expected[:, :longest]).abs()[mask_BS].max())
    return largest if largest == largest else float("inf")


def scored(model: LoadedModel, speech: SpeechSet, run: Run) -> tuple[Score, list[str]]:
    """WER of a set by what `run` computes, under the recipe's normaliser; and the texts, by place.

    What cannot be read is left out.
    """
    found: dict[int, Utterance] = {}
    for batch in batches_of(model, speech):
        read = Readable.of(speech.cuts, batch)
        if not read.kept:
            continue
        texts = texts_of(model, *run(read.waveforms_BN, read.samples_B))
        for kept, text in zip(read.kept, texts, strict=True):
            place = batch[kept]
            cut = speech.cuts[place]
            record = {"id": cut.id, "reference": speech.references[place], "hypothesis": text}
            found[place] = utterance_of({**manifest_fields(cut), **record, "seconds": cut.duration})
    if not found:
        raise UserError(
            f"'{speech.name}': none of its audio can be read", "name another with --dev"
        )
    places = sorted(found)
    utterances = normalised([found[place] for place in places], normaliser_of(model))
    return score_aligned(align(utterances)), [found[place].hypothesis for place in places]


def normaliser_of(model: LoadedModel) -> Normaliser:
    """Under what the recipe compares texts."""
    where = f"{model.checkpoint / 'config.yaml'}, corpus.scoring_normaliser"
    return recorded_normaliser(model.config.corpus.scoring_normaliser, where)
