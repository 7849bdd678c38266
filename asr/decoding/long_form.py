"""Audio of any length -> a greedy path, or a search's tokens, with times, in bounded memory.

A first pass measures the recording; a second cuts it into windows that overlap and decodes them, normalised by
the whole, with attention to what is near. Two neighbours are joined in a pause that both contain, away from
their ends, so every frame comes from a window that holds what is around it, and the text is that of a decode in
one piece. A file that fits into one window is decoded as an utterance. Absolute (sinusoidal) positions restart
in each window, which is then never longer than the utterances of training.

Shape suffixes: N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from asr.decoding.alignment import align_tokens
from asr.decoding.greedy import Decoder
from asr.decoding.words import TimedToken
from asr.errors import UserError
from asr.model.tokenizer import BLANK
from asr.utils.devices import fetched

if TYPE_CHECKING:
    from asr.model.features import Recording
    from asr.model.loaded_model import LoadedModel

_WINDOWS_AT_ONCE = 4
_PAUSE_FRAMES = 9


@dataclass(frozen=True)
class GreedyPath:
    """The best token of each frame of a whole recording."""

    tokens: Tensor
    """(S,) token ids, int32, blanks included."""
    posteriors: Tensor
    """(S,) their posteriors, fp32."""
    frame_seconds: float
    seconds: float
    """Length of the recording."""


@dataclass(frozen=True)
class _Piece:
    """Frames of the best path that one window found."""

    start: int
    """Place of the first frame in the recording."""
    tokens: Tensor
    """(S,) int32"""
    posteriors: Tensor
    """(S,)"""
    silence: Tensor
    """(S,) log posterior of the blank."""
    logits: Tensor
    """(S, V), or (S, 0) where nobody wants them."""

    def cut(self, begin: int, end: int | None = None) -> _Piece:
        """Its frames from place `begin` of the piece to `end`."""
        parts = (self.tokens, self.posteriors, self.silence, self.logits)
        return _Piece(self.start + begin, *(part[begin:end] for part in parts))


@torch.inference_mode()
def greedy_path(
    model: LoadedModel,
    blocks: Callable[[], Iterable[Tensor]],
    window_seconds: float,
    context_seconds: float,
) -> GreedyPath:
    """Decode one recording; each call of `blocks` gives it again, as (N,) at the model's sample rate.

    Raises UserError for a window shorter than four contexts.
    """
    seconds, found = _pieces(model, blocks, window_seconds, context_seconds)
    pieces = list(found)
    return GreedyPath(
        torch.cat([torch.empty(0, dtype=torch.int32), *(piece.tokens for piece in pieces)]),
        torch.cat([torch.empty(0), *(piece.posteriors for piece in pieces)]),
        model.frame_samples / model.config.features.sample_rate_hz,
        seconds,
    )


@torch.inference_mode()
def searched_tokens(
    model: LoadedModel,
    blocks: Callable[[], Iterable[Tensor]],
    window_seconds: float,
    context_seconds: float,
    decoder: Decoder,
) -> tuple[float, list[TimedToken]]:
    """Seconds of a recording, and its tokens by a search, with their times by forced alignment.

    Takes and raises what `greedy_path` does. What lies between two joints is searched by itself, a window at
    most: a language model begins anew in these pauses.
    """
    seconds, pieces = _pieces(model, blocks, window_seconds, context_seconds, keeps_logits=True)
    space = next(
        (t for t in range(1, model.tokenizer.vocabulary_size) if model.tokenizer.piece(t) == " "), 0
    )
    found, ended = list[TimedToken](), False
    for piece in pieces:
        [[best, *_]] = decoder(piece.logits[None], torch.tensor([len(piece.logits)]))
        begin = piece.start * model.frame_seconds
        own = align_tokens(piece.logits, best.tokens, model.frame_seconds)
        greedy = [token for token in piece.tokens.tolist() if token != BLANK]
        # A search leaves spaces at both ends out: there is one if the best path has it on either side.
        if own and found and space and (ended or greedy[:1] == [space]):
            found.append(TimedToken(space, begin, begin, 1.0))
        found += [replace(t, begin=begin + t.begin, end=begin + t.end) for t in own]
        ended = greedy[-1:] == [space] or (ended and not own)
    return seconds, found


def _pieces(
    model: LoadedModel,
    blocks: Callable[[], Iterable[Tensor]],
    window_seconds: float,
    context_seconds: float,
    keeps_logits: bool = False,
) -> tuple[float, Iterator[_Piece]]:
    """Seconds of a recording, and its frames in pieces that follow each other."""
    features = model.config.features
    frame_samples = model.frame_samples
    rate = features.sample_rate_hz
    window, context = (
        int(seconds * rate / frame_samples) if math.isfinite(seconds) else 0
        for seconds in (window_seconds, context_seconds)
    )
    if getattr(model.config.model, "positions", "sinusoidal") == "sinusoidal":
        # The last window may be longer by a context.
        longest = int(model.config.corpus.max_seconds * rate / frame_samples)
        context = min(context, longest // 5)
        window = min(window, longest - context)
    if context < 1 or window < 4 * context:  # so that never three overlap
        raise UserError(
            f"a window of {window_seconds:g} s with a context of {context_seconds:g} s cannot be",
            f"a context has at least {frame_samples / rate:g} s, and a window is at least four times as long",
        )
    recording = model.front_end.survey(blocks())
    windows = _windows(blocks(), frame_samples, window, context)
    fits_one = recording.samples <= (window + context) * frame_samples
    whole = None if fits_one else recording
    decoded = _decoded(model, windows, window - 2 * context, whole, keeps_logits)
    return recording.samples / rate, _joined(decoded)


def _windows(
    blocks: Iterable[Tensor], frame_samples: int, window: int, context: int
) -> Iterator[Tensor]:
    """Waveforms (N,) of `window` encoder frames; each begins 2 x `context` before the last one's end."""
    size, step = window * frame_samples, (window - 2 * context) * frame_samples
    pending_N = torch.zeros(0)
    for block_N in blocks:
        pending_N = torch.cat([pending_N, block_N])
        # Longer by a context than a window: the last window has something of its own.
        while len(pending_N) > size + context * frame_samples:
            yield pending_N[:size]
            pending_N = pending_N[step:]
    if len(pending_N):
        yield pending_N


