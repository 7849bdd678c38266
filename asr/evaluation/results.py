"""What results.json holds: the scores of all sets; of the main set also comparisons and breakdowns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from asr.errors import UserError
from asr.evaluation.bootstrap import Comparison, Score, compare_aligned, score_aligned
from asr.evaluation.edit_distance import Aligned, align
from asr.evaluation.hypotheses import ZERO_SHOT, Utterance
from asr.evaluation.normalisers import Normaliser
from asr.evaluation.significance import holm
from asr.evaluation.systems import normalised

Pair = tuple[str, str]
"""Two models: the first minus the second."""
PAIRS: tuple[Pair, ...] = (
    ("teacher", "supervised"),
    ("student", "supervised_student"),
    ("teacher", "student"),
    ("teacher", ZERO_SHOT),
)

BY_FIELDS = ("speaker", "duration", "speaking_rate", "language")
_BUCKETS = {
    "duration": ((5.0, "<5 s"), (10.0, "5-10 s"), (15.0, "10-15 s"), (math.inf, ">15 s")),
    "speaking_rate": (
        *((1.5, "<1.5 words/s"), (2.5, "1.5-2.5 words/s"), (3.5, "2.5-3.5 words/s")),
        (math.inf, ">3.5 words/s"),
    ),
}
"""Groups by (upper bound, name), lowest first."""

_MOST_VALUES = 12
"""Of a number, that are shown one by one."""
UNKNOWN = "unknown"
_OF_EACH = {
    "id",
    "reference",
    "hypothesis",
    "text",
    "pred_text",
    "audio_filepath",
    "words",
    "tokens",
}
"""Fields that say nothing of a group."""

Sets = Mapping[str, Mapping[str, Sequence[Aligned]]]
"""Set -> model -> utterances with their edits."""


def align_sets(
    decoded: Mapping[str, Mapping[str, Sequence[Utterance]]], normaliser: Normaliser
) -> dict[str, dict[str, list[Aligned]]]:
    """Normalise and align all that was decoded, each text once."""
    return {
        name: {model: align(normalised(lines, normaliser)) for model, lines in models.items()}
        for name, models in decoded.items()
    }


def main_set(sets: Mapping[str, object]) -> str | None:
    """The set of the headline rates: `test`, or the first named test..., or the first."""
    tests = [name for name in sets if name.startswith("test")]
    return "test" if "test" in sets else next(iter([*tests, *sets]), None)


def build_results(
    sets: Sets,
    normaliser: Normaliser,
    by_fields: Sequence[str] = BY_FIELDS,
    further: Sequence[Pair] = (),
) -> dict[str, Any]:
    """What results.json holds: `sets`; and of the main set the `paired` comparisons and `by`.

    `normaliser` is what the sets were aligned under. Pairs are the usual ones and `further`; a pair's delta is
    first minus second, and its p-values stand also corrected for the number of pairs (`pair_rows`). `duration`
    and `speaking_rate` are bucketed; any other field of the hypotheses files is taken by value, where it has
    more than one. Raises UserError where two models cannot be paired.
    """
    results: dict[str, Any] = {
        "normaliser": normaliser.stamp,
        "sets": {
            name: {m: score_aligned(a).to_json() for m, a in models.items()}
            for name, models in sets.items()
        },
        "paired": {},
        "by": {},
    }
    main = main_set(sets)
    check_pairs(further, sets)
    if main is None:
        return results
    models = sets[main]
    for name in by_fields:
        check_field(name, models, f"'{main}'")
    try:
        pairs = compare_models(models, further)
    except UserError as error:
        raise error.at(f"decode/{main}") from None
    results["paired"] = pair_rows(pairs)
    for name in by_fields:
        found = breakdown(models, name)
        if any(len(group) > 1 for group in found.values()):
            results["by"][name] = found
    return results


def check_field(name: str, models: Mapping[str, Sequence[Aligned]], where: str) -> None:
    """Raises UserError for a field that no utterance has, naming those there are."""
    known = {"speaker", *_BUCKETS, "language"}
    fields = {f for aligned in models.values() for one in aligned for f in one.utterance.fields}
    if name not in known | fields:
        there = sorted(known | (fields - _OF_EACH))
        raise UserError(
            f"--by {name}: no utterance of {where} has that field",
            f"name one of {', '.join(there)}",
        )


def breakdown(
    models: Mapping[str, Sequence[Aligned]], name: str
) -> dict[str, dict[str, dict[str, float | int]]]:
    """Model -> value of a field -> rates; of a number that has many values, between its quartiles."""
    return {
        model: {value: _lite(score_aligned(a)) for value, a in _grouped(aligned, name).items()}
        for model, aligned in models.items()
    }


def check_pairs(further: Sequence[Pair], sets: Mapping[str, Mapping[str, object]]) -> None:
    """Raises UserError for a pair whose files the main set has not."""
    main = main_set(sets)
    there = sets[main] if main is not None else {}
    for first, second in further:
        for name in (first, second):
            if name not in there:
                raise UserError(
                    f"--compare {first}:{second}: there is no decode/{main or 'SET'}/{name}.jsonl",
                    f"name two of {', '.join(there)}" if there else "decode a set first",
                )


def compare_models(
    models: Mapping[str, Sequence[Aligned]], further: Sequence[Pair] = ()
) -> dict[Pair, Comparison]:
    """Of a run's models on one set the usual comparisons and `further` ones, of models that are there.

    A pair that is there already, either way round, is not compared again. Raises UserError where two cannot be
    paired.
    """
    found: dict[Pair, Comparison] = {}
    for a, b in (*PAIRS, *further):
        if a in models and b in models and not {(a, b), (b, a)} & found.keys():
            try:
                found[a, b] = compare_aligned(models[a], models[b])
            except UserError as error:
                raise error.at(f"{a} (first) and {b} (second)") from None
    return found


def pair_rows(pairs: Mapping[Pair, Comparison]) -> dict[str, dict[str, Any]]:
    """As results.json has them, by FIRST_vs_SECOND, with p-values that are corrected for their number."""
    return with_holm(
        {f"{a}_vs_{b}": {"first": a, "second": b, **p.to_json()} for (a, b), p in pairs.items()}
    )


def with_holm(pairs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows of comparisons with p_wer_holm and p_cer_holm: corrected for their number, what verdicts go by."""
    corrected = {
        f"p_{unit}_holm": holm({name: pair[f"p_{unit}"] for name, pair in pairs.items()})
        for unit in ("wer", "cer")
    }
    return {
        name: {**pair, **{column: ps[name] for column, ps in corrected.items()}}
        for name, pair in pairs.items()
    }


