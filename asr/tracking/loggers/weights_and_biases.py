"""Weights & Biases: a row of its history for each line, with the hours of audio as the axis of all charts.

Where it goes, and whether online, its own variables say: WANDB_MODE, WANDB_ENTITY, WANDB_BASE_URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.tracking.loggers.service import About, Point, Service


class WandbService(Service):
    """RUN/wandb, and what its library sends from there."""

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._run: Any = None

    def open(self, former: str | None, was_killed: bool) -> tuple[str, int | None]:
        import wandb

        own = wandb.Settings(
            console="off", silent=True, disable_git=True, x_disable_stats=True, save_code=False
        )
        self._run = wandb.init(
            project=self.about.project,
            name=self.about.name,
            id=former,
            resume="allow",
            dir=str(self.about.folder),
            settings=own,
        )
        self._run.define_metric("*", step_metric="hours")
        name = str(self._run.id)
        if not self._run.offline:
            return name, int(self._run.starting_step)
        if not was_killed:
            return name, None
        # Its library keeps 32 KiB in memory: all goes into a new part, instead of the former ones.
        for part in (self.about.folder / "wandb").glob(f"offline-run-*-{name}"):
            if part.resolve() != Path(self._run.dir).resolve().parent:
                part.rename(part.with_name(f"superseded-{part.name}"))
        return name, 0

    def describe(self, recipe: Mapping[str, Any], card: Mapping[str, Any]) -> None:
        content = {**recipe, "scaling_card": dict(card)}
        self._run.config.update(content, allow_val_change=True)

    def send(self, points: Sequence[Point], may_be_there: bool) -> None:
        # The service passes over a row whose step it has: one that was sent twice counts once.
        for point in points:
            self._run.log(dict(point.values), step=point.index)

    def finish(self, is_complete: bool) -> None:
        self._run.finish()
