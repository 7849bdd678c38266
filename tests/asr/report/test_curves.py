"""Curves of a run: what is drawn, and that it can be read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from asr.report import curves, plots
from asr.tracking.run_reader import read_run


def test_resumed_run_counts_the_last_line_of_a_step(tmp_path: Path) -> None:
    lines = [
        {"step": s, "hours": s / 10, "loss": loss} for s, loss in ((1, 5.0), (2, 4.0), (2, 3.0))
    ]
    lines.append({"step": 3, "hours": 0.3, "loss": math.nan})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    run = read_run(tmp_path)
    [series] = curves.curve(run.training, "loss", "loss", curves.STUDENT)
    assert (list(series.hours), list(series.values)) == ([0.1, 0.2], [5.0, 3.0])


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


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0], [1e-3, 1e3], [100.0] * 1000])
@pytest.mark.parametrize("zero_based", [True, False])
def test_charts_of_odd_values(values: list[float], zero_based: bool) -> None:
    hours = [1000.0 + i for i in range(len(values))]
    series = [plots.Series("a & b", hours, values, curves.TEACHER)]
    svg = plots.render(plots.Chart("x", "t < u", "y", series, 1000.0, zero_based))
    ElementTree.fromstring(svg)
    assert "currentColor" in svg
    assert "#010203" not in svg
