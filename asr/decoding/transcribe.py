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
    from asr.decoding.greedy import Decoder
    from asr.model.loaded_model import LoadedModel

WINDOW_SECONDS = 60.0
CONTEXT_SECONDS = 8.0


def transcribe(
    model: LoadedModel,
    audio: str | Path | tuple[NDArray[Any], int],
    window_seconds: float = WINDOW_SECONDS,
    context_seconds: float = CONTEXT_SECONDS,
    decoder: Decoder | None = None,
) -> Transcription:
    """Words with times, by greedy decoding, or by a `decoder` of logits: `asr.BeamDecoder` is one.

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
    from asr.data.audio import AudioArray, stream_array, stream_audio
    from asr.decoding.long_form import greedy_path, searched_tokens, timed_tokens
    from asr.decoding.pieces import written_words
    from asr.model.encoder_decoder.network import EncoderDecoder

    if isinstance(model, (str, Path)):
        raise UserError(f"model is a path ({model})", "load it: asr.load_model(path)")
    if decoder is not None and (not callable(decoder) or isinstance(decoder, type)):
        raise UserError(
            f"decoder {decoder!r} cannot decode", "give asr.BeamDecoder(model.tokenizer, settings)"
        )
    source = _source(audio)

    def blocks() -> Iterator[Tensor]:
        rate_hz = model.config.features.sample_rate_hz
        if isinstance(source, AudioArray):
            return stream_array(source, rate_hz)
        return stream_audio(source, rate_hz)

    if isinstance(model.network, EncoderDecoder):
        if decoder is not None:
            raise UserError(
                "an encoder-decoder is not decoded frame by frame",
                "leave the beam search and its language model out, or take a CTC model",
            )
        seconds, written = written_words(model, model.network, blocks())
        return Transcription(str(source.path), seconds, written, _fault(source))
    if decoder is not None:
        seconds, tokens = searched_tokens(model, blocks, window_seconds, context_seconds, decoder)
    else:
        path = greedy_path(model, blocks, window_seconds, context_seconds)
        seconds, tokens = path.seconds, timed_tokens(path)
    words = words_of(tokens, model.tokenizer)
    return Transcription(str(source.path), seconds, words, _fault(source))


def _source(audio: object) -> AudioArray | AudioFile:
    from asr.data.audio import AudioArray, AudioFile

    if isinstance(audio, (str, Path)):
        return AudioFile.named(Path(audio))
    if isinstance(audio, (tuple, list)) and len(audio) == 2:
        return AudioArray.checked(*audio)
    raise UserError(
        f"audio is a {type(audio).__name__}", "give a file's path, or (samples, rate in Hz)"
    )


def _fault(source: AudioArray | AudioFile) -> str:
    return "; ".join(getattr(source, "faults", ()))
