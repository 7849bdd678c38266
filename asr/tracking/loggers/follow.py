"""A process that follows a run's metrics.jsonl and sends what is new to a service.

It is none of the training's: however slow the service is, no update waits for it, and what goes wrong ends
this process alone. RUN/tracking/NAME.json says how many lines the service has, so that a run that goes on
sends none twice and leaves none out; NAME.log has what the service's library says.
"""

from __future__ import annotations

import hashlib
import json
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from asr.tracking.loggers.service import About, Point, Service, point_of
from asr.utils.files import read_json, write_json
from asr.utils.locks import locked
from asr.utils.yaml_text import parse_yaml

SERVICES = {
    "wandb": ("asr.tracking.loggers.weights_and_biases", "WandbService"),
    "mlflow": ("asr.tracking.loggers.mlflow", "MlflowService"),
    "aim": ("asr.tracking.loggers.aim", "AimService"),
}
_SECONDS_BETWEEN = 2.0
_MOST_AT_ONCE = 200
_SECONDS_AFTER_THE_END = 300
"""For the last points; then the process gives up, and a later `asr train` sends them."""
_ABOUT_ITSELF = ("name", "output", "tracking")
"""Settings that change no curve."""


@dataclass
class Progress:
    """RUN/tracking/NAME.json."""

    path: Path
    run: str | None = None
    """What the service calls the run."""
    recipe: str | None = None
    sent: int = 0
    """Lines that it has."""
    sending: int = 0
    """Lines that it has or may have: more than `sent` after a kill."""
    is_finished: bool = False
    """Whether who sent them has waited for their arrival."""
    fault: str | None = None

    @classmethod
    def read(cls, path: Path) -> Progress:
        """Of nothing, where there is none or it is spoilt: the service then gets a new run."""
        try:
            known = read_json(path)
            lines = int(known["sent"]), int(known["sending"])
            is_finished = bool(known.get("is_finished", False))
            return cls(path, known["run"], known["recipe"], *lines, is_finished)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path)

    @staticmethod
    def fault_in(path: Path) -> str | None:
        """What ended the process, if it has said so."""
        try:
            fault = read_json(path).get("fault")
        except (OSError, ValueError, AttributeError):
            return None
        return str(fault) if fault else None

    def write(self) -> None:
        content = {k: v for k, v in vars(self).items() if k != "path"}
        write_json(self.path, content)


@dataclass
class Tail:
    """The complete lines of a file that grows, each once."""

    path: Path
    _offset: int = 0
    _lines: int = 0

    def new(self) -> Iterator[Point]:
        """What has come since; a line that is no record is passed over, as elsewhere."""
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                self._lines += 1
                try:
                    yield point_of(self._lines - 1, json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue


def follow(folder: Path, name: str, lines: int, is_at_end: Callable[[float], bool]) -> None:
    """Send until `is_at_end`, which waits so many seconds for the end, and then what is left.

    `lines`: of metrics.jsonl, when the run began or went on.
    """
    settings = parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
    progress = Progress.read(progress_of(folder, name))
    module, class_name = SERVICES[name]
    project = str(
        (settings.get("tracking") or {}).get("project", "asr-ema")
    )  # older runs have none
    about = About(folder, settings["name"], project, settings)
    service: Service = getattr(import_module(module), class_name)(about)
    curves = {key: value for key, value in settings.items() if key not in _ABOUT_ITSELF}
    recipe = hashlib.sha256(json.dumps(curves, sort_keys=True).encode()).hexdigest()
    if progress.recipe != recipe and progress.sending > lines:
        # What came after the checkpoint will not come again as it was: the service gets another run.
        progress = Progress(progress.path)
    known, held = service.open(progress.run, not progress.is_finished)
    if known != progress.run:
        progress = Progress(progress.path, known)
    elif held is not None:
        progress.sent = progress.sending = held
    progress.recipe, progress.is_finished, progress.fault = recipe, False, None
    progress.write()
    service.describe(settings, _card(folder))
    tail, is_last = Tail(folder / "metrics.jsonl"), False
    while True:
        batch: list[Point] = []
        for point in tail.new():
            batch.append(point)
            if len(batch) == _MOST_AT_ONCE:
                _send(service, progress, batch)
                batch = []
        _send(service, progress, batch)
        if is_last:
            break
        is_last = is_at_end(_SECONDS_BETWEEN)
    service.describe(settings, _card(folder))
    service.finish((folder / "complete.json").exists())
    progress.is_finished = True
    progress.write()


def _send(service: Service, progress: Progress, points: list[Point]) -> None:
    points = [point for point in points if point.index >= progress.sent]
    if not points:
        return
    may_be_there = progress.sending > points[0].index
    progress.sending = max(progress.sending, points[-1].index + 1)
    progress.write()
    service.send(points, may_be_there)
    progress.sent = points[-1].index + 1
    progress.sending = max(progress.sending, progress.sent)
    progress.write()


def _card(folder: Path) -> dict[str, Any]:
    try:
        return dict(read_json(folder / "scaling.json"))
    except (OSError, ValueError):
        return {}


def progress_of(folder: Path, name: str) -> Path:
    """Where a service's progress stands."""
    return folder / "tracking" / f"{name}.json"


def _give_up_after_the_end(is_at_end: threading.Event) -> None:
    """A process that a service, or another's lock, holds up must not stay for ever."""

    def wait() -> None:
        select.select([sys.stdin], [], [])  # the training holds its other end
        is_at_end.set()
        signal.alarm(_SECONDS_AFTER_THE_END)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str]) -> int:
    """FOLDER NAME LINES."""
    folder, name, lines = Path(arguments[0]), arguments[1], int(arguments[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the training's end is this one's
    path, is_at_end = progress_of(folder, name), threading.Event()
    _give_up_after_the_end(is_at_end)
    with locked(path.with_suffix(".lock"), where_possible=True):
        try:
            follow(folder, name, lines, is_at_end.wait)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            progress = Progress.read(path)
            progress.fault = text[:300]
            progress.write()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
