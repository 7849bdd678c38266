"""An encoder-decoder as a recogniser, of ours or as others have pretrained it: with Whisper's safeguards.

Shape suffixes: B utterances, N samples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.config.recipe import parse_config
from asr.data.transcripts import training_tokenizer
from asr.decoding.generation import Generated
from asr.decoding.safeguards import GenerationSettings, write
from asr.errors import UserError
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.features import FrontEnd
from asr.model.loaded_model import LoadedModel
from asr.model.make import make_front_end, make_model
from asr.pseudo_labels.label import LabelMetrics
from asr.pseudo_labels.labelling.recogniser import Choice, Recognition
from asr.utils.devices import sent

_PIECES_AT_ONCE = 16
"""Windows that are in memory together."""
_TRAINED_WINDOW_SECONDS = 30.0


def in_windows(model: LoadedModel, network: EncoderDecoder, seconds: float) -> LoadedModel:
    """The model, which generates in windows of at least so long. Raises UserError for ones it cannot have."""
    tree = model.config.model_dump()
    tree["model"]["generation_window_seconds"] = seconds
    tree["model"]["window_seconds"] = min(seconds, tree["model"]["window_seconds"])
    config = parse_config(tree, f"--window-seconds {seconds:g}")
    front_end = make_front_end(config, network.encoder, reads=True).to(model.device)
    _fit(seconds, front_end)
    return replace(model, config=config, front_end=front_end)


def _fit(window_seconds: float, front_end: FrontEnd) -> None:
    longest = front_end.longest_seconds
    if 0 < longest < window_seconds:
        raise UserError(
            f"--window-seconds {window_seconds:g}: this model hears {longest:g} s at most",
            f"give {longest:g} or less, or leave it out",
        )


@dataclass(frozen=True)
class WritingRecogniser:
    """What is longer than the model's window is cut into equal parts."""

    model: LoadedModel
    network: EncoderDecoder
    """The model's."""
    model_stamp: Mapping[str, Any]
    settings: GenerationSettings = GenerationSettings()  # noqa: RUF009 - it is frozen
    is_batched = True

    @classmethod
    def of_others(
        cls, choice: Choice, stamp: Mapping[str, Any], device: torch.device
    ) -> WritingRecogniser:
        """A pretrained model, in windows as it was trained with. Raises UserError where it cannot be had."""
        model = {
            "kind": "encoder_decoder",
            "pretrained": choice.model,
            "language": choice.language,
            "window_seconds": choice.window_seconds or _TRAINED_WINDOW_SECONDS,
        }
        config = parse_config({"model": model}, choice.model)
        try:
            tokenizer = training_tokenizer(config)
            network = make_model(config, tokenizer.vocabulary_size).to(device).eval()
        except UserError as error:
            raise UserError(
                error.what.replace("model.language", "--language"), error.remedy
            ) from None
        assert isinstance(network, EncoderDecoder)
        front_end = make_front_end(config, network.encoder, reads=True).to(device)
        if choice.window_seconds is not None:
            _fit(choice.window_seconds, front_end)
        network.requires_grad_(False)
        folder, weights = Path(choice.model), str(stamp["weights"])
        loaded = LoadedModel(config, tokenizer, front_end, network, device, folder, weights)
        return cls(loaded, network, {**stamp, **choice.window_stamp})

    @property
    def sample_rate_hz(self) -> int:
        return self.model.front_end.sample_rate_hz

    @property
    def stamp(self) -> Mapping[str, Any]:
        return {**self.model_stamp, **self.settings.stamp()}

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        limit = (self.model.front_end.longest_seconds or math.inf) * self.sample_rate_hz
        pieces, owners = [], []
        for place, samples in enumerate(samples_B.tolist()):
            parts = max(1, math.ceil(samples / limit))
            pieces += list(waveforms_BN[place, :samples].tensor_split(parts))
            owners += [place] * parts
        found: list[list[Generated]] = [[] for _ in samples_B]
        for first in range(0, len(pieces), _PIECES_AT_ONCE):
            batch = slice(first, first + _PIECES_AT_ONCE)
            for place, one in zip(owners[batch], self._written(pieces[batch]), strict=True):
                found[place].append(one)
        return [self._recognition(parts) for parts in found]

    def _written(self, pieces: list[Tensor]) -> list[Generated]:
        samples_B = torch.tensor([len(piece) for piece in pieces])
        padded_BN = sent(pad_sequence(pieces, True), self.model.device)
        features = self.model.front_end(padded_BN, samples_B)
        seconds = [len(piece) / self.sample_rate_hz for piece in pieces]
        # What is drawn depends on the audio alone.
        names = [hashlib.blake2b(piece.numpy().tobytes()).hexdigest() for piece in pieces]
        return write(self.network, self.model.tokenizer, features, seconds, names, self.settings)

    def _recognition(self, parts: list[Generated]) -> Recognition:
        logs = [log for one in parts for log in one.log_probabilities]
        entropies = [entropy for one in parts for entropy in one.entropies]
        chances = [one.no_speech_probability for one in parts]
        known = [chance for chance in chances if chance is not None]
        heard = [one.ctc_score for one in parts if one.ctc_score is not None]
        metrics = LabelMetrics(
            confidence=math.exp(math.fsum(logs) / max(1, len(logs))),
            blank_share=math.nan,
            entropy=math.fsum(entropies) / max(1, len(entropies)),
            confidence_measure="likelihood",
            no_speech_probability=max(known) if known else None,
            ctc_score=min(heard) if heard else None,
        )
        texts = [self.model.tokenizer.decode(one.tokens) for one in parts]
        return Recognition(" ".join(texts).strip(), sum(len(one.tokens) for one in parts), metrics)
