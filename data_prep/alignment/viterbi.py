"""CTC's most probable path of a text in which a star may stand between words.

torchaudio's forced_align knows no target that may be left out, and does not always find the best path (2.11: in
414 frames of 86 targets one that is 84 nats worse).

Shape suffixes: S encoder frames, K classes, U states: blank, target, blank, target, ..., blank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLANK = 0
_STEPS = 5
"""A state stays, or comes from one of the four before it."""


def best_path(
    log_posteriors_SK: NDArray[np.float32], words: Sequence[Sequence[int]], star: int
) -> NDArray[np.int64] | None:
    """Of each frame the state's place among the targets, -1 of a blank; None where there is no room.

    Targets are a star, the classes of a word, a star, and so on to a star at the end; a path need not pass
    through stars. In bytes, memory is frames times states.
    """
    targets = [star]
    for word in words:
        targets += [*word, star]
    states_U = np.full(2 * len(targets) + 1, BLANK)
    states_U[1::2] = targets
    barred = _barred(states_U, star)
    frames, states = len(log_posteriors_SK), len(states_U)
    if not frames:
        return None
    back_SU = np.zeros((frames, states), np.uint8)
    scores_U = np.full(states, -np.inf)
    begins = [0, 1, 2, 3]  # the first star need not be
    scores_U[begins] = log_posteriors_SK[0, states_U[begins]]
    came = np.full((_STEPS, states), -np.inf)
    places_U = np.arange(states)
    for frame in range(1, frames):
        for step in range(_STEPS):
            came[step, step:] = scores_U[: states - step]
        came += barred
        from_U = came.argmax(axis=0)
        scores_U = came[from_U, places_U] + log_posteriors_SK[frame, states_U]
        back_SU[frame] = from_U
    ends = [states - 1 - step for step in range(4)]
    state = max(ends, key=lambda end: scores_U[end])
    if not np.isfinite(scores_U[state]):
        return None
    path_S = np.empty(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        path_S[frame] = (state - 1) // 2 if state % 2 else -1
        state -= int(back_SU[frame, state])
    return path_S


def _barred(states_U: NDArray[np.int64], star: int) -> NDArray[np.float64]:
    """-inf (steps, U) where a state cannot come from so many before it, else 0."""
    barred = np.full((_STEPS, len(states_U)), -np.inf)
    barred[:2] = 0.0
    is_letter_U = (states_U != BLANK) & (states_U != star)
    for state in range(2, len(states_U)):
        before = states_U[state - 2]
        if states_U[state] == BLANK:
            continue
        barred[2, state] = 0.0 if states_U[state] != before else -np.inf
        if is_letter_U[state] and before == star and state >= 4:
            barred[3, state] = 0.0
            barred[4, state] = 0.0 if states_U[state] != states_U[state - 4] else -np.inf
    if len(states_U) > 3 and is_letter_U[3]:
        barred[3, 3] = 0.0
    return barred
