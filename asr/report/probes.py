"""What a report shows of the linear probes of a run's features (`asr probe`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asr.tracking.run_reader import RunReader
from asr.tracking.shapes import Shape, is_number

_RATES = ("cer", "cer_low", "cer_high", "wer", "wer_low", "wer_high")
_PROBE: Shape = {
    **{"model": str, "block": float, "labelled_minutes": float, "updates": float},
    "score": dict.fromkeys(_RATES, float),
}


def probes_of(exp: Path, reader: RunReader) -> dict[str, Any]:
    """For the page: what was found, and the rows of its table."""
    found = _read(exp, reader)
    return {"probes": found, "probe_rows": _rows(found)}


def _read(exp: Path, reader: RunReader) -> list[dict[str, Any]]:
    """What RUN/probes/SET/NAME.json hold, by set and name; those that are damaged are noted by the reader."""
    found = []
    for path in sorted((exp / "probes").glob("*/*.json")):
        faults = len(reader.faults)
        probe = reader.read_json(path, _PROBE)
        score = probe.get("score") or {}
        if all(is_number(score.get(name)) for name in _RATES):
            found.append({**probe, "set": path.parent.name, "name": path.stem})
        elif len(reader.faults) == faults:
            reader.note(f"{path} is no result of asr probe; left out.")
    return found


def _rows(probes: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Of the table: set, whose weights, which output, on how much, for how long; CER and WER."""
    rows = []
    for one in probes:
        block, minutes, updates = (
            one.get(name) for name in ("block", "labelled_minutes", "updates")
        )
        score = one["score"]
        rates = [
            f"{score[unit]:.2f} [{score[f'{unit}_low']:.1f}, {score[f'{unit}_high']:.1f}]"
            for unit in ("cer", "wer")
        ]
        rows.append(
            (
                str(one["set"]),
                one.get("model") or "–",
                "the encoder's" if block is None else f"block {block:g}",
                "–" if minutes is None else f"{minutes:.1f} minutes",
                "–" if updates is None else f"{updates:,.0f}",
                *rates,
            )
        )
    return rows
