"""Curves can be read on light and on dark, and say what they are called."""

from __future__ import annotations

import pytest

from asr.report import curves
from asr.tracking.run_reader import Run


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_curves_read_on_light_and_dark() -> None:
    styles = [
        curves.TEACHER,
        curves.STUDENT,
        curves.SUPERVISED,
        curves.SUPERVISED_STUDENT,
        *curves.OTHERS,
    ]
    for style in styles:
        light = (luminance("#fcfcfb") + 0.05) / (luminance(style.colour) + 0.05)
        dark = (luminance(style.colour) + 0.05) / (luminance("#14181d") + 0.05)
        assert min(light, dark) >= 3, style.colour
    assert len({style.dashes for style in styles[:4]}) == 4


def test_batches_of_one_kind_in_turn_are_half_pseudo_labelled_audio() -> None:
    lines = [
        {"hours": float(n), "batch_seconds": 10.0, "pseudo_labelled_share": share}
        for n, share in enumerate([0.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    ]
    charts = {chart.name: chart for chart in curves.pseudo_label_charts(Run(training=lines))}
    [share] = charts["label-share"].series
    assert list(share.hours) == [2.0, 3.0, 4.0, 5.0]
    assert list(share.values) == pytest.approx([100.0, 50.0, 200 / 3, 50.0])


def test_a_lower_learning_rate_and_an_early_end_are_marked() -> None:
    lines = [{"hours": float(n), "plateau_decays": n // 2} for n in range(5)]
    config = {"optimizer": {"plateau": {"factor": 0.5}}}
    ended = {"hours": 4.0, "stopped_early": "no dev WER below ..."}
    marks = curves.marks_of(config, {}, None, Run(training=lines), ended)
    rate = "learning rate x 0.5 from here"
    assert marks == [(1.0, rate), (3.0, rate), (4.0, "stopped early")]
