"""Word and character error rates, their intervals, and the paired comparison of two systems.

Edits are counted by jiwer, utterance by utterance; a rate is errors over reference length of the
whole set, in percent. Text is compared as it stands. An empty reference has no words, so all that
was recognised there counts as insertions; a set without a single reference word has the rate
100 x errors (jiwer's convention: the denominator is at least one).

Intervals and p-values resample utterances with replacement: Bisani & Ney 2004, "Bootstrap estimates
for confidence intervals in ASR performance evaluation" (ICASSP). They cover the choice of
utterances, not the randomness of training. Utterances are sorted by id first: a figure does not
depend on the order of a file.

Shapes: N utterances, R resamples ("draws"), K columns that are summed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError

INTERVAL_DRAWS = 1_000
PAIRED_DRAWS = 10_000
FEW_UTTERANCES = 30
"""Below this a bootstrap is not to be trusted: it sees too few different samples."""
SEED = 20_041  # any fixed number: the same files give the same figures
MODELS = ("supervised", "supervised_student", "student", "teacher")
PAIRS = (
    ("teacher", "supervised"),
    ("student", "supervised_student"),
    ("teacher", "student"),
)
_RESAMPLED_AT_ONCE = 1 << 20  # utterances; bounds the memory at about 25 MB

Decoded = Mapping[str, Mapping[str, Sequence["Utterance"]]]
"""Set -> model -> utterances."""


@dataclass(frozen=True)
class Utterance:
    """One line of a hypotheses file."""

    id: str
    reference: str
    hypothesis: str
    seconds: float
    speaker: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """All fields of the line, for breakdowns."""


@dataclass(frozen=True)
class Counts:
    """Edits that turn references into hypotheses; of words or of characters."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Words or characters of the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Error rate in percent."""
        return 100.0 * self.errors / max(1, self.reference_length)


