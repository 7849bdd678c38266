"""Audio of any length -> a greedy path with times, in bounded memory.

The audio is cut into windows that overlap. Each is decoded like an utterance, and of its frames only those
are kept that have context on both sides, so every frame comes from a window that heard what is around it.
A file that fits into one window is decoded whole.

Shape suffixes: N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from asr.captions import TimedToken
from asr.errors import UserError
from asr.tokenizer import BLANK

if TYPE_CHECKING:
    from asr.model_folder import LoadedModel

_WINDOWS_AT_ONCE = 4


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
class _Window:
    waveform: Tensor
    """(N,)"""
    skip: int
    """Encoder frames at its start that the window before has better."""
    keep: int | None
    """Encoder frames after those; None for all that there are."""


@torch.inference_mode()
def greedy_path(
    model: LoadedModel,
    blocks: Iterable[Tensor],
    window_seconds: float,
    context_seconds: float,
) -> GreedyPath:
    """Decode blocks (N,) of one recording at the model's sample rate.

    Raises UserError where the context leaves nothing of a window.
    """
    features = model.config.features
    hop_samples = model.log_mel.hop_samples
    frame_samples = hop_samples * model.config.model.stride
    rate = features.sample_rate_hz
    window, context = (
        int(seconds * rate / frame_samples) for seconds in (window_seconds, context_seconds)
    )
    if window <= 2 * context:
        raise UserError(
            f"a window of {window_seconds:g} s with {context_seconds:g} s of context on both sides "
            "keeps nothing; choose a longer window or less context"
        )
    tokens, posteriors, samples = [], [], 0
    windows = _windows(blocks, frame_samples, window, context)
    for batch in _batched(windows, _WINDOWS_AT_ONCE):
        lengths = [len(w.waveform) for w in batch]
        waveforms_BN = torch.nn.utils.rnn.pad_sequence(
            [w.waveform for w in batch], batch_first=True
        )
        logits_BSV, frames_B = model.logits(waveforms_BN, torch.tensor(lengths))
        best_BS, path_BS = logits_BSV.float().softmax(-1).max(-1)
        for index, one in enumerate(batch):
            end = int(frames_B[index]) if one.keep is None else one.skip + one.keep
            tokens.append(path_BS[index, one.skip : end].int().cpu())
            posteriors.append(best_BS[index, one.skip : end].cpu())
            heard = len(one.waveform) - one.skip * frame_samples
            samples += heard if one.keep is None else one.keep * frame_samples
    return GreedyPath(
        torch.cat([torch.empty(0, dtype=torch.int32), *tokens]),
        torch.cat([torch.empty(0), *posteriors]),
        frame_samples / rate,
        samples / rate,
    )


def _windows(
    blocks: Iterable[Tensor], frame_samples: int, window: int, context: int
) -> Iterator[_Window]:
    """Windows of `window` encoder frames, `context` of them at each end only there to be heard."""
    size, step = window * frame_samples, (window - 2 * context) * frame_samples
    pending_N, skip = torch.zeros(0), 0
    for block_N in blocks:
        pending_N = torch.cat([pending_N, block_N])
        # Longer by a context than a window: the last window is never shorter than its context.
        while len(pending_N) > size + context * frame_samples:
            yield _Window(pending_N[:size], skip, window - context - skip)
            # The next one starts a context before the first frame that is still wanted.
            pending_N, skip = pending_N[step:], context
    if len(pending_N):
        yield _Window(pending_N, skip, None)


def _batched(windows: Iterable[_Window], size: int) -> Iterator[list[_Window]]:
    iterator = iter(windows)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


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