def _decoded(
    model: LoadedModel,
    windows: Iterator[Tensor],
    step: int,
    recording: Recording | None,
    keeps_logits: bool,
) -> Iterator[_Piece]:
    start = 0
    while batch := list(itertools.islice(windows, _WINDOWS_AT_ONCE)):
        waveforms_BN = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        samples_B = torch.tensor([len(waveform) for waveform in batch])
        logits_BSV, frames_B = model.logits(waveforms_BN, samples_B, recording)
        log_posteriors_BSV = logits_BSV.float().log_softmax(-1)
        best_BS, path_BS = log_posteriors_BSV.max(-1)
        silence_BS = log_posteriors_BSV[..., BLANK]
        kept = logits_BSV if keeps_logits else logits_BSV[..., :0]
        *parts, frames_B = fetched(path_BS.int(), best_BS.exp(), silence_BS, kept, frames_B)
        for index, frames in enumerate(frames_B.tolist()):
            yield _Piece(start, *(part[index, :frames] for part in parts))
            start += step


def _joined(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    """Pieces without their overlaps, cut where both are surest of a pause.

    So no token is cut in two, or comes out twice. A seam lies in the middle half of an overlap: what is kept
    has been decoded with half a context or more on both sides.
    """
    left: _Piece | None = None
    for right in pieces:
        if left is not None:
            offset = right.start - left.start
            overlap = len(left.tokens) - offset
            begin, end = overlap // 4, overlap - overlap // 4
            pause = left.silence[offset + begin : offset + end] + right.silence[begin:end]
            smooth = functional.avg_pool1d(
                pause[None], _PAUSE_FRAMES, stride=1, padding=_PAUSE_FRAMES // 2
            )[0]
            seam = begin + int(smooth.argmax())
            yield left.cut(0, offset + seam)
            right = right.cut(seam)
        left = right
    if left is not None:
        yield left


def timed_tokens(path: GreedyPath) -> list[TimedToken]:
    """The path's tokens, repeats merged and blanks dropped, with their times.

    A token's time is that of its frames in the best path: CTC emits a token late and briefly, so
    begins are good to about a tenth of a second and ends are early.
    """
    tokens_U, counts_U = torch.unique_consecutive(path.tokens, return_counts=True)
    found, start = [], 0
    for token, count in zip(tokens_U.tolist(), counts_U.tolist(), strict=True):
        if token != BLANK:
            confidence = float(path.posteriors[start : start + count].max())
            begin, end = start * path.frame_seconds, (start + count) * path.frame_seconds
            found.append(TimedToken(token, begin, end, confidence))
        start += count
    return found
