"""A model of ours as a recogniser.

Shape suffixes: B utterances, N samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from asr.model.ctc import best_paths
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.pseudo_labels.label import label_metrics
from asr.pseudo_labels.labelling.recogniser import Choice, Recogniser, Recognition
from asr.pseudo_labels.labelling.written import WritingRecogniser, in_windows

if TYPE_CHECKING:
    from asr.model.loaded_model import LoadedModel

_MEASURE = "likelihood"


@dataclass(frozen=True)
class OurRecogniser:
    """Greedy CTC by the average or the student of a run."""

    model: LoadedModel
    weights: str
    is_batched = True

    @classmethod
    def load(cls, choice: Choice, device: torch.device) -> Recogniser:
        """Or what writes, for an encoder-decoder. Raises UserError for a folder that lacks a part."""
        from asr.model.model_folder import load_model

        found = load_model(Path(choice.model), choice.weights, device, best=choice.best)
        ours = cls(found, choice.weights)
        if isinstance(found.network, EncoderDecoder):
            network = found.network
            if choice.window_seconds is not None:
                found = in_windows(found, network, choice.window_seconds)
            return WritingRecogniser(found, network, {**ours.stamp, **choice.window_stamp})
        return ours

    @property
    def sample_rate_hz(self) -> int:
        return self.model.config.features.sample_rate_hz

    @property
    def stamp(self) -> Mapping[str, Any]:
        return {"kind": "asr", "weights": self.weights, "weights_sha256": self.model.weights_sha256}

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        logits_BSV, lengths_B = self.model.logits(waveforms_BN, samples_B)
        tokens = best_paths(logits_BSV, lengths_B)
        metrics = label_metrics(logits_BSV, lengths_B, tokens, _MEASURE, temperature=1.0)
        return [
            Recognition(self.model.tokenizer.decode(of_one), len(of_one), measured)
            for of_one, measured in zip(tokens, metrics, strict=True)
        ]
