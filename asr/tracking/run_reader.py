"""What a run leaves in its folder, read back for the report; what cannot be read is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.tracking.shapes import Shape, fitting, is_number

_CONFIG: Shape = {
    "name": str,
    "augmentation": {"spec_augment": {"start_hours": float}},
    "corpus": {"directory": str, "test": [str], "dev": [str]},
    "optimizer": {"plateau": {"factor": float}},
    "pseudo_label": {
        "start": {"hours": float, "dev_wer_below": float},
        "start_hours": float,  # of older runs
    },
}
_CARD: Shape = {"batch_seconds": float}
_SCALING: Shape = {
    "reference": _CARD,
    "in_force": _CARD,
    "history": [{"from_hours": float, "kappa": float, "ranks": float, "in_force": _CARD}],
}
_COMPLETE: Shape = {"hours": float}
_TEXTS = ("set", "model", "pseudo_label_confidence_measure")
_DROPPED = "pseudo_labels_dropped"
_SHOWN = 3
"""Wrong values of metrics.jsonl that are said one by one."""


@dataclass
class Run:
    """What metrics.jsonl says, in the order of the audio consumed."""

    training: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    unreadable_lines: int = 0
    """Lines that are no JSON object with step and hours: a run may be killed while it writes one."""
    wrong_values: list[str] = field(default_factory=list)
    """A sentence about each field that was of another kind than its name says, and is left out."""

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
    counts: dict[str, int] = dict(line.get(_DROPPED) or {})
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
        record = _record_of(line, run.wrong_values.append)
        if record is None:
            run.unreadable_lines += 1
        elif "set" in record and ("wer" in record or "dev_loss" in record):
            evaluations[record["step"], record["set"], record.get("model")] = record
        else:
            training[record.get("batch") or record["step"]] = record
    run.training = sorted(training.values(), key=lambda record: record["hours"])
    run.evaluations = sorted(evaluations.values(), key=lambda record: record["hours"])
    return run


def _record_of(line: str, note: Callable[[str], None]) -> dict[str, Any] | None:
    """A line of metrics.jsonl without what its fields cannot be; None where it has no place in the run."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    record = fitting(record, _shape_of(record), note)
    has_place = is_number(record.get("step")) and is_number(record.get("hours"))
    return record if has_place and record.get("set", "") is not None else None


def _shape_of(record: Mapping[str, Any]) -> Shape:
    """Of a line of metrics.jsonl: nearly all that it holds are numbers. Fields that are one are not named."""
    counts = record.get(_DROPPED)
    others: dict[str, Shape] = {
        **dict.fromkeys(_TEXTS, str),
        _DROPPED: dict.fromkeys(counts, float) if isinstance(counts, dict) else {},
    }
    return {
        name: others.get(name, float)
        for name, value in record.items()
        if name in others or not isinstance(value, float)
    }


@dataclass
class RunReader:
    """Reads files of run folders; what could not be read is said in `faults`, never passed over."""

    run: str = ""
    """Name of the run in the faults; empty where there is only one."""
    faults: list[str] = field(default_factory=list)

    def note(self, fault: str) -> None:
        """Say a fault."""
        self.faults.append(f"{self.run}: {fault}" if self.run else fault)

    def read_json(self, path: Path, shape: Shape | None = None) -> dict[str, Any]:
        """A JSON object, without what does not fit `shape`; empty where there is none."""
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.note(f"{path.name} is not readable as JSON ({error}); left out.")
            return {}
        if shape is None:
            return content if isinstance(content, dict) else {"content": content}
        return self._fitting(content, shape, path)

    def read_card(self, folder: Path) -> dict[str, Any]:
        """scaling.json, as asr.tracking.scaling_history writes it."""
        return self.read_json(folder / "scaling.json", _SCALING)

    def read_complete(self, folder: Path) -> dict[str, Any]:
        """complete.json of a run that has ended."""
        return self.read_json(folder / "complete.json", _COMPLETE)

    def _fitting(self, content: Any, shape: Shape, path: Path) -> dict[str, Any]:
        found = fitting(content, shape, lambda fault: self.note(f"{path.name}: {fault}"))
        return found or {}

    def read_records(self, path: Path) -> list[dict[str, Any]]:
        """A JSON list of objects; empty where there is none."""
        content = self.read_json(path).get("content", [])
        return (
            [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
        )

    def read_run(self, folder: Path) -> Run:
        run = read_run(folder)
        path = folder / "metrics.jsonl"
        if run.unreadable_lines:
            self.note(f"{run.unreadable_lines} unreadable lines of {path} left out.")
        for one in run.wrong_values[:_SHOWN]:
            self.note(f"{path.name}: {one}")
        if len(run.wrong_values) > _SHOWN:
            self.note(f"{path.name}: {len(run.wrong_values) - _SHOWN} other values left out, too.")
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
        return text, self._fitting(tree, _CONFIG, path)
