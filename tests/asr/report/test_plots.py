"""Charts of odd values."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from asr.report import curves, plots


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0], [1e-3, 1e3], [100.0] * 1000])
@pytest.mark.parametrize("zero_based", [True, False])
def test_charts_of_odd_values(values: list[float], zero_based: bool) -> None:
    hours = [1000.0 + i for i in range(len(values))]
    series = [plots.Series("a & b", hours, values, curves.TEACHER)]
    svg = plots.render(plots.Chart("x", "t < u", "y", series, [(1000.0, "$ & <")], zero_based))
    ElementTree.fromstring(svg)
    assert "currentColor" in svg
    assert "#010203" not in svg
