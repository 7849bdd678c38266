"""`asr transcribe`: audio files of any length -> text, with a trained model's folder alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from asr.decoding.words import Transcription, words_of

if TYPE_CHECKING:
    from torch import Tensor

    from asr.model.model_folder import LoadedModel

WINDOW_SECONDS = 60.0
CONTEXT_SECONDS = 8.0


def transcribe(
    model: LoadedModel,
    path: Path,
    window_seconds: float = WINDOW_SECONDS,
    context_seconds: float = CONTEXT_SECONDS,
) -> Transcription:
    """Words with times of one file. Raises UserError if it cannot be read."""
    from asr.data.audio import AudioFile, stream_audio
    from asr.decoding.long_form import greedy_path, timed_tokens

    file = AudioFile.named(path)

    def blocks() -> Iterator[Tensor]:
        return stream_audio(file, model.config.features.sample_rate_hz)

    greedy = greedy_path(model, blocks, window_seconds, context_seconds)
    words = words_of(timed_tokens(greedy), model.tokenizer)
    return Transcription(str(path), greedy.seconds, words)
