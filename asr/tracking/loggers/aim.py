"""Aim: metrics by global batch; a point that comes again takes the place of the former.

Where it goes: AIM_REPOSITORY, a folder or aim://HOST:PORT, else .aim of the working directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asr.tracking.loggers.service import About, Point, Service


class AimService(Service):
    """Of an experiment that has the project's name."""

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._run: Any = None

    def open(self, former: str | None, was_killed: bool) -> tuple[str, None]:
        from aim import Repo, Run
        from aim.sdk.errors import MissingRunError

        place = os.environ.get("AIM_REPOSITORY", ".")
        if "://" not in place:
            os.makedirs(place, exist_ok=True)
        repository = Repo.from_path(place, init="://" not in place)
        quiet = {"system_tracking_interval": None, "capture_terminal_logs": False}
        about = {"repo": repository, "experiment": self.about.project, **quiet}
        try:
            self._run = Run(run_hash=former, **about)
        except MissingRunError:  # another repository: it gets all of the run
            self._run = Run(**about)
        self._run.name = self.about.name
        return str(self._run.hash), None

    def describe(self, recipe: Mapping[str, Any], card: Mapping[str, Any]) -> None:
        self._run["recipe"] = dict(recipe)
        self._run["scaling_card"] = dict(card)

    def send(self, points: Sequence[Point], may_be_there: bool) -> None:
        for point in points:
            self._run.track(dict(point.values), step=point.batch)

    def finish(self, is_complete: bool) -> None:
        self._run.close()
