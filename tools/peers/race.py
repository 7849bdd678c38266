"""Contestants that take turns: ratios of CPU time, round by round, so that other work meets all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Race:
    """The same work by ours and by others."""

    name: str
    ours: Work
    others: dict[str, Work]
    """By what does it; first of all whom we measure ourselves by."""
    wanted: float = 1.0
    """The least ratio, others' time over ours, that is no defeat."""


def run(race: Race, rounds: int) -> list[str]:
    """A row of a Markdown table for each other: the ratio's median over the rounds, its least and largest."""
    works = {"ours": race.ours, **race.others}
    for work in works.values():
        work()  # what is made or read once
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(_cpu_seconds(works[name]))
    ours_ms = 1000 * statistics.median(seconds["ours"])
    rows = []
    for name in race.others:
        ratios = [other / own for other, own in zip(seconds[name], seconds["ours"], strict=True)]
        ratio = statistics.median(ratios)
        mark = "" if ratio >= race.wanted else f" (wanted: {race.wanted:g})"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(f"| {race.name} | {ours_ms:,.1f} | {name} | {ratio:.2f}{mark} | {spread} |")
    return rows


def _cpu_seconds(work: Work) -> float:
    """Of all threads of this process. What earlier works left is not collected in it."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started
