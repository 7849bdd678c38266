"""How large a difference an audit still calls none.

The margin is what the user states. The default is a tenth of the gap between the ablation and the rule at the
largest kappa, which the audit has to measure itself: so both one-sided tests are of d and a tenth of the same
seed's gap together, and the figures above hold for a tenth of the true gap (where it stands clear of its noise:
its sign is the data's). Whether a tenth of it is small is
another question: an ablation that falls to pieces makes a generous margin, and one that changes nothing makes
one that nothing can be shown to lie within. A margin chosen after the results were seen proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr.planning.audit.metrics import Metric, Setting

POINTS = "points"
"""The key of a stated margin that goes for every metric in percent, and in percent of kappa = 1's value for
those that are relative to it."""
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


def find_margin(
    metric: Metric,
    ends: Mapping[Setting, Mapping[int, float]],
    stated: Mapping[str, float],
    reference: float,
) -> Margin:
    """A metric's margin: stated, or a tenth of the gap that `ends` (by setting and seed) show, or a point.

    `reference` is kappa = 1's value, of which a relative metric's points are percent.
    """
    is_rate = metric.unit == "%"
    if metric.name in stated:
        return Margin(stated[metric.name], "as stated")
    if is_rate and POINTS in stated:
        return Margin(stated[POINTS], "as stated")
    if metric.is_relative and POINTS in stated:
        share = stated[POINTS] / 100.0
        return Margin(abs(share * reference), f"{stated[POINTS]:g} % of kappa 1's, as stated")
    for ablation in _ABLATIONS:
        for kappa in sorted((k for k, rule in ends if rule == ablation), reverse=True):
            rule, without = ends.get((kappa, "full"), {}), ends[kappa, ablation]
            gap = {seed: without[seed] - rule[seed] for seed in without if seed in rule}
            mean = mean_of(list(gap.values()))
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
    if metric.is_relative:
        size, of_what = (
            abs(_DEFAULT_POINTS / 100.0 * reference),
            f"{_DEFAULT_POINTS:g} % of kappa 1's",
        )
        return Margin(size, f"{of_what}, the default without an ablation")
    return Margin(None, "none stated, and no ablation to take one from")


def mean_of(values: Sequence[float]) -> float | None:
    """None without any."""
    return float(np.mean(values)) if values else None
