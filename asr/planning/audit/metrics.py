"""What an audit compares: the curves of its cells, read from their run folders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from asr.tracking.run_reader import Run
from asr.tracking.shapes import is_number

Curve = list[tuple[float, float]]
"""(hours, value), hours ascending."""
Setting = tuple[float, str]
"""kappa and rule."""


@dataclass(frozen=True)
class Metric:
    """A quantity that is compared."""

    name: str
    title: str
    unit: str
    is_relative: bool = False
    """Whether a margin that is stated for what is in percent is one in percent of kappa = 1's value."""


METRICS = (
    Metric("teacher_wer", "dev WER, teacher", "%"),
    Metric("teacher_cer", "dev CER, teacher", "%"),
    Metric("teacher_dev_loss", "dev loss, teacher", "nats/s"),
    Metric("student_wer", "dev WER, student", "%"),
    Metric("student_cer", "dev CER, student", "%"),
    Metric("student_dev_loss", "dev loss, student", "nats/s"),
    Metric("pseudo_label_wer", "pseudo-label WER", "%"),
    Metric("teacher_student_distance", "teacher-student distance", "of the student's norm"),
)
METRICS_WITHOUT_TEXTS = (
    Metric("teacher_dev_loss", "dev loss, teacher", "a predicted frame", True),
    Metric("student_dev_loss", "dev loss, student", "a predicted frame", True),
    Metric("teacher_effective_rank", "effective rank, teacher", "directions", True),
    Metric("probe_cer", "CER of a linear probe, teacher", "%"),
    METRICS[-1],
)
"""Of recipes whose objective has no texts. The masks of the dev sets are those of every run."""


@dataclass(frozen=True, order=True)
class Cell:
    """One run of an audit."""

    kappa: float
    rule: str
    seed: int

    @property
    def name(self) -> str:
        return f"kappa{self.kappa:g}_{self.rule}_seed{self.seed}"


def curves_of(run: Run) -> dict[str, Curve]:
    """The curves of an audit's metrics, the mean over several dev sets; metrics without a value left out."""
    names = [metric.name for metric in (*METRICS, *METRICS_WITHOUT_TEXTS)]
    curves: dict[str, dict[float, list[float]]] = {name: {} for name in names}

    def add(metric: str, hours: float, value: Any) -> None:
        if is_number(value):
            curves[metric].setdefault(hours, []).append(float(value))

    for line in run.evaluations:
        for quantity in ("wer", "cer", "dev_loss"):
            add(f"{line['model']}_{quantity}", line["hours"], line.get(quantity))
        add("teacher_student_distance", line["hours"], line.get("teacher_student_distance"))
        if line["model"] == "teacher":
            add("teacher_effective_rank", line["hours"], line.get("effective_rank"))
    for line in run.with_pseudo_labels:
        add("pseudo_label_wer", line["hours"], line.get("pseudo_label_wer"))
    return {
        metric: [(hours, math.fsum(v) / len(v)) for hours, v in sorted(points.items())]
        for metric, points in curves.items()
        if points
    }
