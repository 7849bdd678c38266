"""faster-whisper as a recogniser: CTranslate2's Whisper, with Whisper's own safeguards.

Shape suffixes: B utterances, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.pseudo_labels.label import LabelMetrics
from asr.pseudo_labels.labelling.recogniser import FASTER_WHISPER, Choice, Recognition
from asr.utils.hashes import file_sha256


class FasterWhisperRecogniser:
    """A beam search of 5, and its fallback to higher temperatures where a text looks wrong."""

    sample_rate_hz = 16_000
    is_batched = False

    def __init__(self, choice: Choice, device: torch.device) -> None:
        """Raises UserError where the package or the model is missing."""
        try:
            import ctranslate2
            from faster_whisper import WhisperModel
        except ImportError:
            raise UserError(
                f"{choice.model}: needs faster-whisper, which is not installed",
                "pip install 'asr-ema[faster-whisper]'",
            ) from None
        name = choice.model.removeprefix(FASTER_WHISPER)
        self.language, self.set_seed = choice.language, ctranslate2.set_random_seed
        try:
            self.model = WhisperModel(name, device=device.type, device_index=device.index or 0)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(
                f"{choice.model}: faster-whisper cannot load it ({' '.join(str(error).split())[:300]})",
                "name a folder with model.bin, or one of its models: faster-whisper:small",
            ) from None
        weights = Path(name) / "model.bin"
        self._stamp = {
            "kind": "faster-whisper",
            "version": version("faster-whisper"),
            "weights": file_sha256(weights) if weights.is_file() else name,
            "language": choice.language,
        }

    @property
    def stamp(self) -> Mapping[str, Any]:
        return self._stamp

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        return [
            self._one(waveform_N[:samples])
            for waveform_N, samples in zip(waveforms_BN, samples_B.tolist(), strict=True)
        ]

    def _one(self, waveform_N: Tensor) -> Recognition:
        # A fallback draws: whatever was labelled before, it draws the same.
        self.set_seed(0)
        segments, _ = self.model.transcribe(
            waveform_N.numpy(), language=self.language, condition_on_previous_text=False
        )
        heard = list(segments)
        steps = [len(one.tokens) + 1 for one in heard]
        log = sum(one.avg_logprob * count for one, count in zip(heard, steps, strict=True))
        # Where it hears nothing it says nothing of how sure it is.
        confidence = min(1.0, math.exp(log / sum(steps))) if steps else math.nan
        text = " ".join(one.text.strip() for one in heard)
        metrics = LabelMetrics(confidence, math.nan, math.nan, "likelihood")
        return Recognition(text, sum(len(one.tokens) for one in heard), metrics)
