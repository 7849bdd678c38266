"""All of a run's logs: metrics.jsonl and other loggers, utterances.jsonl, train.log and a bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr.errors import UserError
from asr.tracking.console import Console
from asr.tracking.jsonl import JsonLines, JsonLinesLogger
from asr.tracking.metric_logger import MetricLogger, RunInfo
from asr.tracking.tensorboard import TensorBoardLogger
from asr.utils.plugins import find_class

_LOGGERS: dict[str, type[MetricLogger]] = {"tensorboard": TensorBoardLogger}


def logger_class(name: str) -> type[MetricLogger]:
    """What an entry of `trainer.loggers` names. Raises UserError if it cannot be had."""
    return find_class("trainer.loggers", name, _LOGGERS, MetricLogger)


def _opened(logger: type[MetricLogger], run: RunInfo) -> MetricLogger:
    try:
        return logger(run)
    except Exception as error:  # anything may happen in a class of the user's
        raise UserError(
            f"trainer.loggers: {logger.__name__}: {type(error).__name__}: {error}",
            "fix it, or leave it out",
        ) from error


class RunLog:
    """The first rank's."""

    def __init__(self, run: RunInfo, loggers: Sequence[type[MetricLogger]], shows: bool) -> None:
        """Open all of it; `loggers` come besides metrics.jsonl. `shows`: on the terminal, too."""
        metrics = JsonLinesLogger(run)
        self.loggers: list[MetricLogger] = [metrics]
        for logger in loggers:
            self.loggers.append(_opened(logger, run))
        trainer = run.settings["trainer"]
        self.utterances: JsonLines | None = None
        if trainer["utterance_ledger"]:
            self.utterances = JsonLines(run.folder / "utterances.jsonl", run.batches)
        self.console = Console(run.folder, run.hours, trainer["total_hours"], shows)
        for fault in (metrics.fault, self.utterances and self.utterances.fault):
            if fault:
                self.say(f"warning: {fault}")

    def say(self, message: str) -> None:
        """For people: on the terminal and in train.log."""
        self.console.say(message)

    def training(
        self, record: Mapping[str, Any], ids: Mapping[str, list[str]], real_time: float
    ) -> None:
        """One update; `ids` are its utterances by kind."""
        for logger in self.loggers:
            logger.log(record, "train")
        if self.utterances is not None:
            self.utterances.write({"step": record["step"], "batch": record["batch"], **ids})
        self.console.update(record, real_time)

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """One model on one dev set."""
        for logger in self.loggers:
            logger.log(record, f"{record['set']}/{record['model']}")
        self.console.evaluation(record)

    def flush_to_disk(self) -> None:
        """So that no checkpoint is ever ahead of the lines that led to it."""
        for logger in self.loggers:
            logger.flush_to_disk()
        if self.utterances is not None:
            self.utterances.flush_to_disk()

    def close(self) -> None:
        self.console.close()
        for logger in self.loggers:
            logger.close()
        if self.utterances is not None:
            self.utterances.close()
