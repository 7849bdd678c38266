"""The three cards at the head of a run's page: the best result, the comparison that matters, what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from asr.report.tables import BASELINES, MODEL_NAMES, p_value, winner
from asr.tracking.run_reader import Run
from asr.tracking.shapes import is_number


@dataclass(frozen=True)
class Card:
    """A figure, what it is, and what should be known of it."""

    title: str
    figure: str
    detail: str
    tone: Literal["", "good", "bad"] = ""


def head_cards(
    results: Mapping[str, Any], main_set: str | None, run: Run, environment: Mapping[str, Any]
) -> list[Card]:
    """Those of which something is known."""
    cards = [_best(results, main_set), _compared(results, main_set), _effort(run, environment)]
    return [card for card in cards if card is not None]


def name_of(model: str) -> str:
    """As the page calls it."""
    return MODEL_NAMES.get(model, model)


def _best(results: Mapping[str, Any], main_set: str | None) -> Card | None:
    models = results["sets"].get(main_set or "", {})
    if not models:
        return None
    model, found = min(models.items(), key=lambda item: item[1]["wer"])
    title = f"Lowest WER on {main_set}" if len(models) > 1 else f"WER on {main_set}"
    interval = f"95 % interval {found['wer_low']:.2f} to {found['wer_high']:.2f}"
    return Card(title, f"{found['wer']:.2f} %", f"{name_of(model)}; {interval}")


def _compared(results: Mapping[str, Any], main_set: str | None) -> Card | None:
    """The teacher with its baseline; else the first pair."""
    pairs: Mapping[str, Mapping[str, Any]] = results["paired"]
    if not pairs:
        return None
    usual = [f"teacher_vs_{baseline}" for baseline, _ in BASELINES]
    pair = next((pairs[name] for name in usual if name in pairs), next(iter(pairs.values())))
    first, second, better = pair["first"], pair["second"], winner(pair, "wer")
    p = p_value(pair["p_wer_holm"])
    title = f"{name_of(first)} against {name_of(second)}"
    figure = f"{pair['delta_wer']:+.2f} points".replace("-", "\N{MINUS SIGN}")
    if better is None:
        return Card(title, figure, f"may be chance: {p}")
    return Card(
        title, figure, f"{name_of(better)} is better: {p}", "good" if better == first else "bad"
    )


def _effort(run: Run, environment: Mapping[str, Any]) -> Card | None:
    """Audio, wall-clock of the updates, network and machine, as far as the run has noted them."""
    if not run.training:
        return None
    hours = run.training[-1]["hours"]
    parts = [f"{len(run.training):,} updates"]
    if all(is_number(line.get("wall_seconds")) for line in run.training):
        parts.append(f"in {_duration(sum(line['wall_seconds'] for line in run.training))}")
    if is_number(environment.get("parameters")):
        parts.append(f"of {environment['parameters'] / 1e6:.3g} M parameters")
    if environment.get("machine"):
        parts.append(f"on {environment['machine']}")
    return Card("Training", f"{hours:,.3g} hours of audio", " ".join(parts))


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h"