def _lite(full: Score) -> dict[str, float | int]:
    names = ("wer", "wer_low", "wer_high", "cer", "words", "utterances", "hours_of_audio")
    return {name: getattr(full, name) for name in names}


def _grouped(aligned: Sequence[Aligned], name: str) -> dict[str, list[Aligned]]:
    groups: dict[str, list[Aligned]] = {}
    numbers = (
        []
        if name in (*_BUCKETS, "speaker")
        else [one.utterance.fields.get(name) for one in aligned]
    )
    buckets = _BUCKETS.get(name) or _quartiles(numbers)
    for one in aligned:
        groups.setdefault(_value(one, name, buckets), []).append(one)
    order = [*(bucket for _, bucket in buckets), UNKNOWN] if buckets else sorted(groups)
    return {value: groups[value] for value in order if value in groups}


def _quartiles(values: Sequence[Any]) -> tuple[tuple[float, str], ...]:
    """Groups of a field that is a number, where it has many values; else none."""
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    finite = sorted(filter(math.isfinite, numbers))
    are_all = len(finite) == sum(value is not None for value in values)
    if not are_all or len(set(finite)) <= _MOST_VALUES:
        return ()
    bounds = sorted({finite[len(finite) * quarter // 4] for quarter in (1, 2, 3)})
    named = [(upper, f"below {upper:g}") for upper in bounds]
    return (*named, (math.inf, f"from {bounds[-1]:g}"))


def _value(one: Aligned, name: str, buckets: Sequence[tuple[float, str]]) -> str:
    utterance = one.utterance
    value: Any = utterance.speaker if name == "speaker" else utterance.fields.get(name)
    if name in _BUCKETS:
        seconds = utterance.seconds
        rate = one.words.reference_length / seconds if seconds else 0.0
        value = seconds if name == "duration" else rate
    if value is None:
        return UNKNOWN
    return next((bucket for upper, bucket in buckets if value < upper), str(value))
