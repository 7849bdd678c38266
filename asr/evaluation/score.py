"""Word, character and sentence error rates with their intervals, and as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from asr.evaluation.bootstrap import (
    FEW_UTTERANCES,
    INTERVAL_DRAWS,
    SEED,
    Comparison,
    Score,
    score_aligned,
    verdict,
)
from asr.evaluation.texts import Texts, system_of


def score(
    references: Texts,
    hypotheses: Texts | None = None,
    normaliser: str = "none",
    draws: int = INTERVAL_DRAWS,
    seed: int = SEED,
) -> Score:
    """WER, CER and SER in percent, with 95 % percentile-bootstrap intervals.

    Both are texts by id, or lists of texts in the same order, or files in any format that `asr score` reads.
    What `asr.decode` returned, or the path of what `asr decode` wrote, holds both and stands alone.
    `normaliser`: none, librispeech, whisper-english, or PATH.py:FUNCTION. Raises UserError where the texts
    do not go together, or there are none.

    >>> import asr
    >>> result = asr.score(["the cat sat", "hello"], ["the cat sat", "hallo"])
    >>> result.wer, result.substitutions, result.words
    (25.0, 1, 4)
    """
    if hypotheses is None:
        system = system_of(references, None, normaliser)
    else:
        system = system_of(hypotheses, references, normaliser)
    return score_aligned(system.aligned, draws, seed)


def describe(
    comparison: Comparison, a: str, b: str, adjusted: tuple[float, float] | None = None
) -> str:
    """The comparison in words: a line for words, one for characters, one by speaker where they are known.

    `adjusted`: the two p-values corrected for the number of pairs; where given, they are what is judged.
    """
    rates = asdict(comparison)
    lines = []
    for number, unit in enumerate(("wer", "cer")):
        low, high = rates[f"delta_{unit}_low"], rates[f"delta_{unit}_high"]
        p = rates[f"p_{unit}"]
        judged = p if adjusted is None else adjusted[number]
        lines.append(
            f"{a} minus {b}: {unit.upper()} {rates[f'delta_{unit}']:+.2f} points "
            f"[{low:+.2f}, {high:+.2f}], {p_and_verdict(p, judged)}"
        )
    bounds = [rates[f"delta_{u}_speaker_{end}"] for u in ("wer", "cer") for end in ("low", "high")]
    if None not in bounds:
        wer_low, wer_high, cer_low, cer_high = bounds
        lines.append(
            f"  by speaker, of {comparison.speakers}: WER [{wer_low:+.2f}, {wer_high:+.2f}], "
            f"CER [{cer_low:+.2f}, {cer_high:+.2f}]"
        )
    return "\n".join(lines)


def p_and_verdict(p: float, adjusted: float) -> str:
    """A p-value and what it says, which is judged by the one that is corrected for the number of pairs."""
    corrected = "" if adjusted == p else f" ({adjusted:.2g} after Holm's correction)"
    return f"p = {p:.2g}{corrected}, {verdict(adjusted)}"


def render_breakdown(name: str, models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Rates by a field, model by model, as plain text: what `asr.evaluation.results.breakdown` finds."""
    rows = [(model, value, row) for model, by in models.items() for value, row in by.items()]
    value_width = max(len(name), *(len(value) for _, value, _ in rows))
    model_width = max(len("system"), *map(len, models))
    lines = [
        f"{name:<{value_width}}  {'system':<{model_width}}  {'utterances':>10} {'words':>8}"
        f"  {'WER %':>7} {'95 % interval':>17}  {'CER %':>7}"
    ]
    for model, value, row in sorted(rows, key=lambda one: list(models[one[0]]).index(one[1])):
        interval = f"[{row['wer_low']:.2f}, {row['wer_high']:.2f}]"
        lines.append(
            f"{value:<{value_width}}  {model:<{model_width}}  {row['utterances']:>10,} {row['words']:>8,}"
            f"  {row['wer']:7.2f} {interval:>17}  {row['cer']:7.2f}"
        )
    return "\n".join(lines)


def render_table(scores: Mapping[str, Score]) -> str:
    """The scores of systems on one set as plain text."""
    first = next(iter(scores.values()))
    width = max(len("system"), *map(len, scores))
    hours = f", {first.hours_of_audio:.2f} hours" if first.hours_of_audio else ""
    lines = [
        f"{first.utterances:,} utterances, {first.words:,} words{hours}",
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
    for name, s in scores.items():
        if s.wer_speaker_low is not None and s.cer_speaker_low is not None:
            lines.append(
                f"{name:<{width}}  by speaker, of {s.speakers}: WER "
                f"[{s.wer_speaker_low:.2f}, {s.wer_speaker_high:.2f}], CER "
                f"[{s.cer_speaker_low:.2f}, {s.cer_speaker_high:.2f}]"
            )
    if first.speaker_warning:
        lines.append(first.speaker_warning)
    if first.utterances < FEW_UTTERANCES:
        lines.append(f"fewer than {FEW_UTTERANCES} utterances: do not trust intervals and p-values")
    return "\n".join(lines)
