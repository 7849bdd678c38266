"""What an audit says of its curves."""

from __future__ import annotations

import numpy as np
import pytest

from asr.config.objective import CollapseConfig
from asr.planning.audit.collapse import Collapsed, find_collapsed
from asr.planning.audit.comparisons import Comparison, MetricResult, compare, judged
from asr.planning.audit.margins import POINTS, Margin
from asr.planning.audit.metrics import METRICS_WITHOUT_TEXTS, Cell, Curve
from asr.planning.audit.plot import draw, line_of
from asr.planning.audit.results import summary, tables, to_json
from asr.tracking.run_reader import Run

HOURS = [float(h) for h in range(1, 11)]
Curves = dict[Cell, dict[str, Curve]]


def curve(value: float, metric: str = "teacher_wer") -> dict[str, Curve]:
    return {metric: [(h, value) for h in HOURS]}


def wer_of(curves: Curves, margin: float | None = None) -> MetricResult:
    [found] = compare(curves, 10.0, 1.0, margins=margin and {POINTS: margin})
    return found


def said(result: MetricResult) -> dict[tuple[float, str], Comparison]:
    return {(c.kappa, c.rule): c for c in result.comparisons}


def shifted(values: dict[int, float], by: list[float], kappa: float, rule: str) -> Curves:
    """A cell's curves: those of kappa = 1, seed by seed, and what each lies above them."""
    pairs = zip(values, by, strict=False)
    return {Cell(kappa, rule, seed): curve(values[seed] + more) for seed, more in pairs}


SEEDS = {1: 48.0, 2: 50.0, 3: 52.0, 4: 49.0, 5: 51.0}
ONE = {Cell(1.0, "full", seed): curve(value) for seed, value in SEEDS.items()}


def test_identical_curves_are_equivalent_however_far_seeds_are_apart() -> None:
    """They scored 0.82 seed spreads, as a distance."""
    found = said(wer_of(ONE | shifted(SEEDS, [0.0] * 5, 8.0, "full"), 0.5))[8.0, "full"]
    assert (found.end.mean, found.end.low, found.end.high, found.curve.mean) == (0, 0, 0, 0)
    assert found.end.words == found.curve.words == "equivalent"


def test_a_small_steady_difference_is_seen_through_the_spread_of_seeds() -> None:
    """Each seed's kappa = 8 lies 0.5 above its own kappa = 1; between seeds are 4 points: it was "within"."""
    curves = ONE | shifted(SEEDS, [0.5, 0.52, 0.48, 0.51, 0.49], 8.0, "full")
    found = said(wer_of(curves, 0.3))[8.0, "full"]
    assert found.end.mean == pytest.approx(0.5)
    assert found.end.words == "different"
    assert said(wer_of(curves, 2.0))[8.0, "full"].end.words == (
        "equivalent (it differs, by less than the margin)"
    )


def test_verdicts_on_a_whole_table_are_wrong_in_one_of_twenty() -> None:
    random = np.random.default_rng(1)
    audits, equivalent, different = 300, 0, 0
    cells = [(kappa, rule) for kappa in (2.0, 4.0, 8.0) for rule in ("full", "none")]

    def drawn(shift: float = 0.0) -> dict[int, float]:
        return {seed: shift + random.normal() for seed in range(3)}

    for _ in range(audits):
        alike = judged({cell: drawn() for cell in cells}, Margin(None, "none"))
        different += any(found.verdict == "different" for found in alike.values())
        off = judged({(4.0, "full"): drawn(2.0), (8.0, "full"): drawn()}, Margin(2.0, "as stated"))
        equivalent += off[4.0, "full"].verdict == "equivalent"
    # Five in a hundred, and twice the error of a share of so many.
    assert equivalent / audits <= 0.075
    assert different / audits <= 0.075


def test_seeds_are_paired_where_both_sides_have_them() -> None:
    curves = ONE | shifted(SEEDS, [0.1, -0.1, 0.0], 4.0, "full")
    curves |= shifted(SEEDS, [3.0], 2.0, "full")
    curves[Cell(8.0, "full", 9)] = curve(50.0)  # kappa = 1 with this seed failed
    result = wer_of(curves, 1.0)
    found = said(result)
    assert (result.reference, result.reference_seeds) == (50.0, 5)
    assert (found[4.0, "full"].end.seeds, found[4.0, "full"].final) == (3, pytest.approx(50.0))
    assert found[4.0, "full"].end.words == "equivalent"
    assert found[2.0, "full"].end.mean == 3.0
    assert found[2.0, "full"].end.words == "cannot tell with 1 seed: 2 at least would be needed"
    assert found[8.0, "full"].end.words == "cannot tell with 0 seeds: 2 at least would be needed"
    assert "| full | 8 | 0 | - | - |" in tables([result])


