"""A report tells whether the scaling rule's assumption held."""

from __future__ import annotations

from pathlib import Path

from report_helpers import parsed, write_lines

from asr.report.run_page import write_report

LINES = [
    {
        **{"step": step, "hours": step / 10, "loss": 1.0, "kappa": 8.0, "batch_seconds": 80.0},
        **{"gradient_noise_scale_seconds": 160.0, "gradient_noise_scale_error_seconds": 12.0},
        **{"gradient_signal": 1.0, "gradient_noise_seconds": 160.0, "gradient_signal_share": 1 / 3},
        **{"step_deviation_percent": -15.9, "clipped_share": 0.07},
    }
    for step in range(1, 9)
]


def test_a_stranger_reads_what_the_gradients_say_of_the_rule(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics.jsonl", LINES)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    parsed(page)
    assert "Did the rule's assumption hold?" in page
    for value in ("160 s, standard error 12 s", "33.3 %", "-15.9 %", "80 s (kappa 8)", "7 %"):
        assert value in page
    assert page.count('role="img"') == 4  # loss, noise scale, shares, steps
    assert "shorter (-) than what keeps the curve" in page


def test_a_noise_scale_of_sorted_micro_batches_is_not_shown(tmp_path: Path) -> None:
    old = {"step": 1, "hours": 1.0, "loss": 1.0, "gradient_noise_scale_seconds": 1812.0}
    write_lines(tmp_path / "metrics.jsonl", [old])
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "on sorted micro-batches" in page
    assert "up to which batch more pays" not in page


def test_a_run_without_measurements_says_so(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics.jsonl", [{"step": 1, "hours": 1.0, "loss": 1.0}])
    assert "gradients were not measured" in write_report(tmp_path).read_text(encoding="utf-8")
