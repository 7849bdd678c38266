"""Error rates of a set, their intervals, and the paired comparison of two systems.

A rate is errors over reference length of the whole set, in percent.

Intervals and p-values resample utterances with replacement: Bisani & Ney 2004, "Bootstrap estimates
for confidence intervals in ASR performance evaluation" (ICASSP). They cover the choice of
utterances, not the randomness of training. Utterances are sorted by id first: a rate does not
depend on the order of a file.

Utterances of a speaker resemble each other, so for other speakers the intervals by speaker count. There are
few speakers, and resampling few of anything covers too little (2 speakers: half of the time): those intervals
are of Student's t, see `speaker_interval`.

Shapes: N utterances, S speakers, R resamples ("draws"), K columns that are summed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.evaluation.edit_distance import Aligned, total
from asr.evaluation.student_t import quantile

INTERVAL_DRAWS = 1_000
PAIRED_DRAWS = 10_000
SIGNIFICANT = 0.05
FEW_UTTERANCES = 30
"""Below this a bootstrap is not to be trusted: it sees too few different samples."""
FEW_SPEAKERS = 30
"""Below this an interval by speaker is wide, and as good as the assumption that speakers' rates are normal."""
SEED = 20_041  # any fixed number: the same files give the same intervals
_OF_COUNTS = np.kron(np.eye(2), [[0, 1], [1, 1], [1, 1], [1, 0]])
"""(8, 4): hits, substitutions, deletions, insertions -> errors, reference length; of words and characters."""
_RESAMPLED_AT_ONCE = 1 << 16  # utterances: the counts stay in the cache


