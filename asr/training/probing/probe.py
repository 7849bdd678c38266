"""A probe of a trained model: head, hypotheses of a set, and what a run keeps of it.

RUN/decode/SET/probe_NAME.jsonl has hypotheses as `asr decode` writes them, for score, compare and report;
RUN/probes/SET/NAME.json the settings, the losses and the rates.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from asr.data.dataset import SpeechSet
from asr.data.manifest.index import digest
from asr.decoding.decode_dataset import batches_of, decode_batch
from asr.decoding.greedy import greedy_only
from asr.decoding.sharing.output import SharedOutput, Work
from asr.decoding.sharing.processes import Processes
from asr.errors import UserError
from asr.evaluation.bootstrap import Score, score_aligned
from asr.evaluation.edit_distance import align
from asr.evaluation.hypotheses import read_hypotheses
from asr.evaluation.normalisers import Normaliser
from asr.evaluation.systems import normalised
from asr.model.loaded_model import LoadedModel
from asr.training.probing.features import LabelledFrames, labelled_frames
from asr.training.probing.head import HeadSettings, TrainedHead, train_head
from asr.training.probing.network import probed, with_head
from asr.utils.files import write_json


@dataclass(frozen=True)
class ProbeSettings:
    """What is asked for."""

    model: str
    """teacher or student."""
    block: int | None
    labelled_minutes: float | None
    """Of audio, drawn by the seed; None for the whole set."""
    memory_gb: float
    batch_seconds: float
    """Padded audio that is heard together; it changes no result beyond rounding."""
    head: HeadSettings

    @property
    def name(self) -> str:
        """Of its files."""
        return self.model + ("" if self.block is None else f"_block{self.block}")


@dataclass(frozen=True)
class Probe:
    """What came out."""

    score: Score
    labelled: LabelledFrames
    head: TrainedHead
    path: Path
    """Of its JSON."""
    hypotheses: Path


def run_probe(
    run: Path,
    model: LoadedModel,
    labelled: Path,
    tested: Path,
    normaliser: Normaliser,
    settings: ProbeSettings,
    say: Callable[[str], None],
) -> Probe:
    """Train a head on the one set, decode the other greedily, score it, and write both files into `run`.

    `model` is one of `load_frozen`. Transcripts are trained on and compared under `normaliser`. Raises
    UserError for a set that cannot be used, and where the two are the same.
    """
    frozen, rate_hz = probed(model, settings.block), model.config.features.sample_rate_hz
    speech, test = (SpeechSet.load(path).at_rate(rate_hz) for path in (labelled, tested))
    _check_apart(speech, test, labelled, tested)
    started = time.monotonic()
    found = labelled_frames(
        frozen,
        speech,
        normaliser.apply,
        settings.labelled_minutes,
        settings.head.seed,
        settings.memory_gb,
        settings.batch_seconds,
    )
    say(f"frames of {found.seconds / 60:.1f} minutes after {time.monotonic() - started:.0f} s")
    head = train_head(
        found.frames_SD, found.targets, found.tokenizer.vocabulary_size, settings.head
    )
    say(f"head trained after {time.monotonic() - started:.0f} s")
    about = {
        **_about(model, found, head, settings),
        "labelled": str(labelled),
        "labelled_utterances_sha256": digest(speech.keys, speech.seconds),
    }
    whole = with_head(frozen, head.layer, found.tokenizer)
    output = _decode(run, whole, test, tested, settings, about, say)
    score = score_aligned(align(normalised(read_hypotheses(output), normaliser)))
    path = run / "probes" / test.name / f"{settings.name}.json"
    content: dict[str, Any] = {
        "set": test.name,
        **about,
        "first_loss": head.first_loss,
        "last_loss": head.last_loss,
        "normaliser": normaliser.stamp,
        "score": score.to_json(),
    }
    write_json(path, content)
    return Probe(score, found, head, path, output)


def _about(
    model: LoadedModel, found: LabelledFrames, head: TrainedHead, settings: ProbeSettings
) -> dict[str, Any]:
    """What the hypotheses depend on."""
    return {
        "kind": "ctc linear probe",
        "model": settings.model,
        "block": settings.block,
        "checkpoint": str(model.checkpoint),
        "weights_sha256": model.weights_sha256,
        "objective": model.config.objective.kind,
        "labelled_minutes": round(found.seconds / 60, 3),
        "labelled_utterances": len(found.targets),
        "left_out": found.left_out,
        "tokens": found.tokenizer.vocabulary_size,
        **asdict(settings.head),
        "head_sha256": _sha256(head.layer),
    }


def _check_apart(speech: SpeechSet, test: SpeechSet, labelled: Path, tested: Path) -> None:
    both = len(set(speech.keys.tolist()) & set(test.keys.tolist()))
    if both:
        raise UserError(
            f"{both} of {len(test)} utterances of {tested} are in {labelled}, too",
            "give --labelled and --set different speech: a probe is judged by what it was not trained on",
        )
    if len(test.without_text()) == len(test):
        raise UserError(f"{tested}: has no transcripts", "give --set a set with its transcripts")


def _decode(
    run: Path,
    model: LoadedModel,
    test: SpeechSet,
    manifest: Path,
    settings: ProbeSettings,
    about: dict[str, Any],
    say: Callable[[str], None],
) -> Path:
    """Greedily, into the run's decode/SET; the path of the hypotheses."""
    path = run / "decode" / test.name / f"probe_{settings.name}.jsonl"
    output = SharedOutput(path, Processes(0, 1, model.device), say)
    stamp = {
        **about,
        "decoder": "greedy",
        "set": test.name,
        "manifest": str(manifest),
        "utterances_sha256": digest(test.keys, test.seconds),
    }
    batches = batches_of(model, test, settings.batch_seconds)
    decode = partial(decode_batch, model, test, decoder=greedy_only, token_times=False, lost=[])
    output.write(Work(test, batches, decode), stamp)
    return path


def _sha256(layer: torch.nn.Linear) -> str:
    values = (layer.weight, layer.bias)
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in values)).hexdigest()
