"""What receives a run's metrics: a small protocol, with an implementation a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunInfo:
    """What a logger is told when it is made: of which run, and from where it goes on."""

    folder: Path
    name: str
    """Of the run, for titles."""
    settings: Mapping[str, Any]
    """The whole recipe as a plain tree."""
    hours: float
    """Of audio that it has trained on before."""
    steps: int
    """Optimizer steps that were applied before: 0 for a new run."""
    batches: int
    """Global batches that were drawn before. What was logged of later ones is made again."""
    evaluates_again: bool = False
    """Whether that holds for the evaluation after the last of them, too."""


class MetricLogger(ABC):
    """Receives metrics, on the first rank alone.

    One of your own: a class in a file, named in the recipe as `tracking.loggers: [FILE.py:CLASS]`. One that
    raises is said once and left alone from there on; the training goes on.
    """

    def __init__(self, run: RunInfo) -> None:
        """Open; what an earlier process logged of batches after `run.batches` no longer counts."""
        self.run = run

    @abstractmethod
    def log(self, record: Mapping[str, Any], prefix: str) -> None:
        """A record of one update (prefix `train`), or of one evaluation (`SET/MODEL`).

        It holds `step`, `batch` and `hours` (of audio); numbers, None, names, and counts by reason.
        """

    def notes_for_people(self) -> list[str]:
        """What people should know of it that they have not been told; asked after each record, so be quick."""
        return []

    def flush_to_disk(self) -> None:
        """Before a checkpoint: nothing of what led to it may be lost after it."""

    def close(self) -> None:
        """The process ends."""
