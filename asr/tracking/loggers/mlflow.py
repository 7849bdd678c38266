"""MLflow: metrics by global batch, parameters, and recipe and card as artifacts.

Where it goes its own variables say: MLFLOW_TRACKING_URI, else mlflow.db of the working directory.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from asr.tracking.loggers.service import About, Point, Service, flat

_MOST_METRICS, _MOST_PARAMETERS, _LONGEST = 1000, 100, 6000
"""What its servers take at once, and of a parameter's text."""


class MlflowService(Service):
    """Of an experiment that has the project's name."""

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._client: Any = None
        self._id = ""

    def open(self, former: str | None, was_killed: bool) -> tuple[str, None]:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client = MlflowClient()
        if former is not None and self._is_there(former):
            self._client.update_run(former, status="RUNNING")
            self._id = former
            return former, None
        made = self._client.create_run(self._experiment(), run_name=self.about.name)
        self._id = str(made.info.run_id)
        return self._id, None

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.about.project)
        if found is None:
            try:
                return str(self._client.create_experiment(self.about.project))
            except MlflowException:  # of two that begin at once the other has made it
                found = self._client.get_experiment_by_name(self.about.project)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _is_there(self, name: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(name)
        except MlflowException as error:
            if (
                error.error_code == "RESOURCE_DOES_NOT_EXIST"
            ):  # another store: it gets all of the run
                return False
            raise
        return True

    def describe(self, recipe: Mapping[str, Any], card: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        leaves = flat({**recipe, "scaling_card": {k: v for k, v in card.items() if k != "history"}})
        wanted = {_key(name): str(value)[:_LONGEST] for name, value in leaves.items()}
        had = self._client.get_run(self._id).data.params
        for name, value in wanted.items():
            if name in had and had[name] != value:  # a parameter stays as it is
                self._client.set_tag(self._id, f"now.{name}", value)
        new = [Param(name, value) for name, value in wanted.items() if name not in had]
        for start in range(0, len(new), _MOST_PARAMETERS):
            self._client.log_batch(self._id, params=new[start : start + _MOST_PARAMETERS])
        self._client.log_dict(self._id, dict(recipe), "recipe.json")
        self._client.log_dict(self._id, dict(card), "scaling.json")

    def send(self, points: Sequence[Point], may_be_there: bool) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        held: dict[str, set[int]] = {}
        metrics = []
        for point in points:
            for name, value in point.values.items():
                key = _key(name)
                if may_be_there and key not in held:
                    history = self._client.get_metric_history(self._id, key)
                    held[key] = {one.step for one in history}
                if point.batch not in held.get(key, ()):
                    metrics.append(Metric(key, value, now, point.batch))
        unique = {(one.key, one.step): one for one in metrics}  # hours are of several lines
        metrics = list(unique.values())
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + _MOST_METRICS])

    def finish(self, is_complete: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if is_complete else "KILLED")


def _key(name: str) -> str:
    """With what its servers take in a name."""
    return re.sub(r"[^\w.\- /]", "_", name)
