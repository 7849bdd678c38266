"""`asr labels`: what a run's pseudo-labels were, from its ledger."""

from __future__ import annotations

import argparse
import difflib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr.cli.arguments.common import make_parser
from asr.errors import UserError
from asr.pseudo_labels.ledger_report import by_hours_of, difference, worst_of
from asr.pseudo_labels.outside.export import Filters, export_labels
from asr.pseudo_labels.outside.label_files import EXPORTS
from asr.utils.options import finite

_DESCRIPTION = """\
Read the ledger of a run, EXP/pseudo_labels/*/*.parquet: every label, and every use of one that was kept.

  asr labels stats EXP              metrics by hours of audio; uses and ages of labels that are kept
  asr labels diff EXP [OTHER]       what changed between the first and the last label of each utterance, or
                                    between two times (--from, --to), or between the last labels of two runs
  asr labels worst EXP              the last labels with the most character errors, or the least confidence, and
                                    links to their recordings
  asr labels export EXP --to FORMAT --output FOLDER
                                    the last label of each utterance for other toolkits, of those that filters
                                    (--min-confidence, --max-wer-estimate, --at, ...) let through; also of what
                                    `asr label` wrote

Any tool for Parquet reads the files, too: pandas.read_parquet("EXP/pseudo_labels/labels").
"""


def main(argv: list[str]) -> int:
    """`asr labels`."""
    arguments = _parse(argv)
    run = arguments.run
    if arguments.command == "stats":
        found = by_hours_of(run, arguments.every)
        text = _render_stats(found)
    elif arguments.command == "diff":
        span = (arguments.begin, arguments.end)
        found = difference(run, arguments.other, *span, arguments.count)
        text = _render_diff(found)
    elif arguments.command == "export":
        found = _export(arguments)
        text = _render_export(found)
    else:
        found = worst_of(run, arguments.count)
        text = _render_worst(found)
    print(json.dumps(found, indent=2, ensure_ascii=False) if arguments.json else text)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("labels", _DESCRIPTION)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="stats | diff | worst | export"
    )
    for name in ("stats", "diff", "worst", "export"):
        command = commands.add_parser(name)
        command.add_argument("run", type=Path, metavar="EXP", help="folder of a run")
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
        if name == "stats":
            command.add_argument(
                "--every",
                type=finite,
                metavar="HOURS",
                help="audio of a row (default: about 12 rows)",
            )
            continue
        if name == "export":
            _add_export(command)
            continue
        command.add_argument("-n", "--count", type=int, default=20, help="utterances (default 20)")
        if name == "diff":
            command.add_argument("other", type=Path, nargs="?", metavar="OTHER")
            command.add_argument("--from", dest="begin", type=finite, metavar="HOURS")
            command.add_argument("--to", dest="end", type=finite, metavar="HOURS")
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
    if arguments.command in ("diff", "worst") and arguments.count < 1:
        raise UserError(f"--count {arguments.count} is too small", "it must be at least 1")
    return arguments


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("--to", choices=EXPORTS, required=True, help="format of the file")
    command.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    command.add_argument(
        "--manifest",
        type=Path,
        action="append",
        default=[],
        metavar="SET.jsonl.gz",
        help="where the recordings stand (default: the run's untranscribed sets); may be given several times",
    )
    command.add_argument(
        "--at", type=finite, metavar="HOURS", help="labels as they were then (default: the last)"
    )
    command.add_argument("--min-confidence", type=finite, metavar="SHARE", help="from 0 to 1")
    command.add_argument(
        "--max-wer-estimate",
        type=finite,
        metavar="PERCENT",
        help="as its confidence and dev sets say",
    )
    command.add_argument("--min-seconds", type=finite, default=0.0, metavar="S")
    command.add_argument("--max-seconds", type=finite, default=math.inf, metavar="S")
    command.add_argument(
        "--dropped",
        action="store_true",
        help="also labels that the run has not trained on, and empty ones",
    )


def _export(arguments: argparse.Namespace) -> dict[str, Any]:
    filters = Filters(
        arguments.at,
        arguments.min_confidence,
        arguments.max_wer_estimate,
        arguments.min_seconds,
        arguments.max_seconds,
        arguments.dropped,
    )
    done = export_labels(arguments.run, arguments.to, arguments.output, filters, arguments.manifest)
    return {**asdict(done), "path": str(done.path)}


def _render_export(found: dict[str, Any]) -> str:
    lines = [
        f"{found['labels']:,} labels: {found['path']}",
        f"left out: {_reasons(found['left_out'])}",
    ]
    if found["without_audio"]:
        lines.append(
            f"note: the recordings of {found['without_audio']:,} are not known here: name their sets with "
            "--manifest"
        )
    return "\n".join(lines)


_COLUMNS = (
    ("from_hours", "from h", "{:g}"),
    ("labels", "labels", "{:d}"),
    ("empty", "empty", "{:.1%}"),
    ("tokens_per_second", "tokens/s", "{:.2f}"),
    ("confidence", "confidence", "{:.3f}"),
    ("blank_share", "blank", "{:.1%}"),
    ("entropy", "entropy", "{:.3f}"),
    ("ctc_score", "CTC score", "{:.3f}"),
    ("change", "change", "{:.1%}"),
    ("teacher_age_hours", "teacher age h", "{:.2f}"),
    ("wer", "WER %", "{:.1f}"),
    ("cer", "CER %", "{:.1f}"),
    ("wer_estimate", "est. WER %", "{:.1f}"),
)


def _render_stats(found: dict[str, Any]) -> str:
    rows = [{**row} for row in found["by_hours"]] + [found["all"]]
    # Of an encoder-decoder with a CTC head alone.
    columns = [c for c in _COLUMNS if c[0] != "ctc_score" or found["all"]["ctc_score"] is not None]
    table = [[title for _, title, _ in columns]]
    for row in rows:
        cells = [(row.get(name), form) for name, _, form in columns]
        table.append(["-" if value is None else form.format(value) for value, form in cells])
    table[-1][0] = "all"
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    total = found["all"]
    if total["wer_estimate"] is not None:
        lines.append(
            "est. WER: by the labels' confidence and that of the dev sets, and their errors"
        )
    lines.append(f"confidence by {', then '.join(total['confidence_measures'])}")
    if "outside" in total["sources"]:
        lines.append(f"labels by {_reasons(total['sources'])}")
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
        sure = "unknown" if row["confidence"] is None else f"{row['confidence']:.2f}"
        lines.append(
            f"\n{row['utterance']}  {row['seconds']:.1f} s, {rate}confidence {sure}, made at "
            f"{row['hours']:.2f} h{dropped}\n  {row['text']}"
        )
        if row.get("reference"):
            lines.append(f"  reference: {row['reference']}")
        if row.get("audio"):
            begin = f" from {row['audio_begin']:.2f} s" if row["audio_begin"] else ""
            lines.append(f"  {Path(row['audio']).as_uri()}{begin}")
    return "\n".join(lines)
