"""Services that follow a run, as the run sees them: each is a process, which it starts and looks after."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, ClassVar

from asr.errors import UserError
from asr.tracking.loggers.follow import Progress, progress_of
from asr.tracking.metric_logger import MetricLogger, RunInfo
from asr.utils.processes import environment, python

_SECONDS_AT_THE_END = 30.0
"""How long the end of a training waits for what a service has not got yet."""


class FollowingLogger(MetricLogger):
    """A service that reads metrics.jsonl for itself."""

    service: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]
    """What it needs, all in the extra of its name."""

    @classmethod
    def check(cls) -> None:
        """Raises UserError where its library is not installed."""
        missing = [name for name in cls.modules if not _is_installed(name)]
        if missing:
            raise UserError(
                f"tracking.loggers: {cls.service} needs {', '.join(missing)}, not installed here",
                f"pip install 'asr-ema[{cls.service}]', or leave it out",
            )

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self._late: list[str] = []
        path = progress_of(run.folder, self.service)
        path.parent.mkdir(exist_ok=True)
        lines = (run.folder / "metrics.jsonl").read_bytes().count(b"\n")
        about = [str(run.folder), self.service, str(lines)]
        with path.with_suffix(".log").open("ab") as said:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                [*python(), "-m", "asr.tracking.loggers.follow", *about],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                env={**os.environ, **environment()},
                start_new_session=True,  # a signal to all of a terminal's is not for it
            )

    def log(self, record: Mapping[str, Any], prefix: str) -> None:
        """The process sees it in metrics.jsonl."""

    def notes_for_people(self) -> list[str]:
        if self._process is None or self._process.poll() is None:
            late, self._late = self._late, []
            return late
        self._process = None
        path = progress_of(self.run.folder, self.service)
        reason = Progress.fault_in(path) or f"its process has ended, see {path.with_suffix('.log')}"
        return [self._warning(reason)]

    def _warning(self, reason: str) -> str:
        return (
            f"warning: tracking.loggers: {self.service}: {reason}; the training goes on, and `asr train` "
            "again sends what is missing"
        )

    def close(self) -> None:
        """Let it send what is left. Where that takes too long it goes on alone."""
        if self._process is None or self._process.stdin is None:
            return
        with suppress(OSError):  # it has ended, of which `notes_for_people` tells
            self._process.stdin.write(b"\n")  # a loader's worker may hold the pipe open
            self._process.stdin.close()
        try:
            is_done = self._process.wait(_SECONDS_AT_THE_END) == 0
        except subprocess.TimeoutExpired:
            self._late = [self._warning(f"has not got all after {_SECONDS_AT_THE_END:g} s")]
            is_done = True
        if is_done:
            self._process = None


def _is_installed(module: str) -> bool:
    """A folder of that name in the working directory, such as W&B's own, is no library."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


class WandbLogger(FollowingLogger):
    """Weights & Biases."""

    service = "wandb"
    modules = ("wandb",)


class MlflowLogger(FollowingLogger):
    """MLflow."""

    service = "mlflow"
    modules = ("mlflow", "sqlalchemy", "alembic")


class AimLogger(FollowingLogger):
    """Aim."""

    service = "aim"
    modules = ("aim",)
