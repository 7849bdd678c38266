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

The margin is what the user states. The default is a tenth of the gap between the ablation and the rule at the
largest kappa, which the audit has to measure itself: so both one-sided tests are of d and a tenth of the same
seed's gap together, and the figures above hold for a tenth of the true gap (where it stands clear of its noise:
its sign is the data's). Whether a tenth of it is small is
another question: an ablation that falls to pieces makes a generous margin, and one that changes nothing makes
one that nothing can be shown to lie within. A margin chosen after the results were seen proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
from asr.planning.audit.metrics import METRICS, Cell, Curve, Metric

Setting = tuple[float, str]
"""kappa and rule."""

POINTS = "points"
"""The key of a stated margin that goes for every metric in percent."""
_ABLATIONS = ("none", "optimizer_only")
_SHARE_OF_GAP = 0.1
_DEFAULT_POINTS = 1.0


@dataclass(frozen=True)
class Margin:
    """How large a difference is still called none, in the metric's unit."""

    size: float | None
    """None where there is nothing to take it from."""
    source: str
    """Where it comes from, in words."""
    of_seeds: Mapping[int, float] | None = None
    """Its values seed by seed, where the audit measured it; their mean is `size`."""


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
    verdict: Verdict
    seeds_needed: int | None
    """Where nothing can be told: seeds at which it can (`asr.evaluation.equivalence.pairs_needed`)."""

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.verdict == "equivalent" and (self.p_different or 0.0) <= LEVEL:
            return "equivalent (it differs, by less than the margin)"
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
    comparisons: list[Comparison]


def compare(
    curves: Mapping[Cell, Mapping[str, Curve]],
    total_hours: float,
    every_hours: float,
    from_hours: float = 0.0,
    margins: Mapping[str, float] | None = None,
) -> list[MetricResult]:
    """Each kappa and rule against kappa = 1, metric by metric; those that kappa = 1 has.

    Curves are read off, linearly, at the multiples of `every_hours` up to `total_hours`: batches end
    at other moments for another kappa. What lies before `from_hours` is shared by a seed's cells and left out.
    `margins`: those that are stated, by metric, and under `POINTS` for all that are in percent.
    """
    count = max(1, round(total_hours / every_hours))
    grid_G = np.linspace(total_hours / count, total_hours, count)
    grid_G = grid_G[grid_G > from_hours * (1 + 1e-9)]
    results = []
    for metric in METRICS:
        sampled = {
            cell: _sampled(its[metric.name], grid_G)
            for cell, its in sorted(curves.items())
            if its.get(metric.name)
        }
        reference = {
            cell.seed: values_G
            for cell, values_G in sampled.items()
            if cell.kappa == 1 and np.isfinite(values_G[-1])
        }
        if reference:
            results.append(_result(metric, sampled, reference, margins or {}))
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
) -> MetricResult:
    by_setting: dict[Setting, dict[int, NDArray[np.float64]]] = {}
    for cell, values_G in sampled.items():
        if cell.kappa != 1:
            its = by_setting.setdefault((cell.kappa, cell.rule), {})
            if cell.seed in reference:
                its[cell.seed] = values_G - reference[cell.seed]
    ends = {setting: _by_seed(its, last=True) for setting, its in by_setting.items()}
    means = {setting: _by_seed(its, last=False) for setting, its in by_setting.items()}
    margin = find_margin(metric, ends, stated)
    end, curve = judged(ends, margin), judged(means, margin)
    finals = np.array([values_G[-1] for values_G in reference.values()])
    comparisons = [
        Comparison(
            *setting,
            metric.name,
            _mean([sampled[Cell(*setting, seed)][-1] for seed in ends[setting]]),
            end[setting],
            curve[setting],
        )
        for setting in by_setting
    ]
    deviation = float(finals.std(ddof=1)) if len(finals) > 1 else None
    return MetricResult(metric, margin, float(finals.mean()), deviation, len(finals), comparisons)


def _by_seed(differences: Mapping[int, NDArray[np.float64]], last: bool) -> dict[int, float]:
    """Of each seed the difference at the end, or its mean over the hours at which all seeds have one."""
    whole = {seed: values_G for seed, values_G in differences.items() if np.isfinite(values_G[-1])}
    if not whole:
        return {}
    common_G = np.isfinite(np.sum(list(whole.values()), axis=0))
    if last:
        common_G[:-1] = False
    return {seed: float(values_G[common_G].mean()) for seed, values_G in whole.items()}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def find_margin(
    metric: Metric, ends: Mapping[Setting, Mapping[int, float]], stated: Mapping[str, float]
) -> Margin:
    """A metric's margin: stated, or a tenth of the gap that `ends` (by setting and seed) show, or a point."""
    is_rate = metric.unit == "%"
    if metric.name in stated or (is_rate and POINTS in stated):
        return Margin(stated.get(metric.name, stated.get(POINTS)), "as stated")
    for ablation in _ABLATIONS:
        for kappa in sorted((k for k, rule in ends if rule == ablation), reverse=True):
            rule, without = ends.get((kappa, "full"), {}), ends[kappa, ablation]
            gap = {seed: without[seed] - rule[seed] for seed in without if seed in rule}
            mean = _mean(list(gap.values()))
            if mean is not None:
                share = float(np.copysign(_SHARE_OF_GAP, mean))
                source = f"a tenth of the gap between {ablation} and full at kappa {kappa:g}, "
                return Margin(
                    abs(_SHARE_OF_GAP * mean),
                    source + f"{abs(mean):.3g}, measured here",
                    {seed: share * value for seed, value in gap.items()},
                )
    if is_rate:
        return Margin(_DEFAULT_POINTS, "the default without an ablation")
    return Margin(None, "none stated, and no ablation to take one from")


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
    seeds, mean = len(values_N), _mean(list(values_N))
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
