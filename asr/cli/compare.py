"""`asr compare`: do two or several systems differ, by how much, and may it be chance?"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from asr.cli.arguments.common import add_texts, make_parser, source_of
from asr.errors import UserError
from asr.evaluation.bootstrap import SIGNIFICANT, score_aligned
from asr.evaluation.comparison import (
    Pair,
    adjusted,
    check_stamps,
    compare_systems,
    in_common,
    who_is_better,
)
from asr.evaluation.normalisers import advice
from asr.evaluation.score import describe, p_and_verdict, render_table
from asr.evaluation.systems import System

_DESCRIPTION = """\
Compare systems on the same utterances: the difference of their error rates with a 95 % interval and a
p-value by the paired bootstrap, MAPSSWE (Gillick & Cox 1989; words, in segments), and McNemar's test
(sentences). With three systems or more each test's p-values are corrected for the number of pairs (Holm), and
verdicts are by what is corrected; and there is a matrix of them.

  asr compare A.jsonl B.jsonl                     files of `asr decode`
  asr compare --reference REF A.trn B.txt C.ctm   texts in any format that `asr score` reads
"""


def main(argv: list[str]) -> int:
    """`asr compare`."""
    parser = make_parser("compare", _DESCRIPTION)
    parser.add_argument("hypotheses", nargs="+", type=Path, metavar="HYP", help="two or more")
    parser.add_argument("--reference", type=Path, help="references, where the files hold none")
    add_texts(parser)
    parser.add_argument("--names", help="of the systems, comma-separated (default: their paths)")
    parser.add_argument(
        "--common",
        action="store_true",
        help="compare the utterances that have the same reference in all, though the sets differ",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    arguments = parser.parse_args(argv)
    paths: list[Path] = arguments.hypotheses
    if len(paths) < 2:
        raise UserError("one file given", "give two or more to compare, or `asr score` one")
    source = source_of(arguments)
    systems = [source.load(path, arguments.reference) for path in paths]
    if arguments.normaliser is None:
        systems = [
            replace(system, notes=[*system.notes, *advice(path, source.normaliser)])
            for system, path in zip(systems, paths, strict=True)
        ]
    systems = [replace(s, name=n) for s, n in zip(systems, _names(paths, arguments), strict=True)]
    if arguments.common:
        systems = in_common(systems)
    check_stamps(systems)
    pairs = [compare_systems(a, b) for a, b in itertools.combinations(systems, 2)]
    print(
        json.dumps(_to_json(systems, pairs), indent=2, allow_nan=False)
        if arguments.json
        else _render(systems, pairs)
    )
    return 0


def _names(paths: Sequence[Path], arguments: argparse.Namespace) -> list[str]:
    names = arguments.names.split(",") if arguments.names else [str(path) for path in paths]
    if len(names) != len(paths):
        raise UserError(
            f"--names '{arguments.names}' names {len(names)} systems", f"give {len(paths)} names"
        )
    # The same file twice is a fair question; its two rows must not fold into one.
    if len(set(names)) < len(names):
        names = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
    return names


def _render(systems: Sequence[System], pairs: Sequence[Pair]) -> str:
    lines = [render_table({s.name: score_aligned(s.aligned) for s in systems}), ""]
    for pair, p in zip(pairs, adjusted(pairs), strict=True):
        words, sentences = pair.segments, pair.sentences
        z = "sign test" if words.statistic is None else f"z = {words.statistic:+.2f}"
        lines += [
            describe(pair.comparison, pair.a, pair.b, (p.wer, p.cer)),
            f"  MAPSSWE: {words.mean_difference:+.3f} errors a segment over {words.segments:,} segments, "
            f"{z}, {p_and_verdict(words.p, p.segments)}",
            f"  McNemar: {sentences.only_a_right} sentences right in the first alone, "
            f"{sentences.only_b_right} in the second alone, {p_and_verdict(sentences.p, p.sentences)}",
            f"  {who_is_better(pair, p.wer, systems[0].stamp.utterances)}",
        ]
    if len(systems) > 2:
        lines += ["", *_matrix(systems, pairs)]
    lines.append(f"normaliser {systems[0].stamp.normaliser}")
    lines += [f"note: {system.name}: {note}" for system in systems for note in system.notes]
    return "\n".join(lines)


def _matrix(systems: Sequence[System], pairs: Sequence[Pair]) -> list[str]:
    """Row minus column in WER, and Holm's p of the paired bootstrap."""
    by_pair = {(pair.a, pair.b): p.wer for pair, p in zip(pairs, adjusted(pairs), strict=True)}
    deltas = {(pair.a, pair.b): pair.comparison.delta_wer for pair in pairs}
    names = [system.name for system in systems]
    width = max(map(len, names))

    def cell(row: str, column: str) -> str:
        if row == column:
            return "-"
        key, sign = ((row, column), 1) if (row, column) in deltas else ((column, row), -1)
        star = "*" if by_pair[key] < SIGNIFICANT else " "
        return f"{sign * deltas[key]:+.2f} ({by_pair[key]:.2g}){star}"

    lines = ["WER, row minus column, in points (p after Holm's correction; * below 0.05)"]
    lines.append(" " * width + "".join(f"  {name[-20:]:>20}" for name in names))
    for row in names:
        lines.append(f"{row:<{width}}" + "".join(f"  {cell(row, c):>20}" for c in names))
    return lines


def _to_json(systems: Sequence[System], pairs: Sequence[Pair]) -> dict[str, Any]:
    return {
        "systems": [
            {
                "name": system.name,
                **score_aligned(system.aligned).to_json(),
                "stamp": asdict(system.stamp),
                "notes": system.notes,
            }
            for system in systems
        ],
        "pairs": [
            {
                "first": pair.a,
                "second": pair.b,
                **asdict(pair.comparison),
                "p_wer_holm": p.wer,
                "p_cer_holm": p.cer,
                "mapsswe": {**asdict(pair.segments), "p_holm": p.segments},
                "mcnemar": {**asdict(pair.sentences), "p_holm": p.sentences},
            }
            for pair, p in zip(pairs, adjusted(pairs), strict=True)
        ],
    }
