"""Does a cell's curve lie where kappa = 1's does? Paired differences, seed by seed, and what they say.

Of a metric and a seed, d = a cell's value - that of the same seed's cell at kappa = 1, which saw the same
audio in the same order after the same burn-in: what seeds differ in falls out. Two values are compared: that at
the end of the run, and the mean over the evaluations since the fork (in which a lead that turns into a lag
cancels out). Each has a 95 % interval, a p-value of "different" (two-sided t-test, corrected by Holm for the
cells of the metric) and one of "equivalent" (two one-sided t-tests against the margin), see
`asr.evaluation.equivalence`.

Error rates, where differences are normal: a cell that is off by its margin is called equivalent in at most 5 %
of audits; so is "every kappa of a rule is equivalent" where one of them is off, without a correction. Of a
metric whose cells are all as kappa = 1, some cell is called different in at most 5 % of audits, for each of the
two values.

Without texts the loss is that of masked prediction, of what each run's own average says: representations that
have collapsed are easily predicted. A cell whose have is never compared by its loss; it is called collapsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asr.evaluation.equivalence import (
    LEVEL,
    MOST_PAIRS,
    Verdict,
    judge,
    p_different,
    p_equivalent,
    pairs_needed,
    t_interval,
)
from asr.evaluation.significance import holm
from asr.planning.audit.collapse import Collapsed
from asr.planning.audit.margins import Margin, find_margin, mean_of
from asr.planning.audit.metrics import METRICS, Cell, Curve, Metric, Setting


@dataclass(frozen=True)
class Difference:
    """The paired differences of a cell from kappa = 1 in one value."""

    seeds: int
    """Those that both sides have."""
    mean: float | None
    low: float | None
    """Ends of the 95 % interval; None with fewer than two seeds, like all that follows."""
    high: float | None
    deviation: float | None
    """Standard deviation between the seeds."""
    p_different: float | None
    """Corrected by Holm for the cells of the metric."""
    p_equivalent: float | None
    verdict: Verdict | Literal["collapsed"]
    seeds_needed: int | None
    """Where nothing can be told: seeds at which it can (`asr.evaluation.equivalence.pairs_needed`)."""
    collapsed: int = 0
    """Seeds whose representations have collapsed: they are not in the figures above."""

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.verdict == "equivalent" and (self.p_different or 0.0) <= LEVEL:
            return "equivalent (it differs, by less than the margin)"
        if self.verdict == "collapsed":
            return f"collapsed with {self.collapsed} of {self.collapsed + self.seeds} seeds"
        if self.verdict != "cannot tell":
            return self.verdict
        count = f"cannot tell with {self.seeds} seed{'' if self.seeds == 1 else 's'}"
        if self.seeds < 2:
            return f"{count}: 2 at least would be needed"
        if self.seeds_needed is None:
            return f"{count}: no margin is known, state one"
        more = " or more" if self.seeds_needed >= MOST_PAIRS else ""
        return f"{count}: {self.seeds_needed:,}{more} would be needed"


@dataclass(frozen=True)
class Comparison:
    """A kappa and rule against kappa = 1, in one metric."""

    kappa: float
    rule: str
    metric: str
    final: float | None
    """Mean at the end, over the seeds that both sides have."""
    end: Difference
    """At the end of the run."""
    curve: Difference
    """Of the mean over the evaluations since the fork."""


@dataclass(frozen=True)
class MetricResult:
    """What an audit says of one metric."""

    metric: Metric
    margin: Margin
    reference: float
    """Mean at the end at kappa = 1, over all its seeds."""
    reference_deviation: float | None
    """Between those seeds."""
    reference_seeds: int
    reference_collapsed: int
    """Seeds of kappa = 1 that are left out."""
    comparisons: list[Comparison]


def compare(
    curves: Mapping[Cell, Mapping[str, Curve]],
    total_hours: float,
    every_hours: float,
    from_hours: float = 0.0,
    margins: Mapping[str, float] | None = None,
    metrics: Sequence[Metric] = METRICS,
    collapsed: Collapsed | None = None,
) -> list[MetricResult]:
    """Each kappa and rule against kappa = 1, metric by metric; those that kappa = 1 has.

    Curves are read off, linearly, at the multiples of `every_hours` up to `total_hours`: batches end
    at other moments for another kappa. What lies before `from_hours` is shared by a seed's cells and left out.
    `margins`: those that are stated, by metric, and under `POINTS` for all that are in percent. `collapsed`:
    cells whose values say nothing.
    """
    collapsed = collapsed or Collapsed()
    count = max(1, round(total_hours / every_hours))
    grid_G = np.linspace(total_hours / count, total_hours, count)
    grid_G = grid_G[grid_G > from_hours * (1 + 1e-9)]
    results = []
    for metric in metrics:
        sampled = {
            cell: _sampled(its[metric.name], grid_G)
            for cell, its in sorted(curves.items())
            if its.get(metric.name)
        }
        reference = {
            cell.seed: values_G
            for cell, values_G in sampled.items()
            if cell.kappa == 1 and np.isfinite(values_G[-1]) and cell not in collapsed.ever
        }
        if reference:
            results.append(_result(metric, sampled, reference, margins or {}, collapsed))
    return results


def _sampled(curve: Curve, grid_G: NDArray[np.float64]) -> NDArray[np.float64]:
    hours, values = zip(*curve, strict=True)
    sampled_G: NDArray[np.float64] = np.interp(grid_G, hours, values, left=np.nan)
    # NaN before the curve begins, and where it ends more than an evaluation early, as one that diverges does.
    sampled_G[grid_G > hours[-1] + (grid_G[0] if len(grid_G) < 2 else grid_G[1] - grid_G[0])] = (
        np.nan
    )
    return sampled_G


def _result(
    metric: Metric,
    sampled: Mapping[Cell, NDArray[np.float64]],
    reference: Mapping[int, NDArray[np.float64]],
    stated: Mapping[str, float],
    collapsed: Collapsed,
) -> MetricResult:
    at_end = _differences(sampled, reference, collapsed.at_end)
    ever = _differences(sampled, reference, collapsed.ever)
    ends = {setting: _by_seed(its, last=True) for setting, its in at_end.items()}
    means = {setting: _by_seed(its, last=False) for setting, its in ever.items()}
    finals = np.array([values_G[-1] for values_G in reference.values()])
    margin = find_margin(metric, ends, stated, float(finals.mean()))
    end = _without(collapsed.at_end, judged(ends, margin))
    curve = _without(collapsed.ever, judged(means, margin))
    comparisons = [
        Comparison(
            *setting,
            metric.name,
            mean_of([sampled[Cell(*setting, seed)][-1] for seed in ends[setting]]),
            end[setting],
            curve[setting],
        )
        for setting in ends
    ]
    deviation = float(finals.std(ddof=1)) if len(finals) > 1 else None
    lost = sum(cell.kappa == 1 for cell in collapsed.ever)
    mean = float(finals.mean())
    return MetricResult(metric, margin, mean, deviation, len(finals), lost, comparisons)


def _differences(
    sampled: Mapping[Cell, NDArray[np.float64]],
    reference: Mapping[int, NDArray[np.float64]],
    left_out: Collection[Cell],
) -> dict[Setting, dict[int, NDArray[np.float64]]]:
    """Of each setting, by seed, from kappa = 1."""
    by_setting: dict[Setting, dict[int, NDArray[np.float64]]] = {}
    for cell, values_G in sampled.items():
        if cell.kappa != 1:
            its = by_setting.setdefault((cell.kappa, cell.rule), {})
            if cell.seed in reference and cell not in left_out:
                its[cell.seed] = values_G - reference[cell.seed]
    return by_setting


def _without(
    collapsed: Collection[Cell], found: Mapping[Setting, Difference]
) -> dict[Setting, Difference]:
    """The verdict of settings that have collapsed with any seed is that."""
    counts = Counter((cell.kappa, cell.rule) for cell in collapsed)
    return {
        setting: replace(one, verdict="collapsed", collapsed=counts[setting], seeds_needed=None)
        if counts[setting]
        else one
        for setting, one in found.items()
    }


def _by_seed(differences: Mapping[int, NDArray[np.float64]], last: bool) -> dict[int, float]:
    """Of each seed the difference at the end, or its mean over the hours at which all seeds have one."""
    whole = {seed: values_G for seed, values_G in differences.items() if np.isfinite(values_G[-1])}
    if not whole:
        return {}
    common_G = np.isfinite(np.sum(list(whole.values()), axis=0))
    if last:
        common_G[:-1] = False
    return {seed: float(values_G[common_G].mean()) for seed, values_G in whole.items()}


def judged(
    differences: Mapping[Setting, Mapping[int, float]], margin: Margin
) -> dict[Setting, Difference]:
    """The differences of one metric (by setting and seed), tested together."""
    values_N = {setting: np.array(list(its.values())) for setting, its in differences.items()}
    corrected = holm({s: float(p_different(v)) for s, v in values_N.items() if len(v) > 1})
    return {
        setting: _judged(its, values_N[setting], corrected.get(setting), len(corrected), margin)
        for setting, its in differences.items()
    }


def _judged(
    by_seed: Mapping[int, float],
    values_N: NDArray[np.float64],
    corrected: float | None,
    cells: int,
    margin: Margin,
) -> Difference:
    seeds, mean = len(values_N), mean_of(list(values_N))
    if corrected is None:
        return Difference(seeds, mean, None, None, None, None, None, "cannot tell", None)
    low, high = t_interval(values_N)
    deviation = float(values_N.std(ddof=1))
    equivalent = _p_equivalent(by_seed, margin)
    verdict, needed = judge(equivalent, corrected), None
    if verdict == "cannot tell" and margin.size is not None and equivalent is not None:
        # At the least one more: near the margin's edge even many seeds need not tell.
        needed = max(seeds + 1, pairs_needed(deviation, margin.size, cells))
    ends = float(low), float(high)
    return Difference(seeds, mean, *ends, deviation, corrected, equivalent, verdict, needed)


def _p_equivalent(by_seed: Mapping[int, float], margin: Margin) -> float | None:
    """None without a margin, or where fewer than two of the seeds have measured it."""
    if margin.size is None:
        return None
    if margin.of_seeds is None:
        return float(p_equivalent(list(by_seed.values()), margin.size))
    both = [seed for seed in by_seed if seed in margin.of_seeds]
    if len(both) < 2:
        return None
    margins_N = _picked(margin.of_seeds, both)
    return float(p_equivalent(_picked(by_seed, both), margins_N))


def _picked(values: Mapping[int, float], seeds: Iterable[int]) -> list[float]:
    return [values[seed] for seed in seeds]
