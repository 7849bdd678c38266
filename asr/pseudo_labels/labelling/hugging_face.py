"""Recognisers in Hugging Face's layout, through transformers: CTC models, Whisper, Moonshine. Safetensors only.

Shape suffixes: B utterances, N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.model.ctc import best_paths
from asr.model.encoder_decoder.loading import families
from asr.model.frame_readers.hugging_face import (
    HuggingFaceCtc,
    cannot_be_loaded,
    hugging_face_config,
    is_ctc,
    weights_of,
)
from asr.pseudo_labels.label import label_metrics
from asr.pseudo_labels.labelling.recogniser import Choice, Recogniser, Recognition
from asr.pseudo_labels.labelling.written import WritingRecogniser

_MEASURE = "likelihood"


def load_hugging_face(choice: Choice, device: torch.device) -> Recogniser:
    """By the model's config.json. Raises UserError for what is no recogniser of these, or cannot be had."""
    config = hugging_face_config(choice.model)
    stamp = {
        "kind": config.model_type,
        "weights": weights_of(choice.model)
        or getattr(config, "_commit_hash", None)
        or choice.model,
        "language": choice.language,
    }
    if config.model_type in families():
        try:
            return WritingRecogniser.of_others(choice, stamp, device)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise cannot_be_loaded(choice.model, error) from None
    if is_ctc(config):
        return _Ctc(choice, device, stamp)
    raise UserError(
        f"{choice.model}: a {config.model_type} "
        f"({', '.join(config.architectures or []) or 'no architecture'})",
        f"name a CTC model (...ForCTC), or one of these: {', '.join(families())}",
    )


class _Ctc:
    """Greedy CTC, each utterance by itself."""

    is_batched = False

    def __init__(self, choice: Choice, device: torch.device, stamp: Mapping[str, Any]) -> None:
        if choice.language is not None:
            raise UserError(
                f"--language {choice.language}: {choice.model} is not asked for one", "leave it out"
            )
        self._ctc, self.stamp = HuggingFaceCtc(choice.model, device), stamp

    @property
    def sample_rate_hz(self) -> int:
        return self._ctc.sample_rate_hz

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        return [
            self._one(waveform_N[:samples])
            for waveform_N, samples in zip(waveforms_BN, samples_B.tolist(), strict=True)
        ]

    def _one(self, waveform_N: Tensor) -> Recognition:
        logits_1SV = self._ctc.logits(waveform_N)
        frames_1 = torch.tensor([logits_1SV.shape[1]], device=logits_1SV.device)
        tokens = best_paths(logits_1SV, frames_1)
        [metrics] = label_metrics(logits_1SV, frames_1, tokens, _MEASURE, temperature=1.0)
        return Recognition(self._ctc.decode(tokens[0]), len(tokens[0]), metrics)
