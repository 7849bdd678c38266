"""All of a run's logs: metrics.jsonl and other loggers, utterances.jsonl, train.log and a bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from asr.tracking.console import Console
from asr.tracking.jsonl import JsonLines, JsonLinesLogger
from asr.tracking.loggers.comma_separated import CsvLogger
from asr.tracking.loggers.following import (
    AimLogger,
    FollowingLogger,
    MlflowLogger,
    WandbLogger,
)
from asr.tracking.metric_logger import MetricLogger, RunInfo
from asr.tracking.tensorboard import TensorBoardLogger
from asr.utils.plugins import find_class

_LOGGERS: dict[str, type[MetricLogger]] = {
    "tensorboard": TensorBoardLogger,
    "csv": CsvLogger,
    "wandb": WandbLogger,
    "mlflow": MlflowLogger,
    "aim": AimLogger,
}


def logger_class(name: str) -> type[MetricLogger]:
    """What an entry of `tracking.loggers` names. Raises UserError if it cannot be had."""
    found = find_class("tracking.loggers", name, _LOGGERS, MetricLogger)
    if issubclass(found, FollowingLogger):
        found.check()
    return found


def logger_classes(names: Sequence[str]) -> list[type[MetricLogger]]:
    """What `tracking.loggers` names. Raises UserError if one cannot be had."""
    return [logger_class(name) for name in names]


class RunLog:
    """The first rank's."""

    def __init__(self, run: RunInfo, loggers: Sequence[type[MetricLogger]], shows: bool) -> None:
        """Open all of it; `loggers` come besides metrics.jsonl. `shows`: on the terminal, too."""
        self.metrics = JsonLinesLogger(run)
        self.loggers: list[MetricLogger] = []
        """Those besides metrics.jsonl, without which the run can go on."""
        trainer = run.settings["trainer"]
        self.utterances: JsonLines | None = None
        if trainer["utterance_ledger"]:
            self.utterances = JsonLines(run.folder / "utterances.jsonl", run.batches)
        self.console = Console(run.folder, run.hours, trainer["total_hours"], shows)
        for fault in (self.metrics.fault, self.utterances and self.utterances.fault):
            if fault:
                self.say(f"warning: {fault}")
        for logger in loggers:
            self._try_to(logger.__name__, partial(self._add, logger, run))

    def say(self, message: str) -> None:
        """For people: on the terminal and in train.log."""
        self.console.say(message)

    def _add(self, logger: type[MetricLogger], run: RunInfo) -> None:
        self.loggers.append(logger(run))

    def _tell_all(self, what: Callable[[MetricLogger], None]) -> None:
        for logger in list(self.loggers):
            name = type(logger).__name__
            if not self._try_to(name, partial(self._tell, logger, what)):
                self.loggers.remove(logger)

    def _tell(self, logger: MetricLogger, what: Callable[[MetricLogger], None]) -> None:
        what(logger)
        for note in logger.notes_for_people():
            self.say(note)

    def _try_to(self, name: str, act: Callable[[], None]) -> bool:
        """Whether it could be done. A logger that fails must not stop the training."""
        try:
            act()
        except Exception as error:  # anything may happen in a class of the user's
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self.say(
                f"warning: tracking.loggers: {name}: {text:.300}; the training goes on without it"
            )
            return False
        return True

    def training(
        self, record: Mapping[str, Any], ids: Mapping[str, list[str]], real_time: float
    ) -> None:
        """One update; `ids` are its utterances by kind."""
        self.metrics.log(record, "train")
        self._tell_all(lambda logger: logger.log(record, "train"))
        if self.utterances is not None:
            self.utterances.write({"step": record["step"], "batch": record["batch"], **ids})
        self.console.update(record, real_time)

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """One model on one dev set."""
        prefix = f"{record['set']}/{record['model']}"
        self.metrics.log(record, prefix)
        self._tell_all(lambda logger: logger.log(record, prefix))
        self.console.evaluation(record)

    def flush_to_disk(self) -> None:
        """So that no checkpoint is ever ahead of the lines that led to it."""
        self.metrics.flush_to_disk()
        self._tell_all(lambda logger: logger.flush_to_disk())
        if self.utterances is not None:
            self.utterances.flush_to_disk()

    def close(self) -> None:
        self.metrics.close()
        self._tell_all(lambda logger: logger.close())
        self.console.close()
        if self.utterances is not None:
            self.utterances.close()
