"""Runs that log, and what tracking services have of them, read back."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.config.recipe import dump_config, parse_config
from asr.tracking.metric_logger import RunInfo
from asr.tracking.run_log import RunLog, logger_class

Curves = dict[str, list[tuple[int, float]]]
"""By a metric's name: (step, value), as often as the service has them."""


def begin(
    run: Path, loggers: list[str], batches: int = 0, again: bool = False, **recipe: Any
) -> RunLog:
    """A run's logs, from a batch on."""
    run.mkdir(exist_ok=True)
    tree = {"tracking": {"loggers": loggers}, "name": "a run", **recipe}
    config = parse_config(tree, "test")
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (run / "scaling.json").write_text(json.dumps({"kappa": 2.0, "history": []}), encoding="utf-8")
    info = RunInfo(
        run, "a run", config.model_dump(mode="json"), batches / 10, batches, batches, again
    )
    return RunLog(info, [logger_class(name) for name in loggers], shows=False)


def log_batches(log: RunLog, first: int, last: int, loss: float = 0.0) -> None:
    """A line for each, and an evaluation after the third one."""
    for batch in range(first, last + 1):
        place = {"step": batch, "batch": batch, "hours": batch / 10}
        shares = {
            "data_wait_share": 0.0,
            "padding_share": 0.0,
            "pseudo_labels_dropped": {"empty": 1},
        }
        log.training({**place, "loss": loss + 1 / batch, "nothing": None, **shares}, {}, 1.0)
        if batch == 3:
            evaluate(log)


def evaluate(log: RunLog) -> None:
    log.evaluation(
        {
            "step": 3,
            "batch": 3,
            "hours": 0.3,
            "set": "dev",
            "model": "teacher",
            "wer": 9.0,
            "cer": 4.0,
        }
    )


def await_lines(run: Path, service: str, lines: int) -> None:
    """Until the service has so many."""
    path, deadline = run / "tracking" / f"{service}.json", time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.is_file() and json.loads(path.read_text())["sent"] >= lines:
            return
        time.sleep(0.05)
    raise TimeoutError((run / "tracking" / f"{service}.log").read_text())


def wandb_curves(run: Path) -> tuple[Curves, dict[str, Any]]:
    """What offline runs have, and the settings that the last of them notes."""
    from wandb.proto.wandb_internal_pb2 import Record

    curves: Curves = {}
    settings: dict[str, Any] = {}
    names = set()
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for content in _leveldb_records(path.read_bytes()):
            record = Record.FromString(content)
            items = {
                "/".join(i.nested_key) or i.key: json.loads(i.value_json)
                for i in record.history.item
            }
            for name, value in items.items():
                curves.setdefault(name, []).append((items["_step"], value))
            if record.HasField("run"):
                names.add(record.run.run_id)
            for update in (*record.run.config.update, *record.config.update):
                settings["/".join(update.nested_key) or update.key] = json.loads(update.value_json)
    settings["runs"] = names
    return curves, settings


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    """Of a log in blocks of 32 KiB: checksum, length, and whether it is whole, first, middle or last."""
    place, held = 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        held += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield held
            held = b""


def mlflow_curves(run: Path) -> tuple[Curves, dict[str, Any]]:
    """What the run's last one has, and its parameters."""
    from mlflow import MlflowClient

    client, name = MlflowClient(), json.loads((run / "tracking" / "mlflow.json").read_text())["run"]
    data = client.get_run(name).data
    curves = {
        key: [(one.step, one.value) for one in client.get_metric_history(name, key)]
        for key in data.metrics
    }
    [experiment] = [e for e in client.search_experiments() if e.name == "asr-ema"]
    runs = {one.info.run_id for one in client.search_runs([experiment.experiment_id])}
    return curves, {**data.params, "runs": runs}


def aim_curves(run: Path) -> tuple[Curves, dict[str, Any]]:
    """What the repository beside the run has."""
    from aim import Run

    name = json.loads((run / "tracking" / "aim.json").read_text())["run"]
    quiet = {"system_tracking_interval": None, "capture_terminal_logs": False}
    there = Run(run_hash=name, repo=str(run.parent), **quiet)
    curves: Curves = {}
    for metric, context, _ in there.iter_metrics_info():
        steps, columns = there.get_metric(metric, context).data.items_list()
        curves[metric] = list(zip(steps, columns[0], strict=True))
    settings = {
        "scaling_card.kappa": there["scaling_card"]["kappa"],
        "name": there["recipe"]["name"],
    }
    return curves, settings
