"""Metrics for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asr.tracking.metric_logger import MetricLogger, RunInfo

_PLACES = ("step", "batch", "hours")


class TensorBoardLogger(MetricLogger):
    """RUN/tensorboard: a scalar for every number, by step."""

    def __init__(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(run)
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.steps + 1)

    def log(self, record: Mapping[str, Any], prefix: str) -> None:
        for name, value in record.items():
            if isinstance(value, (int, float)) and name not in _PLACES:
                self._writer.add_scalar(f"{prefix}/{name}", value, record["step"])

    def close(self) -> None:
        self._writer.close()
