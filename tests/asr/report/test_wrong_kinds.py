"""A run's file whose fields hold things of other kinds: the page says so, and shows the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_helpers import make_run

from asr.report.comparison_page import write_comparison
from asr.report.run_page import write_report

KINDS: tuple[Any, ...] = (7, "x", [[]], {"a": 1}, 10**400)


def spoilt(tree: Any, value: Any, depth: int) -> Any:
    """`tree` with `value` in place of all that lies `depth` below it, or in place of leaves above that."""
    if depth and isinstance(tree, dict):
        return {key: spoilt(part, value, depth - 1) for key, part in tree.items()}
    return value


def spoil_line(line: str, value: Any) -> str:
    record = json.loads(line)
    place = {name: record[name] for name in ("step", "hours", "set", "model") if name in record}
    return json.dumps({**spoilt(record, value, 1), **place})


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("value", KINDS, ids=lambda value: f"{value!r:.8}")
def test_a_report_of_fields_of_another_kind(value: Any, depth: int, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    card = json.loads((run / "scaling.json").read_text())
    card |= {"from_hours": 0.0, "ranks": 2, "reference": {"batch_seconds": 1.0}}
    card |= {"history": [{**card, "in_force": {"batch_seconds": seconds}} for seconds in (1, 2)]}
    config = {
        "augmentation": {"spec_augment": {"start_hours": 1.0}},
        "optimizer": {"plateau": {"factor": 0.5}},
        "pseudo_label": {"start": {"hours": 1.0, "dev_wer_below": None}},
        "corpus": {"directory": "data", "test": ["test"]},
    }
    complete = {"hours": 2.0, "stopped_early": True}
    (run / "config.yaml").write_text(yaml.safe_dump(spoilt(config, value, depth)))
    (run / "scaling.json").write_text(json.dumps(spoilt(card, value, depth)))
    (run / "complete.json").write_text(json.dumps(spoilt(complete, value, depth)))
    (run / "environment.json").write_text(json.dumps({"parameters": value, "machine": value}))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(
        "".join(f"{line}\n{spoil_line(line, value)}\n" for line in lines)
    )
    page = write_report(run, output=tmp_path / "page", normaliser="none").read_text()
    assert "left out" in page
    sound = make_run(tmp_path / "sound")
    page = write_comparison([run, sound], output=tmp_path / "both", normaliser="none").read_text()
    assert "left out" in page