@dataclass(frozen=True)
class Score:
    """One system on one set. Rates in percent; `_low` and `_high` bound the 95 % interval."""

    wer: float
    wer_low: float
    wer_high: float
    cer: float
    cer_low: float
    cer_high: float
    ser: float
    """Sentence error rate: utterances with at least one word error."""
    words: int
    substitutions: int
    deletions: int
    insertions: int
    utterances: int
    hours_of_audio: float

    def to_json(self) -> dict[str, float | int]:
        """Plain numbers under the field names."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """System a minus system b on the same utterances, in percentage points; below 0, a is better."""

    delta_wer: float
    delta_wer_low: float
    delta_wer_high: float
    p_wer: float
    delta_cer: float
    delta_cer_low: float
    delta_cer_high: float
    p_cer: float

    def to_json(self) -> dict[str, float]:
        """The differences and their p-values."""
        return {name: getattr(self, name) for name in ("delta_wer", "p_wer", "delta_cer", "p_cer")}


def count_edits(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[list[Counts], list[Counts]]:
    """Edits of each utterance: of words, and of characters (spaces included, as jiwer has it)."""
    import jiwer  # not at module level: `asr --help` answers at once

    if not references:
        return [], []
    words = jiwer.process_words(list(references), list(hypotheses))
    characters = jiwer.process_characters(list(references), list(hypotheses))
    return [_counts(a) for a in words.alignments], [_counts(a) for a in characters.alignments]


def _counts(alignment: Iterable[Any]) -> Counts:
    totals = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in alignment:
        # A chunk covers as many words on both sides, or on one side none.
        totals[chunk.type] += max(
            chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        )
    return Counts(totals["equal"], totals["substitute"], totals["delete"], totals["insert"])


def error_counts(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Counts, Counts]:
    """Edits summed over the utterances: of words, and of characters."""
    words, characters = count_edits(references, hypotheses)
    return _sum(words), _sum(characters)


def _sum(counts: Sequence[Counts]) -> Counts:
    return Counts(*(sum(getattr(c, name) for c in counts) for name in Counts.__dataclass_fields__))


def resampled_sums(table_NK: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Column sums (draws, K) over N rows drawn with replacement; exact for integers below 2^53."""
    rows = len(table_NK)
    generator = np.random.default_rng(seed)
    at_once = max(1, _RESAMPLED_AT_ONCE // rows)
    sums_RK = np.empty((draws, table_NK.shape[1]))
    for start in range(0, draws, at_once):
        here = min(at_once, draws - start)
        drawn_RN = generator.integers(rows, size=(here, rows)) + rows * np.arange(here)[:, None]
        times_RN = np.bincount(drawn_RN.ravel(), minlength=here * rows).reshape(here, rows)
        sums_RK[start : start + here] = times_RN.astype(np.float64) @ table_NK
    return sums_RK


def _error_table(
    utterances: Sequence[Utterance],
) -> tuple[NDArray[np.float64], list[Counts], list[Counts]]:
    """Columns: word errors, words, character errors, characters."""
    words, characters = count_edits(
        [u.reference for u in utterances], [u.hypothesis for u in utterances]
    )
    table_NK = np.array(
        [
            (w.errors, w.reference_length, c.errors, c.reference_length)
            for w, c in zip(words, characters, strict=True)
        ],
        dtype=np.float64,
    ).reshape(-1, 4)
    return table_NK, words, characters


def _rates(errors: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100.0 * errors / np.maximum(lengths, 1.0)


def _bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def score(utterances: Sequence[Utterance], draws: int = INTERVAL_DRAWS, seed: int = SEED) -> Score:
    """Rates and 95 % percentile-bootstrap intervals. Raises UserError without utterances."""
    if not utterances:
        raise UserError("nothing to score: no utterance; decode the set again")
    ordered = sorted(utterances, key=lambda u: u.id)
    table_NK, words, characters = _error_table(ordered)
    sums_RK = resampled_sums(table_NK, draws, seed)
    total = _sum(words)
    wer_low, wer_high = _bounds(_rates(sums_RK[:, 0], sums_RK[:, 1]))
    cer_low, cer_high = _bounds(_rates(sums_RK[:, 2], sums_RK[:, 3]))
    return Score(
        wer=total.rate,
        wer_low=wer_low,
        wer_high=wer_high,
        cer=_sum(characters).rate,
        cer_low=cer_low,
        cer_high=cer_high,
        ser=100.0 * sum(w.errors > 0 for w in words) / len(words),
        words=total.reference_length,
        substitutions=total.substitutions,
        deletions=total.deletions,
        insertions=total.insertions,
        utterances=len(words),
        hours_of_audio=math.fsum(u.seconds for u in ordered) / 3600.0,
    )


def compare(
    a: Sequence[Utterance], b: Sequence[Utterance], draws: int = PAIRED_DRAWS, seed: int = SEED
) -> Comparison:
    """Paired bootstrap of a minus b: both systems are resampled at the same utterances.

    The p-value is two-sided: twice the smaller share of draws in which the difference is on one
    side of zero, ties on both (Koehn 2004, "Statistical significance tests for machine translation
    evaluation", and Bisani & Ney's probability of improvement, made two-sided). It is below 0.05
    about where the 95 % interval of the difference leaves zero out. Shares are
    (count + 1) / (draws + 1), so that p is never 0 (Davison & Hinkley 1997, section 4.2). With few
    utterances (below `FEW_UTTERANCES`) it is too small.

    Raises UserError, naming the first difference, unless ids and references are the same.
    """
    a, b = _paired(a, b)
    a_NK, b_NK = _error_table(a)[0], _error_table(b)[0]
    sums_RK = resampled_sums(np.hstack([a_NK - b_NK, a_NK[:, [1, 3]]]), draws, seed)
    totals_K = a_NK.sum(axis=0)
    difference_K = (a_NK - b_NK).sum(axis=0)
    figures: dict[str, float] = {}
    for unit, errors, length, drawn_length in (("wer", 0, 1, 4), ("cer", 2, 3, 5)):
        low, high = _bounds(_rates(sums_RK[:, errors], sums_RK[:, drawn_length]))
        figures[f"delta_{unit}"] = float(100.0 * difference_K[errors] / max(1.0, totals_K[length]))
        figures[f"delta_{unit}_low"], figures[f"delta_{unit}_high"] = low, high
        figures[f"p_{unit}"] = _two_sided(sums_RK[:, errors])
    return Comparison(**figures)


def _two_sided(differences_R: NDArray[np.float64]) -> float:
    smaller = min(int((differences_R >= 0).sum()), int((differences_R <= 0).sum()))
    return min(1.0, 2.0 * (smaller + 1) / (len(differences_R) + 1))


def _paired(
    a: Sequence[Utterance], b: Sequence[Utterance]
) -> tuple[list[Utterance], list[Utterance]]:
    if not a or not b:
        raise UserError("nothing to compare: a system has no utterance; decode the set again")
    by_id = {u.id: u for u in b}
    remedy = "decode the same set with both models"
    for utterance in a:
        other = by_id.get(utterance.id)
        if other is None:
            raise UserError(
                f"not comparable: utterance '{utterance.id}' is missing from the second; {remedy}"
            )
        if other.reference != utterance.reference:
            raise UserError(
                f"not comparable: the references of '{utterance.id}' differ "
                f"('{utterance.reference}' and '{other.reference}'); {remedy}"
            )
    known = {u.id for u in a}
    for utterance in b:
        if utterance.id not in known:
            raise UserError(
                f"not comparable: utterance '{utterance.id}' is missing from the first; {remedy}"
            )
    ordered = sorted(a, key=lambda u: u.id)
    return ordered, [by_id[u.id] for u in ordered]


def main_set(sets: Decoded) -> str | None:
    """The set of the headline figures: `test`, or the first named test..., or the first."""
    tests = [name for name in sets if name.startswith("test")]
    return "test" if "test" in sets else next(iter([*tests, *sets]), None)


def build_results(
    sets: Decoded, by_fields: Sequence[str] = ("speaker", "duration")
) -> dict[str, Any]:
    """What results.json holds: `sets`; and of the main set the `paired` comparisons and `by`.

    A pair's delta is first minus second. `duration` is bucketed; any other field of the hypotheses
    files is taken by value, where it has more than one. Raises UserError where two models cannot
    be paired.
    """
    results: dict[str, Any] = {
        "sets": {
            name: {m: score(u).to_json() for m, u in models.items()}
            for name, models in sets.items()
        },
        "paired": {},
        "by": {},
    }
    main = main_set(sets)
    if main is None:
        return results
    models = sets[main]
    for a, b in PAIRS:
        if a in models and b in models:
            try:
                results["paired"][f"{a}_vs_{b}"] = compare(models[a], models[b]).to_json()
            except UserError as error:
                raise UserError(f"decode/{main}: {a} (first) and {b} (second): {error}") from None
    for name in by_fields:
        groups = {model: _grouped(utterances, name) for model, utterances in models.items()}
        if any(len(group) > 1 for group in groups.values()):
            results["by"][name] = {
                model: {value: _lite(score(u)) for value, u in group.items()}
                for model, group in groups.items()
            }
    return results


def _lite(full: Score) -> dict[str, float | int]:
    names = ("wer", "wer_low", "wer_high", "cer", "words", "utterances", "hours_of_audio")
    return {name: getattr(full, name) for name in names}


def _grouped(utterances: Sequence[Utterance], name: str) -> dict[str, list[Utterance]]:
    groups: dict[str, list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda u: u.seconds if name == "duration" else 0.0):
        groups.setdefault(_value(utterance, name), []).append(utterance)
    return groups if name == "duration" else dict(sorted(groups.items()))


def _value(utterance: Utterance, name: str) -> str:
    if name == "duration":
        seconds = utterance.seconds
        if seconds < 5:
            return "<5 s"
        return "5-10 s" if seconds < 10 else "10-15 s" if seconds <= 15 else ">15 s"
    value = utterance.speaker if name == "speaker" else utterance.fields.get(name)
    return "unknown" if value is None else str(value)


def read_hypotheses(path: Path) -> list[Utterance]:
    """Read what `asr decode` wrote. Raises UserError with file, line and remedy."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # tolerates a byte order mark
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; `asr decode` writes RUN/decode/SET/MODEL.jsonl"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not readable as UTF-8 text ({error}); decode the set again"
        ) from None
    utterances: list[Utterance] = []
    first_line: dict[str, int] = {}
    # Not splitlines(): a transcript may hold U+2028, which is no end of line in JSON.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            utterance = _parse(line)
            if utterance.id in first_line:
                raise ValueError(
                    f"id '{utterance.id}' was already on line {first_line[utterance.id]}"
                )
        except ValueError as fault:
            raise UserError(
                f"{path}, line {number}: {fault}; write one JSON object a line with id, reference, "
                "hypothesis (text) and seconds (a number), or decode the set again"
            ) from None
        first_line[utterance.id] = number
        utterances.append(utterance)
    if not utterances:
        raise UserError(f"{path}: no utterance in it; decode the set again")
    return utterances


def _parse(line: str) -> Utterance:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    for name in ("id", "reference", "hypothesis"):
        if not isinstance(record.get(name), str):
            raise ValueError(f"'{name}' is not text ({json.dumps(record.get(name))})")
    seconds: Any = record.get("seconds")
    speaker = record.get("speaker")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise ValueError(f"'seconds' is not a length ({json.dumps(seconds)})")
    named = None if speaker is None else str(speaker)
    return Utterance(
        record["id"], record["reference"], record["hypothesis"], float(seconds), named, record
    )


def read_decoded(run: Path) -> dict[str, dict[str, list[Utterance]]]:
    """All of RUN/decode/SET/MODEL.jsonl, known models first; empty where nothing was decoded."""
    decoded: dict[str, dict[str, list[Utterance]]] = {}
    for folder in sorted(path for path in (run / "decode").glob("*") if path.is_dir()):
        paths = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
        names = [*(m for m in MODELS if m in paths), *(m for m in paths if m not in MODELS)]
        if names:
            decoded[folder.name] = {name: read_hypotheses(paths[name]) for name in names}
    return decoded


def describe(comparison: Comparison, a: str, b: str) -> str:
    """The comparison in words, a line for words and one for characters."""
    figures = asdict(comparison)
    lines = []
    for unit in ("wer", "cer"):
        low, high = figures[f"delta_{unit}_low"], figures[f"delta_{unit}_high"]
        p = figures[f"p_{unit}"]
        verdict = "significant at 5 %" if p < 0.05 else "not significant: it may be chance"
        lines.append(
            f"{a} minus {b}: {unit.upper()} {figures[f'delta_{unit}']:+.2f} points "
            f"[{low:+.2f}, {high:+.2f}], p = {p:.2g}, {verdict}"
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
    systems = [read_hypotheses(path) for path in paths]
    comparison = compare(systems[0], systems[1]) if len(systems) == 2 else None
    scores = [score(utterances) for utterances in systems]
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
    if as_json:
        print(json.dumps(build_results(decoded), indent=2))
        return 0
    for name, models in decoded.items():
        print(f"{name}: {render_table({model: score(u) for model, u in models.items()})}")
        for a, b in PAIRS:
            if a in models and b in models:
                print(describe(compare(models[a], models[b]), a, b))
        print()
    return 0
