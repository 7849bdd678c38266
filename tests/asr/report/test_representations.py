"""A self-supervised run's page has its curves, and a run of texts none of them."""

from __future__ import annotations

from pathlib import Path

from report_helpers import parsed, write_lines

from asr.report.representations import half_life_chart, representation_charts
from asr.report.run_page import write_report
from asr.tracking.run_reader import read_run


def test_loss_rank_variance_and_half_life_are_drawn(tmp_path: Path) -> None:
    lines = []
    for step in range(1, 21):
        place = {"step": step, "hours": step / 10}
        found = {"target_variance": 0.9, "prediction_variance": step / 40, "dead_share": 0.01}
        lines.append({**place, **found, "loss": 1 / step, "half_life_hours": 1.0 + step})
        if step % 5 == 0:
            for model in ("student", "teacher"):
                dev = {"set": "dev", "model": model, "dev_loss": 1 / step, "effective_rank": 20.0}
                lines.append({**place, **dev})
    write_lines(tmp_path / "metrics.jsonl", lines)
    run = read_run(tmp_path)
    titles = [chart.title for chart in representation_charts(run)]
    assert titles == [
        "Dev loss on dev",
        "Effective rank on dev",
        "Variance over predicted frames",
        "Frames that say nothing of their own",
    ]
    assert [chart.title for chart in half_life_chart(run)] == ["Half-life of the average"]
    page = write_report(tmp_path).read_text(encoding="utf-8")
    parsed(page)
    for title in (*titles, "Half-life of the average", "Training loss"):
        assert title in page
    assert page.count("<svg") == 6


def test_a_run_of_texts_has_none_of_them(run: Path) -> None:
    assert representation_charts(read_run(run)) == []
    assert half_life_chart(read_run(run)) == []
