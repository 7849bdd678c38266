"""What `asr label` needs of a model, whoever made it, and how a name leads to one.

Shape suffixes: B utterances, N samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from asr.errors import UserError
from asr.model.frame_readers.reader import is_ours
from asr.pseudo_labels.label import LabelMetrics


@dataclass(frozen=True)
class Recognition:
    """What was heard in one utterance."""

    text: str
    tokens: int
    metrics: LabelMetrics
    """NaN of what a recogniser does not know."""


class Recogniser(Protocol):
    """Waveforms -> texts. A text does not depend on its batch, nor on what was labelled before."""

    @property
    def sample_rate_hz(self) -> int:
        """Of the waveforms that it takes."""

    @property
    def is_batched(self) -> bool:
        """Whether it hears several utterances together; if not, what is heard is noted one by one."""

    @property
    def stamp(self) -> Mapping[str, Any]:
        """What the labels depend on: labels of two stamps are not put into one folder."""

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        """Of each utterance; waveforms (B, N), zero-padded fp32, and their lengths (B,) in samples."""


@dataclass(frozen=True)
class Choice:
    """Which recogniser, as the command line says it."""

    model: str
    weights: Literal["teacher", "student"] = "teacher"
    """Of a model of ours."""
    best: bool = False
    language: str | None = None
    """Of a recogniser of several languages; None to let it guess."""
    window_seconds: float | None = None
    """At least of an encoder-decoder's windows; None for those in which it decodes."""

    @property
    def window_stamp(self) -> dict[str, float]:
        """What a recogniser that writes notes of it in its stamp."""
        return {} if self.window_seconds is None else {"window_seconds": self.window_seconds}


FASTER_WHISPER = "faster-whisper:"


def is_of_others(folder: Path) -> bool:
    """Whether a folder is a recogniser's that is no run or checkpoint of ours."""
    has_model = (folder / "config.json").is_file() or (folder / "model.bin").is_file()
    return has_model and not is_ours(folder)


def load_recogniser(choice: Choice, device: torch.device) -> Recogniser:
    """The recogniser that is meant: a folder of ours, of Hugging Face's or faster-whisper's, or a hub's name.

    Raises UserError where there is none, where a package is missing that it takes, and for windows of a
    recogniser that has none.
    """
    found = _loaded(choice, device)
    if choice.window_seconds is not None and "window_seconds" not in found.stamp:
        raise UserError(
            f"--window-seconds {choice.window_seconds:g}: {choice.model} is no encoder-decoder, and hears "
            "utterances as they are",
            "leave it out",
        )
    return found


def _loaded(choice: Choice, device: torch.device) -> Recogniser:
    folder = Path(choice.model)
    if is_ours(folder):
        from asr.pseudo_labels.labelling.ours import OurRecogniser

        return OurRecogniser.load(choice, device)
    if choice.model.startswith(FASTER_WHISPER) or (folder / "model.bin").is_file():
        from asr.pseudo_labels.labelling.faster_whisper import FasterWhisperRecogniser

        return FasterWhisperRecogniser(choice, device)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(
            f"{folder}: no model in it",
            "name a run's folder or a checkpoint of ours, a Hugging Face model's folder (config.json, "
            "*.safetensors), or one of faster-whisper (model.bin)",
        )
    from asr.pseudo_labels.labelling.hugging_face import load_hugging_face

    return load_hugging_face(choice, device)