def test_what_cannot_be_told_says_how_many_seeds_would_do() -> None:
    noisy = ONE | shifted(SEEDS, [-1.0, 0.0, 1.0], 4.0, "full")
    words = said(wer_of(noisy, 1.0))[4.0, "full"].end.words
    assert words == "cannot tell with 3 seeds: 11 would be needed"
    edge = said(wer_of(ONE | shifted(SEEDS, [-0.1, 0.95, 1.0], 4.0, "full"), 1.6))[4.0, "full"]
    assert edge.end.words == "cannot tell with 3 seeds: 4 would be needed"
    tiny = said(wer_of(noisy, 1e-6))[4.0, "full"].end.words
    assert tiny == "cannot tell with 3 seeds: 10,000 or more would be needed"


def test_the_margin_and_where_it_comes_from() -> None:
    alone = ONE | shifted(SEEDS, [0.1] * 5, 8.0, "full")
    assert wer_of(alone).margin.size == 1.0
    assert wer_of(alone).margin.source == "the default without an ablation"
    both = alone | shifted(SEEDS, [6.0, 6.2, 5.8, 6.1], 8.0, "none")
    both |= shifted(SEEDS, [90.0] * 5, 4.0, "none")  # a smaller kappa, whatever its gap
    result = wer_of(both)
    assert result.margin.size == pytest.approx(0.1 * (6.025 - 0.1))
    assert result.margin.source == (
        "a tenth of the gap between none and full at kappa 8, 5.92, measured here"
    )
    assert said(result)[8.0, "full"].end.verdict == "equivalent"
    assert said(result)[8.0, "none"].end.verdict == "different"
    assert "Margin: ±0.592 points (a tenth of the gap between none and full" in tables([result])
    better = alone | shifted(SEEDS, [-6.0, -6.2, -5.8, -6.1], 8.0, "optimizer_only")
    assert wer_of(better).margin.size == pytest.approx(0.6125)
    assert said(wer_of(better))[8.0, "full"].end.verdict == "equivalent"
    assert wer_of(both, 2.0).margin.source == "as stated"

    loss = {cell: curve(8.0 + cell.seed, "teacher_dev_loss") for cell in alone}
    [found] = compare(loss, 10.0, 1.0, margins={POINTS: 1.0})
    assert found.margin.size is None, "a margin in points is none of nats"
    assert (
        said(found)[8.0, "full"].end.words
        == "cannot tell with 5 seeds: no margin is known, state one"
    )
    [found] = compare(loss, 10.0, 1.0, margins={"teacher_dev_loss": 0.1})
    assert said(found)[8.0, "full"].end.words == "equivalent"


def test_the_curve_is_told_apart_from_its_end() -> None:
    late = {
        Cell(4.0, "full", seed): {
            "teacher_wer": [(h, value + (2.0 + 0.01 * seed) * (h < 10)) for h in HOURS]
        }
        for seed, value in SEEDS.items()
    }
    [result] = compare(ONE | late, 10.0, 1.0, from_hours=5.0, margins={POINTS: 1.0})
    found = said(result)[4.0, "full"]
    assert found.end.words == "equivalent"
    assert found.curve.words == "different"
    assert found.curve.mean == pytest.approx(0.8 * 2.03)  # of the hours 6 to 10, the last without
    [row] = to_json([result])
    assert row["comparisons"][0]["curve"]["words"] == "different"


def test_a_curve_that_ends_early_is_not_held_to_the_end() -> None:
    """A cell that diverged has no loss from there on: it was equivalent by its last value."""
    curves = ONE | shifted(SEEDS, [0.0] * 5, 8.0, "full")
    early = Cell(8.0, "full", 1)
    curves[early] = {"teacher_wer": curves[early]["teacher_wer"][:3]}
    found = said(wer_of(curves, 0.5))[8.0, "full"]
    assert (found.end.seeds, found.curve.seeds) == (4, 4)


def test_seeds_cannot_help_where_the_ablation_lacks_them() -> None:
    """It asked for one seed more than there were, however many there were."""
    curves = ONE | shifted(SEEDS, [0.3] * 4 + [-0.3], 8.0, "full")
    curves |= shifted({1: SEEDS[1]}, [9.0], 8.0, "none")
    words = said(wer_of(curves))[8.0, "full"].end.words
    assert words == "cannot tell with 5 seeds: no margin is known, state one"


def test_a_line_of_the_figure_lies_as_far_from_kappa_1_as_its_own_seeds() -> None:
    """The mean of the first three seeds stood against the mean of all five."""
    hours = np.array(HOURS)
    at_1 = {seed: np.full(len(HOURS), value) for seed, value in SEEDS.items()}
    three = {seed: np.array([hours, at_1[seed] + 0.25]) for seed in (1, 2, 3)}
    line = line_of(hours, at_1, {**three, 9: three[1]})
    assert line == pytest.approx(np.full(len(HOURS), 50.25))
    curves = ONE | shifted(SEEDS, [0.0] * 3, 16.0, "progressive")
    drawing = draw(curves, [wer_of(curves, 1.0)])
    assert "full rule, grown step by step" in drawing
    assert "margin" in drawing
    assert draw({}, []) == ""


