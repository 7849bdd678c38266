"""From frames that are speech to utterances: short pauses are bridged, long speech is cut where it is quiet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from asr.data.quiet import quietest_frame
from asr.errors import UserError

from ..validate import SAMPLE_RATE_HZ
from .voice_activity import FRAME, FRAME_SECONDS, Activity

_BEGINS_AT, _ENDS_BELOW = 0.5, 0.35
"""Of the probability of speech: what is unclear belongs to what was before."""
_SHORTEST_SOUND_SECONDS = 0.16
"""What is shorter is a click."""
_SHORTEST_PAUSE_SECONDS = 0.1
_QUIET_SECONDS = 0.3

Frames = tuple[int, int]
"""Begin and end."""


@dataclass(frozen=True)
class Limits:
    """Of utterances, in seconds."""

    min_seconds: float = 1.0
    max_seconds: float = 20.0
    pause_seconds: float = 0.5
    """Speech with a pause below it goes on."""
    pad_seconds: float = 0.2
    """Audio before and after speech, where there is any."""

    def check(self) -> None:
        """Raises UserError where no utterance could be."""
        if not 0 < self.min_seconds < self.max_seconds / 2 or self.max_seconds > 3600:
            raise UserError(
                f"--min-seconds {self.min_seconds:g} --max-seconds {self.max_seconds:g}",
                "give a least length above 0 that is below half of the most, as in 1 and 20",
            )
        if self.pause_seconds < 0 or not 0 <= self.pad_seconds <= self.min_seconds:
            raise UserError(
                f"--pause-seconds {self.pause_seconds:g} --pad-seconds {self.pad_seconds:g}",
                "give a pause from 0 on, and a pad from 0 to the least length",
            )


def utterances(activity: Activity, limits: Limits) -> list[tuple[int, int]]:
    """(first sample, samples) at 16 kHz of each utterance of a recording, in order, none over another."""
    spoken = list(_bridged(_regions(activity.speech_W), limits))
    pieces = [piece for one in spoken for piece in _short_enough(one, activity, limits)]
    return list(_padded(pieces, limits, activity.samples))


def speech_seconds(activity: Activity) -> float:
    """That was found, pauses left out."""
    return sum(end - begin for begin, end in _regions(activity.speech_W)) * FRAME_SECONDS


def _regions(speech_W: NDArray[np.float32]) -> list[Frames]:
    """Speech that begins where it is likely, and ends where it is unlikely; without clicks."""
    state_W = np.where(speech_W >= _BEGINS_AT, 1, np.where(speech_W < _ENDS_BELOW, 0, -1))
    known = np.maximum.accumulate(np.where(state_W >= 0, np.arange(len(state_W)), 0))
    is_speech_W = np.maximum(state_W[known], 0) if len(state_W) else state_W
    edges = np.flatnonzero(np.diff(is_speech_W, prepend=0, append=0))
    found = [(int(b), int(e)) for b, e in zip(edges[::2], edges[1::2], strict=True)]
    joined = _joined(found, _SHORTEST_PAUSE_SECONDS)
    return [(b, e) for b, e in joined if (e - b) * FRAME_SECONDS >= _SHORTEST_SOUND_SECONDS]


def _joined(regions: Iterable[Frames], pause_seconds: float) -> list[Frames]:
    joined = list[Frames]()
    for begin, end in regions:
        if joined and (begin - joined[-1][1]) * FRAME_SECONDS < pause_seconds:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((begin, end))
    return joined


def _bridged(regions: list[Frames], limits: Limits) -> Iterator[Frames]:
    """Speech with short pauses, and what is too short with a neighbour across a pause twice as long.

    Or across any in which there is no room for what one of them lacks.
    """
    spoken = _joined(regions, limits.pause_seconds)
    held: Frames | None = None
    for one in spoken:
        if held is not None:
            pause = (one[0] - held[1]) * FRAME_SECONDS
            lengths = [(end - begin) * FRAME_SECONDS for begin, end in (held, one)]
            lacking = sum(max(0.0, limits.min_seconds - length) for length in lengths)
            fits = (one[1] - held[0]) * FRAME_SECONDS <= limits.max_seconds / 2
            is_near = fits and pause < 2 * limits.pause_seconds
            if lacking and (is_near or pause < lacking + limits.pad_seconds):
                held = held[0], one[1]
                continue
            yield held
        held = one
    if held is not None:
        yield held


def _short_enough(spoken: Frames, activity: Activity, limits: Limits) -> Iterator[Frames]:
    """Cut where it is quietest, in the last half of what fits."""
    longest = int((limits.max_seconds - 2 * limits.pad_seconds) / FRAME_SECONDS)
    shortest = int(limits.min_seconds / FRAME_SECONDS) + 1
    width = max(1, round(_QUIET_SECONDS / FRAME_SECONDS))
    begin, end = spoken
    while end - begin > longest:
        # What is left is long enough, too.
        fitting = activity.energies_W[begin : min(begin + longest, end - shortest)]
        cut = begin + quietest_frame(torch.from_numpy(fitting), width)
        yield begin, cut
        begin = cut
    yield begin, end


def _padded(pieces: list[Frames], limits: Limits, samples: int) -> Iterator[tuple[int, int]]:
    """With some audio around, at most up to the middle of a pause; more where it is too short."""
    least = round(limits.min_seconds * SAMPLE_RATE_HZ)
    pad = round(limits.pad_seconds * SAMPLE_RATE_HZ)
    taken = 0
    for place, (begin, end) in enumerate(pieces):
        before = (pieces[place - 1][1] + begin) * FRAME // 2 if place else 0
        following = pieces[place + 1][0] if place + 1 < len(pieces) else None
        after = samples if following is None else (end + following) * FRAME // 2
        free = samples if following is None else following * FRAME
        first, last = begin * FRAME, min(end * FRAME, samples)
        room = max(pad, -(-(least - (last - first)) // 2))
        first, last = max(taken, before, first - room), min(after, last + room)
        if last - first < least:  # more than half of a pause is needed
            last = min(free, first + least)
            first = max(taken, last - least)
        if last - first >= least:
            yield first, last - first
            taken = last