@dataclass(frozen=True)
class Score:
    """One system on one set. Rates in percent; `_low` and `_high` bound the 95 % interval."""

    wer: float
    wer_low: float
    wer_high: float
    cer: float
    cer_low: float
    cer_high: float
    ser: float
    """Sentence error rate: utterances with at least one word error."""
    words: int
    substitutions: int
    deletions: int
    insertions: int
    utterances: int
    hours_of_audio: float
    speakers: int = 0
    """Those that are known; 0 if that of some utterance is not."""
    wer_speaker_low: float | None = None
    """Bounds of the interval by speaker (`speaker_interval`); None with fewer than two."""
    wer_speaker_high: float | None = None
    cer_speaker_low: float | None = None
    cer_speaker_high: float | None = None

    @property
    def speaker_warning(self) -> str | None:
        """What too few speakers leave open, in words; None with enough, or where they are not known."""
        if not 0 < self.speakers < FEW_SPEAKERS:
            return None
        if self.wer_speaker_low is None:
            return f"only {_speakers(self.speakers)}: no interval here is of other speakers"
        return (
            f"only {_speakers(self.speakers)}: of other speakers nothing is known but the interval by speaker "
            "(Student's t), and p-values are of other utterances of these"
        )

    def to_json(self) -> dict[str, float | int | None]:
        """Plain numbers under the field names."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """System a minus system b on the same utterances, in percentage points; below 0, a is better."""

    delta_wer: float
    delta_wer_low: float
    delta_wer_high: float
    p_wer: float
    delta_cer: float
    delta_cer_low: float
    delta_cer_high: float
    p_cer: float
    speakers: int = 0
    """Those that are known; 0 if that of some utterance is not."""
    delta_wer_speaker_low: float | None = None
    """Bounds of the interval by speaker (`speaker_interval`); None with fewer than two."""
    delta_wer_speaker_high: float | None = None
    delta_cer_speaker_low: float | None = None
    delta_cer_speaker_high: float | None = None

    def to_json(self) -> dict[str, float]:
        """The differences and their p-values."""
        return {name: getattr(self, name) for name in ("delta_wer", "p_wer", "delta_cer", "p_cer")}


def resampled_sums(table_NK: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Column sums (draws, K) over N rows drawn with replacement; exact for integers below 2^53."""
    rows = len(table_NK)
    generator = np.random.default_rng(seed)
    at_once = max(1, _RESAMPLED_AT_ONCE // rows)
    first_R = rows * np.arange(at_once)[:, None]  # of each draw in a table of those at once
    sums_RK = np.empty((draws, table_NK.shape[1]))
    for start in range(0, draws, at_once):
        here = min(at_once, draws - start)
        drawn_RN = generator.integers(rows, size=(here, rows))
        drawn_RN += first_R[:here]
        times_RN = np.bincount(drawn_RN.ravel(), minlength=here * rows).reshape(here, rows)
        sums_RK[start : start + here] = times_RN @ table_NK
    return sums_RK


def _error_table(aligned: Sequence[Aligned]) -> NDArray[np.float64]:
    """Columns: word errors, words, character errors, characters."""
    rows_NK = np.array([(*a.words, *a.characters) for a in aligned], dtype=np.float64)
    return rows_NK @ _OF_COUNTS


def _rates(errors: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100.0 * errors / np.maximum(lengths, 1.0)


def _bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def score_aligned(
    aligned: Sequence[Aligned], draws: int = INTERVAL_DRAWS, seed: int = SEED
) -> Score:
    """Rates and 95 % percentile-bootstrap intervals. Raises UserError without utterances."""
    if not aligned:
        raise UserError("nothing to score: no utterance", "decode the set again")
    ordered = sorted(aligned, key=lambda a: a.utterance.id)
    table_NK = _error_table(ordered)
    sums_RK = resampled_sums(table_NK, draws, seed)
    words = total(a.words for a in ordered)
    wer_low, wer_high = _bounds(_rates(sums_RK[:, 0], sums_RK[:, 1]))
    cer_low, cer_high = _bounds(_rates(sums_RK[:, 2], sums_RK[:, 3]))
    return Score(
        wer=words.rate,
        wer_low=wer_low,
        wer_high=wer_high,
        cer=total(a.characters for a in ordered).rate,
        cer_low=cer_low,
        cer_high=cer_high,
        ser=100.0 * sum(a.words.errors > 0 for a in ordered) / len(ordered),
        words=words.reference_length,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        utterances=len(ordered),
        hours_of_audio=math.fsum(a.utterance.seconds for a in ordered) / 3600.0,
        **_by_speaker(ordered, table_NK, table_NK, least=0.0),
    )


def _by_speaker(
    aligned: Sequence[Aligned],
    errors_NK: NDArray[np.float64],
    table_NK: NDArray[np.float64],
    of: str = "",
    least: float = -math.inf,
) -> dict[str, Any]:
    """How many speakers there are, and the intervals by speaker of errors over the table's lengths.

    Columns are those of `_error_table`, or for errors a difference of such. Nothing where a speaker is not
    known. No bound is below `least`.
    """
    names = [one.utterance.speaker for one in aligned]
    if None in names:
        return {}
    place = {name: index for index, name in enumerate(sorted({str(name) for name in names}))}
    errors_SK, table_SK = np.zeros((2, len(place), table_NK.shape[1]))
    for sums_SK, of_utterances_NK in ((errors_SK, errors_NK), (table_SK, table_NK)):
        np.add.at(sums_SK, [place[str(name)] for name in names], of_utterances_NK)
    found: dict[str, Any] = {"speakers": len(place)}
    for unit, errors, length in (("wer", 0, 1), ("cer", 2, 3)):
        interval = speaker_interval(errors_SK[:, errors], table_SK[:, length])
        if interval is not None:
            for end, bound in zip(("low", "high"), interval, strict=True):
                found[f"{of}{unit}_speaker_{end}"] = max(least, bound)
    return found


def speaker_interval(
    errors_S: NDArray[np.float64], lengths_S: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The 95 % interval of errors over lengths for other speakers than these, in percent.

    With w = lengths / their sum, q = sum of w^2 and d = errors - rate x lengths, the rate's variance is
    estimated by sum of d^2 / (1 - 2 w + q) over the squared sum of lengths, which is unbiased where all
    speakers' own rates vary alike, and t has Satterthwaite's degrees of freedom under that assumption: S - 1
    for equal lengths, fewer where some speakers say most (Bell & McCaffrey 2002, "Bias reduction in
    standard errors for linear regression with multi-stage samples", Survey Methodology 28).

    None with fewer than two speakers, or where one has all the words.
    """
    total_length = lengths_S.sum()
    share = lengths_S / max(1.0, total_length)
    q = np.square(share).sum()
    spread = 1.0 - 2.0 * share + q  # of a speaker's residual, in units of the variance of a rate
    if len(share) < 2 or total_length <= 0 or spread.min() < 1e-12:
        return None
    rate = errors_S.sum() / total_length
    residual = (errors_S - rate * lengths_S) / total_length
    error = math.sqrt(np.sum(np.square(residual) / spread))
    # The variance is a quadratic form of the rates, of trace q; this is the trace of its matrix's square.
    weight = np.square(share) / spread
    apart = q - share
    of_square = np.sum(weight**2 * (spread**2 - (q - 2.0 * share) ** 2)) + (
        np.sum(weight * apart**2) * np.sum(weight)
        - 2.0 * np.sum(weight * apart) * np.sum(weight * share)
        + np.sum(weight) * np.sum(weight * share**2)
    )
    degrees_of_freedom = max(1.0, float(q**2 / of_square))
    half = quantile(0.975, degrees_of_freedom) * error
    return 100.0 * float(rate - half), 100.0 * float(rate + half)


def mean_utterance_rate(aligned: Sequence[Aligned]) -> float:
    """Mean of the utterances' own word error rates, in percent: not the rate of the set."""
    return math.fsum(one.words.rate for one in aligned) / len(aligned)


def compare_aligned(
    a: Sequence[Aligned], b: Sequence[Aligned], draws: int = PAIRED_DRAWS, seed: int = SEED
) -> Comparison:
    """Paired bootstrap of a minus b: both systems are resampled at the same utterances.

    The p-value is two-sided: twice the smaller share of draws in which the difference is on one
    side of zero, ties on both (Koehn 2004, "Statistical significance tests for machine translation
    evaluation", and Bisani & Ney's probability of improvement, made two-sided). It is below 0.05
    about where the 95 % interval of the difference leaves zero out. Shares are
    (count + 1) / (draws + 1), so that p is never 0 (Davison & Hinkley 1997, section 4.2). With few
    utterances (below `FEW_UTTERANCES`) it is too small.

    Raises UserError, naming the first difference, unless ids and references are the same.
    """
    a, b = paired(a, b)
    a_NK, b_NK = _error_table(a), _error_table(b)
    sums_RK = resampled_sums(np.hstack([a_NK - b_NK, a_NK[:, [1, 3]]]), draws, seed)
    totals_K = a_NK.sum(axis=0)
    difference_K = (a_NK - b_NK).sum(axis=0)
    values = _by_speaker(a, a_NK - b_NK, a_NK, of="delta_")
    for unit, errors, length, drawn_length in (("wer", 0, 1, 4), ("cer", 2, 3, 5)):
        low, high = _bounds(_rates(sums_RK[:, errors], sums_RK[:, drawn_length]))
        values[f"delta_{unit}"] = float(100.0 * difference_K[errors] / max(1.0, totals_K[length]))
        values[f"delta_{unit}_low"], values[f"delta_{unit}_high"] = low, high
        values[f"p_{unit}"] = _two_sided(sums_RK[:, errors])
    return Comparison(**values)


def _two_sided(differences_R: NDArray[np.float64]) -> float:
    smaller = min(int((differences_R >= 0).sum()), int((differences_R <= 0).sum()))
    return min(1.0, 2.0 * (smaller + 1) / (len(differences_R) + 1))


def common_utterances(systems: Sequence[Sequence[Aligned]]) -> list[list[Aligned]]:
    """Of each system the utterances that all have, with the same reference, by id."""
    by_key = [{(a.utterance.id, a.utterance.reference): a for a in system} for system in systems]
    keys = sorted(set.intersection(*map(set, by_key)))
    return [[system[key] for key in keys] for system in by_key]


def paired(a: Sequence[Aligned], b: Sequence[Aligned]) -> tuple[list[Aligned], list[Aligned]]:
    """Both by id. Raises UserError, naming the first difference, unless ids and references are the same."""
    if not a or not b:
        raise UserError("nothing to compare: a system has no utterance", "decode the set again")
    in_b = {one.utterance.id: one for one in b}
    remedy = "decode the same set with both models"
    for utterance in (one.utterance for one in a):
        if utterance.id not in in_b:
            raise UserError(
                f"not comparable: utterance '{utterance.id}' is missing from the second",
                remedy,
            )
        other = in_b[utterance.id].utterance
        if other.reference != utterance.reference:
            raise UserError(
                f"not comparable: the references of '{utterance.id}' differ "
                f"('{utterance.reference}' and '{other.reference}')",
                remedy,
            )
    in_a = {one.utterance.id for one in a}
    for name in in_b:
        if name not in in_a:
            raise UserError(f"not comparable: utterance '{name}' is missing from the first", remedy)
    ordered = sorted(a, key=lambda one: one.utterance.id)
    return ordered, [in_b[one.utterance.id] for one in ordered]


def _speakers(count: int) -> str:
    return "1 speaker" if count == 1 else f"{count} speakers"


def verdict(p: float) -> str:
    """Whether a p-value speaks, in words."""
    return "significant at 5 %" if p < SIGNIFICANT else "not significant, it may be chance"
