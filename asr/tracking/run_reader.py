"""What a run leaves in its folder, read back for the report; what cannot be read is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Run:
    """What metrics.jsonl says, in the order of the audio consumed."""

    training: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    unreadable_lines: int = 0
    """Lines that are no JSON object with step and hours: a run may be killed while it writes one."""

    @property
    def with_pseudo_labels(self) -> list[dict[str, Any]]:
        """Training lines whose batch held pseudo-labelled audio."""
        return [line for line in self.training if (line.get("pseudo_labelled_share") or 0) > 0]

    @property
    def since_pseudo_labels(self) -> list[dict[str, Any]]:
        """Training lines from the first with pseudo-labelled audio on: batches of one kind alternate."""
        first = next(iter(self.with_pseudo_labels), None)
        return [] if first is None else self.training[self.training.index(first) :]

    @property
    def dropped_labels(self) -> dict[str, int]:
        """Dropped labels by reason, summed over the logged updates; the commonest reason first."""
        totals: dict[str, int] = {}
        for line in self.training:
            for reason, count in dropped_of(line).items():
                totals[reason] = totals.get(reason, 0) + int(count)
        return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def dropped_of(line: Mapping[str, Any]) -> dict[str, int]:
    """Dropped labels of an update by reason, as these are called now: `forgotten` was the older word."""
    counts: dict[str, int] = dict(line.get("pseudo_labels_dropped") or {})
    if "forgotten" in counts:
        counts["invalidated"] = counts.get("invalidated", 0) + counts.pop("forgotten")
    return counts


def read_run(folder: Path) -> Run:
    """Read FOLDER/metrics.jsonl; an empty run where there is none.

    A resumed run repeats the steps after its checkpoint: the last line of a step counts.
    """
    run = Run()
    training: dict[Any, dict[str, Any]] = {}
    evaluations: dict[Any, dict[str, Any]] = {}
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in filter(str.strip, text.split("\n")):
        try:
            record = json.loads(line)
            step, hours = record["step"], record["hours"]
        except (ValueError, KeyError, TypeError):
            run.unreadable_lines += 1
            continue
        if not is_number(hours):
            run.unreadable_lines += 1
            continue
        try:
            if "set" in record and ("wer" in record or "dev_loss" in record):
                evaluations[step, record["set"], record.get("model")] = record
            else:
                training[record.get("batch", step)] = record
        except TypeError:  # a list, or an object, where a number or a name stands
            run.unreadable_lines += 1
    run.training = sorted(training.values(), key=lambda record: record["hours"])
    run.evaluations = sorted(evaluations.values(), key=lambda record: record["hours"])
    return run


_LARGEST = 1e300


def is_number(value: Any) -> bool:
    """Whether a field of a line is a finite number."""
    return isinstance(value, (int, float)) and -_LARGEST <= value <= _LARGEST


@dataclass
class RunReader:
    """Reads files of run folders; what could not be read is said in `faults`, never passed over."""

    run: str = ""
    """Name of the run in the faults; empty where there is only one."""
    faults: list[str] = field(default_factory=list)

    def note(self, fault: str) -> None:
        """Say a fault."""
        self.faults.append(f"{self.run}: {fault}" if self.run else fault)

    def read_json(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.note(f"{path.name} is not readable as JSON ({error}); left out.")
            return {}
        return content if isinstance(content, dict) else {"content": content}

    def read_records(self, path: Path) -> list[dict[str, Any]]:
        """A JSON list of objects; empty where there is none."""
        content = self.read_json(path).get("content", [])
        return (
            [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
        )

    def read_run(self, folder: Path) -> Run:
        run = read_run(folder)
        if run.unreadable_lines:
            path = folder / "metrics.jsonl"
            self.note(f"{run.unreadable_lines} unreadable lines of {path} left out.")
        return run

    def read_config(self, path: Path) -> tuple[str, dict[str, Any]]:
        """The text and the tree of config.yaml; empty where there is none."""
        import yaml

        from asr.utils.yaml_text import parse_yaml

        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        try:
            tree = parse_yaml(text)
        except yaml.YAMLError:
            self.note(f"{path.name} is not readable as YAML.")
            tree = None
        return text, tree if isinstance(tree, dict) else {}