def test_three_lines_say_what_the_tables_do() -> None:
    curves = ONE | shifted(SEEDS, [0.1, -0.1, 0.0], 4.0, "full")
    curves |= shifted(SEEDS, [-1.0, 0.0, 1.0], 8.0, "full")
    curves |= shifted(SEEDS, [6.0, 6.2, 5.8, 6.1], 8.0, "none")
    lines = summary([wer_of(curves, 1.0)], failed=2)
    assert lines == [
        "**With the rule** (dev WER, teacher, at the end, against kappa = 1 within ±1 points): equivalent at "
        "kappa 4; cannot tell at kappa 8.",
        "**Without it** (dev WER, teacher, at the end, against kappa = 1 within ±1 points): different at "
        "kappa 8 by +6.03.",
        "**With the rule, over all metrics** (1): 1 equivalent, 1 cannot tell; 14 seeds would tell all; 2 "
        "cells failed.",
    ]
    [nothing] = summary([], failed=4)
    assert "no finished cell at kappa = 1" in nothing


LOSSES = {seed: 0.4 + 0.01 * seed for seed in SEEDS}
LOSS = {Cell(1.0, "full", seed): curve(v, "teacher_dev_loss") for seed, v in LOSSES.items()}


def loss_of(curves: Curves, collapsed: Collapsed, points: float | None = None) -> MetricResult:
    margins = None if points is None else {POINTS: points}
    found = compare(curves, 10.0, 1.0, 0.0, margins, METRICS_WITHOUT_TEXTS, collapsed)
    return found[0]


def losses(by: float, kappa: float, rule: str) -> Curves:
    return {
        Cell(kappa, rule, seed): curve(v + by * (1 + 0.01 * seed), "teacher_dev_loss")
        for seed, v in LOSSES.items()
    }


def test_a_margin_in_points_is_a_share_of_a_loss_of_masked_prediction() -> None:
    result = loss_of(LOSS | losses(0.004, 8.0, "full"), Collapsed(), 2.0)
    assert result.margin.size == pytest.approx(0.02 * 0.43)
    assert result.margin.source == "2 % of kappa 1's, as stated"
    assert said(result)[8.0, "full"].end.verdict == "equivalent"
    assert "±0.0086 a predicted frame (2 % of kappa 1's" in tables([result])
    assert "*Collapsed*" in tables([result])
    alone = loss_of(LOSS | losses(0.004, 8.0, "full"), Collapsed())
    assert alone.margin.source == "1 % of kappa 1's, the default without an ablation"


def test_what_has_collapsed_is_neither_equivalent_nor_better_and_no_margin() -> None:
    curves = LOSS | losses(0.0, 8.0, "full") | losses(-0.4, 8.0, "none")
    curves |= losses(0.02, 4.0, "none") | losses(0.0, 4.0, "full")
    one, all_none = {Cell(8.0, "full", 2)}, {Cell(8.0, "none", seed) for seed in SEEDS}
    ill = Collapsed({*one, *all_none}, {*one, *all_none, Cell(4.0, "full", 1)})
    result = loss_of(curves, ill)
    found = said(result)
    assert found[8.0, "full"].end.words == "collapsed with 1 of 5 seeds"
    assert found[8.0, "none"].end.words == "collapsed with 5 of 5 seeds"
    assert found[8.0, "none"].end.mean is None
    assert "between none and full at kappa 4" in result.margin.source, "not of what has collapsed"
    assert found[4.0, "full"].end.words == "equivalent"
    assert found[4.0, "full"].curve.words == "collapsed with 1 of 5 seeds"
    assert "collapsed at kappa 8" in summary([result], 0)[0]
    reference = loss_of(curves, Collapsed({Cell(1.0, "full", 1)}, {Cell(1.0, "full", 1)}))
    assert (reference.reference_seeds, reference.reference_collapsed) == (4, 1)
    assert "the reference; 1 more have collapsed" in tables([reference])
    assert "kappa = 1 has collapsed with all of its 5 seeds" in summary([], 0, 5)[0]


def test_collapse_is_told_by_the_bounds_of_the_recipes_alarm() -> None:
    sound = {"effective_rank": 20.0, "target_variance": 0.3, "dead_share": 0.0}

    def run(*signs: dict[str, float | None]) -> Run:
        lines = [
            {"model": model, "set": "dev", "hours": hours, **sound, **own}
            for hours, own in enumerate(signs, 1)
            for model in ("teacher", "student")
        ]
        return Run(evaluations=lines)

    runs = {
        Cell(2.0, "full", 1): run({}, {}),
        Cell(2.0, "full", 2): run({}, {"effective_rank": 1.5}),
        Cell(2.0, "full", 3): run({}, {"target_variance": None}),
        Cell(2.0, "full", 4): run({"dead_share": 0.9}, {}),
    }
    found = find_collapsed(runs, CollapseConfig())
    assert {cell.seed for cell in found.at_end} == {2, 3}
    assert {cell.seed for cell in found.ever} == {2, 3, 4}
    assert {cell.seed for cell in find_collapsed(runs, CollapseConfig(), 1.0).ever} == {2, 3}
