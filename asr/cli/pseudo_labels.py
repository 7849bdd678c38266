"""`asr labels`: what a run's pseudo-labels were, from its ledger."""

from __future__ import annotations

import argparse
import difflib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr.cli.options import make_parser
from asr.errors import UserError
from asr.pseudo_labels.ledger import FOLDER, read_ledger
from asr.pseudo_labels.ledger_stats import (
    Columns,
    by_hours,
    changes,
    metrics,
    use_metrics,
    worst,
)

_DESCRIPTION = """\
Read the ledger of a run, EXP/pseudo_labels/*/*.parquet: every label, and every use of one that was kept.

  asr labels stats EXP              metrics by hours of audio; uses and ages of labels that are kept
  asr labels diff EXP [OTHER]       what changed between the first and the last label of each utterance, or
                                    between two times (--from, --to), or between the last labels of two runs
  asr labels worst EXP              the last labels with the most character errors, or the least confidence

Any tool for Parquet reads the files, too: pandas.read_parquet("EXP/pseudo_labels/labels").
"""
_ROWS_SHOWN = 12


def main(argv: list[str]) -> int:
    """`asr labels`."""
    arguments = _parse(argv)
    labels = _labels(arguments.run, ["text"] if arguments.command == "stats" else [])
    if arguments.command == "stats":
        found = _stats(arguments, labels)
        text = _render_stats(found)
    elif arguments.command == "diff":
        found = _diff(arguments, labels)
        text = _render_diff(found)
    else:
        by, rows = worst(labels, arguments.count)
        found = {"by": by, "labels": _with_references(arguments.run, _records(rows))}
        text = _render_worst(found)
    print(json.dumps(found, indent=2, ensure_ascii=False) if arguments.json else text)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("labels", _DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="stats | diff | worst")
    for name in ("stats", "diff", "worst"):
        command = commands.add_parser(name)
        command.add_argument("run", type=Path, metavar="EXP", help="folder of a run")
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
        if name == "stats":
            command.add_argument(
                "--every",
                type=float,
                metavar="HOURS",
                help="audio of a row (default: about 12 rows)",
            )
            continue
        command.add_argument("-n", "--count", type=int, default=20, help="utterances (default 20)")
        if name == "diff":
            command.add_argument("other", type=Path, nargs="?", metavar="OTHER")
            command.add_argument("--from", dest="begin", type=float, metavar="HOURS")
            command.add_argument("--to", dest="end", type=float, metavar="HOURS")
    arguments = parser.parse_args(argv)
    every = arguments.every if arguments.command == "stats" else None
    if every is not None and not 0 < every < math.inf:
        raise UserError(f"--every {every:g} is impossible", "it must be a number of hours above 0")
    if arguments.command == "diff":
        times = [hours for hours in (arguments.begin, arguments.end) if hours is not None]
        if arguments.other and times:
            raise UserError(
                "--from and --to are for two times of one run", "name one run, or leave them out"
            )
        if times != sorted(times):
            raise UserError(
                f"--from {times[0]:g} --to {times[1]:g} is no span", "the first must be the earlier"
            )
    if arguments.command != "stats" and arguments.count < 1:
        raise UserError(f"--count {arguments.count} is too small", "it must be at least 1")
    return arguments


def _labels(run: Path, without: list[str]) -> Columns:
    labels = Columns.read(read_ledger(run, "labels", without))
    if not len(labels):
        raise UserError(
            f"{run / FOLDER}: holds no labels",
            "name the folder of a run that has pseudo-labelled with "
            "pseudo_label.ledger on, and has saved a checkpoint since",
        )
    return labels


def _stats(arguments: argparse.Namespace, labels: Columns) -> dict[str, Any]:
    hours = labels.of["hours"]
    every = arguments.every or _round_hours((hours.max() - hours.min()) / _ROWS_SHOWN)
    return {
        "all": metrics(labels),
        "every_hours": every,
        "by_hours": by_hours(labels, every),
        "uses": use_metrics(Columns.read(read_ledger(arguments.run, "uses"))),
    }


def _round_hours(hours: float) -> float:
    """1, 2 or 5 times a power of ten, not below; 1 for nothing."""
    power = 1e-3
    while hours > 0:
        for digit in (1, 2, 5):
            if digit * power >= hours:
                return float(digit * power)
        power *= 10
    return 1.0


def _diff(arguments: argparse.Namespace, labels: Columns) -> dict[str, Any]:
    hours = labels.of["hours"]
    if arguments.other is not None:
        before, after = labels.last_of_each(), _labels(arguments.other, []).last_of_each()
        between = f"the last labels of {arguments.run} and of {arguments.other}"
    else:
        end = hours.max() if arguments.end is None else arguments.end
        after = labels.where(hours <= end).last_of_each()
        if arguments.begin is None:
            firsts = labels.where(_firsts(labels))
            before, between = firsts, f"the first labels and the last until {end:g} h"
        else:
            before = labels.where(hours <= arguments.begin).last_of_each()
            between = f"the last labels until {arguments.begin:g} h and until {end:g} h"
    found = changes(before, after)
    if not found:
        raise UserError(
            f"no utterance has a label on both sides of {between}",
            f"labels were made from {hours.min():.2f} to {hours.max():.2f} h",
        )
    errors = [one.character_errors for one in found if one.character_errors is not None]
    return {
        "between": between,
        "utterances": len(found),
        "changed": sum(one.change > 0 for one in found),
        "mean_change": sum(one.change for one in found) / len(found),
        "better": sum(now < then for then, now in errors),
        "worse": sum(now > then for then, now in errors),
        "most_changed": [asdict(one) for one in found[: arguments.count] if one.change > 0],
    }


