"""A Markdown table of runs that differ in their method: EXP/seedN/METHOD, decoded with teacher and student.

    .venv/bin/python tools/compare_methods.py exp/festvox_ru_methods

Rates in percent, a number a seed. Differences are from the baseline of the same seed, average against average;
p is the paired bootstrap's over utterances, corrected for the number of methods of a seed (Holm). Label
errors are those of each utterance's last label.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.evaluation.bootstrap import Comparison, compare_aligned, score_aligned
from asr.evaluation.hypotheses import read_decoded
from asr.evaluation.normalisers import run_normaliser
from asr.evaluation.results import align_sets, main_set
from asr.evaluation.significance import holm
from asr.pseudo_labels.ledger import read_ledger
from asr.pseudo_labels.ledger_stats import Columns, metrics, use_metrics

_WORST = 1e9


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--baseline", default="supervised", help="the method to compare with")
    parser.add_argument("--unit", choices=("wer", "cer"), default="cer", help="of differences")
    given = parser.parse_args()
    try:
        print("\n".join(tables(given.experiment, given.baseline, given.unit)))
    except UserError as error:
        parser.error(str(error))


def tables(folder: Path, baseline: str = "supervised", unit: str = "cer") -> Iterator[str]:
    """The lines of two Markdown tables. Raises UserError where nothing was decoded."""
    seeds = sorted(path for path in folder.glob("seed*") if path.is_dir())
    runs: dict[str, list[_Run]] = {run.name: [] for seed in seeds for run in sorted(seed.iterdir())}
    for seed in seeds:
        for name, found in runs.items():
            if any((seed / name / "decode").glob("*/*.jsonl")):
                found.append(_Run(seed / name))
    runs = {name: found for name, found in runs.items() if found}
    if not runs:
        raise UserError(
            f"{folder}: holds no decoded runs", "expected seedN/METHOD/decode/SET/*.jsonl"
        )
    baselines = {run.seed: run for run in runs.get(baseline, [])}
    against: dict[str, dict[str, Comparison]] = {}
    for name, found in runs.items():
        for run in found:
            difference = run.against(baselines.get(run.seed))
            if difference is not None:
                against.setdefault(run.seed, {})[name] = difference
    p_of = {
        seed: holm({name: getattr(difference, f"p_{unit}") for name, difference in its.items()})
        for seed, its in against.items()
    }
    rows = sorted(
        runs.items(), key=lambda item: _mean([run.rate("teacher", unit) for run in item[1]])
    )
    yield (
        f"| method | average WER | CER | {unit.upper()} less {baseline}'s (p) | student WER | CER | "
        f"labels' {unit.upper()} |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, found in rows:
        differences = [
            f"{getattr(against[run.seed][name], f'delta_{unit}'):+.1f} ({p_of[run.seed][name]:.2g})"
            for run in found
            if name in against.get(run.seed, {})
        ]
        cells = [
            _joined([run.rate("teacher", "wer") for run in found]),
            _joined([run.rate("teacher", "cer") for run in found]),
            " / ".join(differences),
            _joined([run.rate("student", "wer") for run in found]),
            _joined([run.rate("student", "cer") for run in found]),
            _joined([run.label_rate(unit) for run in found]),
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield (
        "| method | labels made | dropped | uses of a label | age at use, h | age of teacher, h | "
        "entropy, first and last tenth |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, found in rows:
        yield from (f"| {name} | {run.method} |" for run in found[:1] if len(run.labels))


class _Run:
    """One method with one seed."""

    def __init__(self, run: Path) -> None:
        self.seed = run.parent.name
        decoded = read_decoded(run)
        name = main_set(decoded)
        assert name is not None
        self.aligned = align_sets({name: decoded[name]}, run_normaliser(run))[name]
        self.labels = Columns.read(read_ledger(run, "labels"))
        self.uses = Columns.read(read_ledger(run, "uses"))

    def rate(self, model: str, unit: str) -> float | None:
        if model not in self.aligned:
            return None
        score = score_aligned(self.aligned[model], 1)
        return score.wer if unit == "wer" else score.cer

    def against(self, baseline: _Run | None) -> Comparison | None:
        if baseline is None or baseline is self:
            return None
        if "teacher" not in self.aligned or "teacher" not in baseline.aligned:
            return None
        return compare_aligned(self.aligned["teacher"], baseline.aligned["teacher"])

    def label_rate(self, unit: str) -> float | None:
        return metrics(self.labels.last_of_each())[unit] if len(self.labels) else None

    @property
    def method(self) -> str:
        """Cells of the second table."""
        made, uses = metrics(self.labels), use_metrics(self.uses)
        hours = self.labels.of["hours"]
        tenth = (hours.max() - hours.min()) / 10
        ends: list[Any] = [
            metrics(self.labels.where(part))["entropy"]
            for part in (hours <= hours.min() + tenth, hours >= hours.max() - tenth)
        ]
        cells = [
            f"{made['labels']:,}",
            f"{sum(made['dropped'].values()):,}",
            _number(uses.get("uses_per_label") or (1.0 if not uses["uses"] else None)),
            _number(uses.get("age_hours") if uses["uses"] else 0.0),
            _number(made["teacher_age_hours"]),
            f"{ends[0]:.3f}, {ends[1]:.3f}",
        ]
        return " | ".join(cells)


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else _WORST


def _joined(values: list[float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:.1f}" for value in values)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
