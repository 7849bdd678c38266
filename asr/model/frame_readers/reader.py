"""What alignment needs of a CTC model, whoever made it, and how a name leads to one.

Shape suffixes: N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from asr.errors import UserError


class FrameReader(Protocol):
    """Waveform -> logits a frame; and how a word is spelt."""

    sample_rate_hz: int
    """Of the waveforms that it takes."""
    frame_samples: int
    """From one frame to the next."""
    longest_seconds: float
    """Of a waveform that it can take."""
    vocabulary_size: int
    """V"""
    stamp: Mapping[str, Any]
    """What its logits depend on."""

    def logits(self, waveform_N: Tensor) -> Tensor:
        """(S, V), fp32; the blank is token 0."""

    def letters(self, token: int) -> str:
        """What is heard of a token: small letters and digits; nothing of the blank, spaces and punctuation."""

    def spelt(self, word: str) -> list[int] | None:
        """Tokens of a word, perhaps none; None where it has a character that cannot be spelt."""


def is_ours(folder: Path) -> bool:
    """Whether a folder is a run or a checkpoint of ours."""
    return (folder / "config.yaml").is_file() or (folder / "checkpoints").is_dir()


def load_frame_reader(
    name: str,
    weights: Literal["teacher", "student"],
    device: torch.device,
    best: bool = False,
) -> FrameReader:
    """A CTC model of ours, an encoder-decoder of ours with a CTC head, or a CTC model of Hugging Face.

    Raises UserError for what is none of them, and where transformers is missing that it takes.
    """
    folder = Path(name)
    if is_ours(folder):
        from asr.model.encoder_decoder.network import EncoderDecoder
        from asr.model.frame_readers.ours import OurFrames, OurHeadFrames
        from asr.model.model_folder import load_model

        model = load_model(folder, weights, device, best=best)
        if isinstance(model.network, EncoderDecoder):
            return OurHeadFrames(model, model.network, weights)
        return OurFrames(model, weights)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(
            f"{folder}: no model in it",
            "name a run's folder or a checkpoint of ours, or a Hugging Face CTC model's folder (config.json, "
            "*.safetensors)",
        )
    from asr.model.frame_readers.hugging_face import (
        HuggingFaceFrames,
        hugging_face_config,
        is_ctc,
    )

    config = hugging_face_config(name)
    if not is_ctc(config):
        raise UserError(
            f"{name}: a {config.model_type}, which has no logits of frames",
            "name a CTC model (...ForCTC), or a run of ours (an encoder-decoder: with model.ctc_weight)",
        )
    return HuggingFaceFrames(name, device, config)
