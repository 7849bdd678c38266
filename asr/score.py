"""`asr score`: word and character error rates of hypotheses files, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from asr.edits import align
from asr.errors import UserError
from asr.hypotheses import Utterance, read_decoded, read_hypotheses
from asr.results import PAIRS, align_sets, build_results
from asr.statistics import (
    FEW_UTTERANCES,
    INTERVAL_DRAWS,
    SEED,
    Comparison,
    Score,
    compare_aligned,
    score_aligned,
    verdict,
)


def score(utterances: Sequence[Utterance], draws: int = INTERVAL_DRAWS, seed: int = SEED) -> Score:
    """Rates and 95 % percentile-bootstrap intervals. Raises UserError without utterances."""
    return score_aligned(align(utterances), draws, seed)


def describe(comparison: Comparison, a: str, b: str) -> str:
    """The comparison in words, a line for words and one for characters."""
    figures = asdict(comparison)
    lines = []
    for unit in ("wer", "cer"):
        low, high = figures[f"delta_{unit}_low"], figures[f"delta_{unit}_high"]
        p = figures[f"p_{unit}"]
        lines.append(
            f"{a} minus {b}: {unit.upper()} {figures[f'delta_{unit}']:+.2f} points "
            f"[{low:+.2f}, {high:+.2f}], p = {p:.2g}, {verdict(p)}"
        )
    return "\n".join(lines)


def render_table(scores: Mapping[str, Score]) -> str:
    """The scores of systems on one set as plain text."""
    first = next(iter(scores.values()))
    width = max(len("system"), *map(len, scores))
    lines = [
        f"{first.utterances:,} utterances, {first.words:,} words, {first.hours_of_audio:.2f} hours",
        f"{'system':<{width}}  {'WER %':>7} {'95 % interval':>17}"
        f"  {'CER %':>7} {'95 % interval':>17}  {'SER %':>6} {'sub':>7} {'del':>7} {'ins':>7}",
    ]
    for name, s in scores.items():
        wer_interval = f"[{s.wer_low:.2f}, {s.wer_high:.2f}]"
        cer_interval = f"[{s.cer_low:.2f}, {s.cer_high:.2f}]"
        lines.append(
            f"{name:<{width}}  {s.wer:7.2f} {wer_interval:>17}  {s.cer:7.2f} {cer_interval:>17}"
            f"  {s.ser:6.1f} {s.substitutions:7,} {s.deletions:7,} {s.insertions:7,}"
        )
    if first.utterances < FEW_UTTERANCES:
        lines.append(f"fewer than {FEW_UTTERANCES} utterances: do not trust intervals and p-values")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """`asr score`."""
    parser = argparse.ArgumentParser(
        prog="asr score",
        description="Word (WER), character (CER) and sentence error rates (SER), in percent, of what "
        "`asr decode` wrote, with 95 % bootstrap intervals. With two files of the same set, also "
        "their difference (first minus second) and its p-value by the paired bootstrap.",
        epilog="Text is compared as it stands: case and punctuation count. Intervals and p-values "
        "say how much the figures depend on the choice of utterances, not on the seed of training.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="one or two hypotheses files (MODEL.jsonl), or a run folder: all of its decoded sets",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args(argv)
    paths: list[Path] = arguments.paths
    if len(paths) == 1 and paths[0].is_dir():
        return _score_run(paths[0], arguments.json)
    if len(paths) > 2:
        raise UserError(f"{len(paths)} files given; give one, or two to compare")
    return _score_files(paths, arguments.json)


def _score_files(paths: Sequence[Path], as_json: bool) -> int:
    systems = [align(read_hypotheses(path)) for path in paths]
    comparison = compare_aligned(systems[0], systems[1]) if len(systems) == 2 else None
    scores = [score_aligned(system) for system in systems]
    if as_json:
        rows = [{"path": str(p), **s.to_json()} for p, s in zip(paths, scores, strict=True)]
        paired = {"first_vs_second": comparison.to_json()} if comparison else {}
        print(json.dumps({"systems": rows, "paired": paired}, indent=2))
        return 0
    # The same file twice is a fair question; its two rows must not fold into one.
    names = (
        [f"{i}: {path}" for i, path in enumerate(paths, start=1)] if comparison else [str(paths[0])]
    )
    print(render_table(dict(zip(names, scores, strict=True))))
    if comparison:
        print("\n" + describe(comparison, "first", "second"))
    return 0


def _score_run(run: Path, as_json: bool) -> int:
    decoded = read_decoded(run)
    if not decoded:
        raise UserError(f"{run}: nothing decoded in it; run `asr decode {run} SET.jsonl.gz` first")
    sets = align_sets(decoded)
    if as_json:
        print(json.dumps(build_results(sets), indent=2))
        return 0
    for name, models in sets.items():
        print(f"{name}: {render_table({model: score_aligned(a) for model, a in models.items()})}")
        for a, b in PAIRS:
            if a in models and b in models:
                print(describe(compare_aligned(models[a], models[b]), a, b))
        print()
    return 0
