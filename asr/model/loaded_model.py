"""A trained model, ready to turn waveforms into logits.

Shape suffixes: B utterances, N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.errors import UserError
from asr.model.features import FrontEnd, Recording
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer
from asr.utils.devices import sent

# On festvox_ru windows then give the text of the whole, which unlimited attention does not (one word in six
# differs), and the whole reads no worse: recipes/festvox_ru/RESULTS.md.
ATTENTION_REACH_SECONDS = 5.0


@dataclass
class LoadedModel:
    """A student or teacher with its features and tokenizer, in evaluation mode."""

    config: Config
    tokenizer: Tokenizer
    front_end: FrontEnd
    network: SpeechModel
    device: torch.device
    checkpoint: Path
    """Its folder; of an average, the last one's."""
    weights_sha256: str
    """Of the weights' file, or of those that were averaged, one after the other."""
    averaged: list[Path] = field(default_factory=list)
    """Checkpoints whose mean this is; empty for one checkpoint's own weights."""

    @property
    def frame_samples(self) -> int:
        """Samples of an encoder frame."""
        return self.front_end.hop_samples * self.network.encoder.stride

    @property
    def frame_seconds(self) -> float:
        """Audio of an encoder frame."""
        return self.frame_samples / self.config.features.sample_rate_hz

    @torch.inference_mode()
    def logits(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        """CTC logits (B, S, V) and lengths (B,) of waveforms (B, N) at the model's sample rate.

        Waveforms are utterances, or pieces of a `recording` that has been surveyed. In pieces, and in
        utterances longer than any in training, a frame attends to its neighbourhood alone: attention over
        minutes was never learnt, and a piece of a recording then gives what the whole would give.
        """
        if self.network.is_read_in_steps:
            raise UserError(
                f"{self.checkpoint}: an encoder-decoder writes its text, and has no logits of frames",
                "take asr.decode or asr.transcribe; a beam search with a language model is for CTC",
            )
        features_BTF, lengths_B = self.front_end(
            sent(waveforms_BN, self.device), samples_B, recording
        )
        limit = self.config.corpus.max_seconds * self.config.features.sample_rate_hz
        is_long_B = torch.full_like(samples_B, recording is not None, dtype=torch.bool)
        is_long_B |= samples_B > limit
        reach = round(ATTENTION_REACH_SECONDS / self.frame_seconds)
        parts = [
            (rows, *self.network(features_BTF[rows], lengths_B[rows], reach=limited))
            for limited, chosen_B in ((None, ~is_long_B), (reach, is_long_B))
            for rows in [sent(chosen_B.nonzero()[:, 0], self.device)]
            if len(rows)
        ]
        order = torch.cat([rows for rows, _, _ in parts]).argsort()
        logits_BSV = torch.cat([logits for _, logits, _ in parts])[order]
        frames_B = torch.cat([frames for _, _, frames in parts])[order]
        return logits_BSV, frames_B
