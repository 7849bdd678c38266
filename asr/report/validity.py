"""Whether the scaling rule's assumption held in a run: what its own gradients say, in words and curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asr.report.curves import OTHERS, STUDENT, TEACHER, curve, percent
from asr.report.plots import Chart
from asr.tracking.run_reader import Run
from asr.tracking.shapes import is_number


def validity_charts(run: Run) -> list[Chart]:
    """The noise scale beside the batch, and how far the rule's assumption is from what was measured."""
    lines = [line for line in run.training if is_number(line.get("gradient_signal"))]
    scale = curve(lines, "gradient_noise_scale_seconds", "noise scale", TEACHER)
    batch = curve(run.training, "batch_seconds", "batch", STUDENT)
    shares = [
        *curve(percent(lines, "gradient_signal_share"), "percent", "signal in gradient", TEACHER),
        *curve(percent(run.training, "clipped_share"), "percent", "updates clipped", OTHERS[1]),
    ]
    steps = curve(lines, "step_deviation_percent", "predicted by the gradients", TEACHER)
    charts = (
        Chart(
            "noise-scale",
            "Gradient noise scale: up to which batch more pays",
            "s of audio",
            [*scale, *batch] if scale else [],
        ),
        Chart(
            "rule-shares",
            "The scaling rule assumes gradients of noise, unclipped",
            "share, %",
            shares,
            (),
            True,
        ),
        Chart(
            "rule-steps",
            "Steps longer (+) or shorter (-) than what keeps the curve",
            "of a step, %",
            steps,
        ),
    )
    return [chart for chart in charts if chart.series]


def validity_rows(run: Run) -> list[tuple[str, str]]:
    """(what, value) of the last update: in words for who does not know the formulas."""
    lines = [line for line in run.training if is_number(line.get("gradient_signal"))]
    clipped = [line for line in run.training if is_number(line.get("clipped_share"))]
    rows = []
    if lines:
        last = lines[-1]
        rows = [
            (
                "global batch",
                f"{_number(last, 'batch_seconds', 's')} (kappa {_number(last, 'kappa')})",
            ),
            (
                "gradient noise scale (up to which batch more audio in a step pays)",
                _noise_scale(last),
            ),
            (
                "signal in the square of a gradient (the rule assumes 0 %)",
                _number(last, "gradient_signal_share", "%", 100.0),
            ),
            (
                "steps longer (+) or shorter (-) than what keeps the curve",
                _number(last, "step_deviation_percent", "%", sign="+"),
            ),
        ]
    if clipped:
        rows.append(
            (
                "updates whose gradient was clipped",
                _number(clipped[-1], "clipped_share", "%", 100.0),
            )
        )
    return rows


def is_outdated(run: Run) -> bool:
    """Whether an older version measured the noise scale, on sorted micro-batches."""
    key = "gradient_noise_scale_seconds"
    return any(is_number(line.get(key)) and "gradient_signal" not in line for line in run.training)


def _noise_scale(line: Mapping[str, Any]) -> str:
    if not is_number(line.get("gradient_noise_scale_seconds")):
        return "above what can be measured at this batch"
    error = line.get("gradient_noise_scale_error_seconds")
    spread = f", standard error {error:.2g} s" if is_number(error) else ", a single measurement"
    return _number(line, "gradient_noise_scale_seconds", "s") + spread


def _number(
    line: Mapping[str, Any], key: str, unit: str = "", factor: float = 1.0, sign: str = ""
) -> str:
    value = line.get(key)
    return f"{factor * value:{sign}.3g} {unit}".rstrip() if is_number(value) else "–"
