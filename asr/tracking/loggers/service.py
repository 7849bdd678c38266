"""What a tracking service is to us: it takes points, and remembers under a name of its own which run it has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.tracking.jsonl import batch_of


@dataclass(frozen=True)
class Point:
    """A line of metrics.jsonl."""

    index: int
    """Which line it is, from 0: a run that goes on makes the same line there again."""
    batch: int
    """The global batch, from 1."""
    values: Mapping[str, float]
    """By their names, as train/loss and SET/MODEL/wer."""


@dataclass(frozen=True)
class About:
    """The run that a service is told of."""

    folder: Path
    name: str
    project: str
    settings: Mapping[str, Any]
    """The whole recipe as a plain tree."""


class Service(ABC):
    """One of them, in the process that follows a run."""

    def __init__(self, about: About) -> None:
        self.about = about

    @abstractmethod
    def open(self, former: str | None, was_killed: bool) -> tuple[str, int | None]:
        """Go on with the run of that name, or begin one. The name of the one that it is, and how many lines
        that has; None where it has what was noted. `was_killed`: who sent to it had no time to finish.
        """

    @abstractmethod
    def describe(self, recipe: Mapping[str, Any], card: Mapping[str, Any]) -> None:
        """Note the recipe and the scaling card; what it had of them before may be another."""

    @abstractmethod
    def send(self, points: Sequence[Point], may_be_there: bool) -> None:
        """Take them, in order. `may_be_there`: a process that was killed may have sent some of them."""

    @abstractmethod
    def finish(self, is_complete: bool) -> None:
        """No more comes; wait until all is where it should be."""


def point_of(index: int, record: Mapping[str, Any]) -> Point:
    """All numbers of a record, counts by reason among them. Raises what a line that is no record raises."""
    prefix = f"{record['set']}/{record['model']}" if "set" in record else "train"
    values: dict[str, float] = {}
    for name, value in record.items():
        below = value.items() if isinstance(value, dict) else ()
        for path, number in ((name, value), *((f"{name}/{key}", one) for key, one in below)):
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                values[f"{prefix}/{path}"] = number
    return Point(index, batch_of(dict(record)), {**values, "hours": float(record["hours"])})


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Its leaves by their paths; a list is a leaf."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
