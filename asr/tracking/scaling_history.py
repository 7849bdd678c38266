"""scaling.json: the card in force, and each card that the run has had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asr.utils.files import read_json, write_json


def note_card(run: Path, card: dict[str, Any]) -> str | None:
    """Write scaling.json: the card in force, and as `history` each card of the run with its first hour.

    Cards of hours that the run has not reached (any more, after a resume) are dropped.
    Returns what people should know where the file was damaged.
    """
    path = run / "scaling.json"
    note = None
    try:
        history = read_json(path).get("history", []) if path.is_file() else []
        kept = [before for before in history if before["from_hours"] < card["from_hours"]]
        changed = not kept or _what_it_rules(kept[-1]) != _what_it_rules(card)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        kept, changed = [], True
        note = f"{path}: damaged ({type(error).__name__}: {error}): its history begins anew"
    write_json(path, {**card, "history": [*kept, card] if changed else kept})
    return note


def _what_it_rules(card: dict[str, Any]) -> tuple[Any, ...]:
    """A card but for the horizons: a longer run is not another rule."""
    horizons = {f"{name}_steps" for name in card["horizon_hours"]}
    values = {name: value for name, value in card["in_force"].items() if name not in horizons}
    return card["ranks"], card["rule"], values
