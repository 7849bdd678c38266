"""Speeds that were measured, mixed by their hours; and what is no such file."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.config.recipe import load_config
from asr.errors import UserError
from asr.planning.benchmark import Bench


def test_the_phases_are_mixed_by_their_hours(recipe: Path) -> None:
    bench = Bench({"supervised": 100.0, "pseudo_labelled": 50.0}, None)
    settings = ["trainer.total_hours=10", "pseudo_label.start_hours=4"]
    assert bench.throughput(load_config(recipe, settings)) == pytest.approx(10 / (0.04 + 0.12))
    supervised = load_config(recipe, [settings[0], "pseudo_label.start_hours=null"])
    assert bench.throughput(supervised) == pytest.approx(100)


NO_SPEED = '{"network": null, "speeds": {"supervised": {"compute_throughput": 0}}}'


@pytest.mark.parametrize("content", ["", "[]", "{}", NO_SPEED])
def test_what_is_no_bench_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(UserError, match="not a result of `asr bench`"):
        Bench.read(path)
