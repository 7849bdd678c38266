"""Audio of any length, a file or an array -> words with times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.decoding.words import Transcription, words_of
from asr.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from asr.data.audio import AudioArray, AudioFile
    from asr.model.loaded_model import LoadedModel

WINDOW_SECONDS = 60.0
CONTEXT_SECONDS = 8.0


def transcribe(
    model: LoadedModel,
    audio: str | Path | tuple[NDArray[Any], int],
    window_seconds: float = WINDOW_SECONDS,
    context_seconds: float = CONTEXT_SECONDS,
) -> Transcription:
    """Words with times, by greedy decoding.

    `audio` is a file in any format that libsndfile reads, `-` for the standard input; or (samples, rate in Hz),
    samples (N,) or (N, channels), floats or integers. Any rate and length; what is longer than a window is
    decoded in windows that overlap by two contexts, in bounded memory; by an encoder-decoder in pieces of up to
    28 s that are cut where it is quiet, with rough times unless it has a CTC head (`model.ctc_weight`). Raises
    UserError if it cannot be read.

    >>> import asr
    >>> model = asr.load_model("exp/run", device="cpu")
    >>> talk = asr.transcribe(model, "talk.wav")
    >>> talk.text == " ".join(word.text for word in talk.words)
    True
    >>> print(talk.to("srt").splitlines()[0])
    1
    """
    from asr.data.audio import AudioArray, AudioFile, stream_array, stream_audio
    from asr.decoding.long_form import greedy_path, timed_tokens
    from asr.decoding.pieces import written_words
    from asr.model.encoder_decoder.network import EncoderDecoder

    if isinstance(model, (str, Path)):
        raise UserError(f"model is a path ({model})", "load it: asr.load_model(path)")
    source: AudioArray | AudioFile
    if isinstance(audio, (str, Path)):
        source = AudioFile.named(Path(audio))
    elif isinstance(audio, (tuple, list)) and len(audio) == 2:
        source = AudioArray.checked(*audio)
    else:
        raise UserError(
            f"audio is a {type(audio).__name__}", "give a file's path, or (samples, rate in Hz)"
        )

    def blocks() -> Iterator[Tensor]:
        rate_hz = model.config.features.sample_rate_hz
        if isinstance(source, AudioArray):
            return stream_array(source, rate_hz)
        return stream_audio(source, rate_hz)

    if isinstance(model.network, EncoderDecoder):
        seconds, written = written_words(model, model.network, blocks())
        return Transcription(str(source.path), seconds, written, _fault(source))
    greedy = greedy_path(model, blocks, window_seconds, context_seconds)
    words = words_of(timed_tokens(greedy), model.tokenizer)
    return Transcription(str(source.path), greedy.seconds, words, _fault(source))


def _fault(source: AudioArray | AudioFile) -> str:
    return "; ".join(getattr(source, "faults", ()))
