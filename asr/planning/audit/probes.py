"""The linear probes of an audit's cells (`asr probe`), as one more of its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.planning.audit.metrics import Cell, Curve
from asr.tracking.shapes import is_number
from asr.utils.files import read_json

_SAME = (
    *("labelled_utterances_sha256", "labelled_minutes", "updates", "learning_rate", "seed"),
    "normaliser",
)
"""What must be one thing in all probes that are compared."""


def probe_curves(folders: Mapping[Cell, Path], hours: float) -> dict[Cell, dict[str, Curve]]:
    """By cell the CER of its average's probes, the mean over sets: a point, at its end; or no curve.

    Raises UserError where a probe is damaged, and where two cells were probed in different ways.
    """
    probes = {cell: _probes(folder) for cell, folder in folders.items()}
    ways = {cell: _way(found) for cell, found in probes.items() if found}
    first = next(iter(ways), None)
    for cell, way in ways.items():
        if first is not None and way != ways[first]:
            raise UserError(
                f"{first.name} and {cell.name} were probed in different ways, which cannot be compared: "
                f"{_difference(ways[first], way)}",
                "probe all cells by one command, with the same options and sets",
            )
    return {cell: _curve(found, hours) for cell, found in probes.items()}


def _probes(folder: Path) -> dict[str, dict[str, Any]]:
    """By set."""
    found = {}
    for path in sorted((folder / "probes").glob("*/teacher.json")):
        try:
            probe = read_json(path)
            is_sound = is_number(probe["score"]["cer"])
        except (OSError, ValueError, LookupError, TypeError):
            is_sound = False
        if not is_sound:
            raise UserError(f"{path}: damaged", "probe the cell again, or delete the file")
        found[path.parent.name] = probe
    return found


def _way(probes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the probes depend on beside the features; by set where sets differ in it."""
    way: dict[str, Any] = {"sets": sorted(probes)}
    for name in _SAME:
        values = [probe.get(name) for probe in probes.values()]
        way[name] = values[0] if all(value == values[0] for value in values) else values
    return way


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name in one if one[name] != other[name]]
    return "; ".join(f"{name} {one[name]} and {other[name]}" for name in names)


def _curve(probes: Mapping[str, Mapping[str, Any]], hours: float) -> dict[str, Curve]:
    found = [float(probe["score"]["cer"]) for probe in probes.values()]
    return {"probe_cer": [(hours, math.fsum(found) / len(found))]} if found else {}