def _firsts(labels: Columns) -> Any:
    import numpy as np

    _, rows = np.unique(labels.of["utterance"].astype(str), return_index=True)
    return np.sort(rows)


def _records(labels: Columns) -> list[dict[str, Any]]:
    return [
        {name: _plain(values[row]) for name, values in labels.of.items()}
        for row in range(len(labels))
    ]


def _with_references(run: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """References, where the run's manifests are still there and know it."""
    from asr.data.dataset import load_role
    from asr.data.segments import Kind
    from asr.model.model_folder import read_config

    try:
        speech = load_role(read_config(run), Kind.UNTRANSCRIBED)
    except UserError:
        return rows
    places = speech.places_of([row["utterance"] for row in rows])
    return [
        {**row, "reference": None if place is None else speech.references[place] or None}
        for row, place in zip(rows, places, strict=True)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value else float(value)
    return value


_COLUMNS = (
    ("from_hours", "from h", "{:g}"),
    ("labels", "labels", "{:d}"),
    ("empty", "empty", "{:.1%}"),
    ("tokens_per_second", "tokens/s", "{:.2f}"),
    ("confidence", "confidence", "{:.3f}"),
    ("blank_share", "blank", "{:.1%}"),
    ("entropy", "entropy", "{:.3f}"),
    ("change", "change", "{:.1%}"),
    ("teacher_age_hours", "teacher age h", "{:.2f}"),
    ("wer", "WER %", "{:.1f}"),
    ("cer", "CER %", "{:.1f}"),
)


def _render_stats(found: dict[str, Any]) -> str:
    rows = [{**row} for row in found["by_hours"]] + [found["all"]]
    table = [[title for _, title, _ in _COLUMNS]]
    for row in rows:
        cells = [(row.get(name), form) for name, _, form in _COLUMNS]
        table.append(["-" if value is None else form.format(value) for value, form in cells])
    table[-1][0] = "all"
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    total = found["all"]
    lines.append(
        f"{total['labels']:,} labels of {total['utterances']:,} utterances; dropped when made: "
        f"{_reasons(total['dropped'])}"
    )
    uses = found["uses"]
    if uses["uses"]:
        per_label = uses["uses_per_label"]
        lines.append(
            f"{uses['uses']:,} uses of kept labels, "
            + ("" if per_label is None else f"{per_label:.1f} for a label that was replaced, ")
            + f"mean age {uses['age_hours'] or 0:.2f} h, oldest {uses['oldest_hours'] or 0:.2f} h; "
            f"not trained on: {_reasons(uses['dropped'])}"
        )
    return "\n".join(lines)


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"


def _render_diff(found: dict[str, Any]) -> str:
    count = found["utterances"]
    lines = [
        f"{found['between']}: {found['changed']:,} of {count:,} differ, by {found['mean_change']:.1%} of their "
        f"characters on average; {found['better']:,} have fewer errors, {found['worse']:,} more"
    ]
    for one in found["most_changed"]:
        errors = one["character_errors"]
        judged = "" if errors is None else f", {errors[0]:.0f} -> {errors[1]:.0f} errors"
        lines.append(f"\n{one['utterance']}  {one['change']:.0%} changed{judged}")
        lines += [f"  - {one['before']}", f"  + {one['after']}"]
        marked = _marked(one["before"], one["after"])
        if marked:
            lines.append(f"    {marked}")
    return "\n".join(lines)


def _marked(before: str, after: str) -> str:
    """Words that went and came, in their order."""
    words = difflib.ndiff(before.split(), after.split())
    return " ".join(word.replace(" ", "", 1) for word in words if word[0] in "-+")


def _render_worst(found: dict[str, Any]) -> str:
    lines = [f"the last labels by {found['by']}:"]
    for row in found["labels"]:
        errors, characters = row["character_errors"], row["characters"]
        rate = "" if characters is None else f"CER {100 * errors / max(1, characters):.0f} %, "
        dropped = f", dropped: {row['dropped']}" if row["dropped"] else ""
        lines.append(
            f"\n{row['utterance']}  {row['seconds']:.1f} s, {rate}confidence {row['confidence']:.2f}, made at "
            f"{row['hours']:.2f} h{dropped}\n  {row['text']}"
        )
        if row.get("reference"):
            lines.append(f"  reference: {row['reference']}")
    return "\n".join(lines)
