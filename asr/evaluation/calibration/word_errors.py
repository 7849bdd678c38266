"""An estimate of the word error rate of texts without references, by the confidence of those that have one.

Where the speech is alike, utterances of which a recogniser is as sure have as many errors. The relation is
assumed to be falling and nothing else: isotonic regression, by pooling adjacent violators (Barlow et al. 1972,
"Statistical Inference under Order Restrictions"), over bins of equal numbers of words.

Shapes: N utterances, K knots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNFIT_WER = 70.0
"""In percent, on dev: above it most words of the labels are wrong."""
FEWEST_UTTERANCES = 20
FEWEST_WORDS = 50
"""With fewer nothing is said."""
_MOST_KNOTS = 30


@dataclass(frozen=True)
class Read:
    """An utterance with a reference, as it was read."""

    confidence: float
    """From 0 to 1, by whatever measure; the same one for all."""
    errors: int
    """Of words."""
    words: int
    """Of the reference."""


@dataclass(frozen=True)
class Calibration:
    """Confidence -> expected word error rate, falling."""

    confidences: tuple[float, ...]
    """(K,), ascending."""
    wers: tuple[float, ...]
    """(K,), in percent, never rising."""
    mean_confidence: float
    """Of the utterances that it was made of."""
    standard_deviation: float
    """Of their confidences."""
    utterances: int

    @classmethod
    def fit(cls, read: Sequence[Read]) -> Calibration | None:
        """Of (N,) utterances, in any order; None where they are too few to say anything."""
        known = sorted(
            ((one.confidence, one.errors, one.words) for one in read if one.words > 0),
        )
        if len(known) < FEWEST_UTTERANCES or sum(words for *_, words in known) < FEWEST_WORDS:
            return None
        confidences_N, errors_N, words_N = np.array(known, np.float64).T
        before_N = np.cumsum(words_N) - words_N
        bin_N = np.minimum(_MOST_KNOTS - 1, before_N * _MOST_KNOTS // words_N.sum()).astype(int)
        _, bin_N = np.unique(bin_N, return_inverse=True)
        words_K = np.bincount(bin_N, words_N).astype(np.float64)
        knots_K = np.bincount(bin_N, words_N * confidences_N) / words_K
        wers_K = _falling(100.0 * np.bincount(bin_N, errors_N) / words_K, words_K)
        return cls(
            tuple(knots_K.tolist()),
            tuple(wers_K.tolist()),
            float(confidences_N.mean()),
            float(confidences_N.std(ddof=1)),
            len(known),
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Calibration:
        """What `asdict` gave, or JSON made of it."""
        knots = {name: tuple(state[name]) for name in ("confidences", "wers")}
        return cls(**{**state, **knots})

    def wer(self, confidence: float) -> float:
        """Expected, in percent; between two knots on a line, beyond the last ones theirs."""
        return float(np.interp(confidence, self.confidences, self.wers))

    def shortfall(self, mean_confidence: float, utterances: float) -> float | None:
        """How far below these a mean of other utterances' confidences lies, as a share; None for by chance.

        By four standard errors of the difference.
        """
        error = self.standard_deviation * math.sqrt(1 / self.utterances + 1 / max(1.0, utterances))
        difference = self.mean_confidence - mean_confidence
        if self.mean_confidence <= 0.0 or difference <= 4.0 * error:
            return None
        return difference / self.mean_confidence


def _falling(values_K: NDArray[np.float64], weights_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that never rise and are nearest, by weighted squares."""
    blocks: list[tuple[float, float, int]] = []  # (mean, weight, length)
    for value, weight in zip(values_K.tolist(), weights_K.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks[-2:]
            blocks[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return np.repeat([mean for mean, _, _ in blocks], [length for *_, length in blocks])
