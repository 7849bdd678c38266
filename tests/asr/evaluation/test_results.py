"""What results.json holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from evaluation_helpers import utterances

from asr.evaluation import results
from asr.evaluation.hypotheses import Utterance
from asr.evaluation.normalisers import make_normaliser


def build_results(decoded: dict[str, dict[str, list[Utterance]]], **how: Any) -> dict[str, Any]:
    normaliser = make_normaliser("none")
    return results.build_results(results.align_sets(decoded, normaliser), normaliser, **how)


def test_results_follow_the_contract() -> None:
    models = {"supervised": utterances(0.4), "student": utterances(0.2), "teacher": utterances(0.1)}
    found = build_results({"dev": {"teacher": utterances(0.1)}, "test": models})
    metrics = found["sets"]["test"]["teacher"]
    wanted = {"wer", "wer_low", "wer_high", "cer", "cer_low", "cer_high"}
    assert wanted | {"words", "utterances", "hours_of_audio", "ser"} <= set(metrics)
    pair = found["paired"]["teacher_vs_supervised"]
    of_pair = {"delta_wer", "p_wer", "delta_cer", "p_cer", "p_wer_holm", "p_cer_holm"}
    assert set(pair) == of_pair | {"first", "second"}
    assert pair["delta_wer"] == pytest.approx(
        metrics["wer"] - found["sets"]["test"]["supervised"]["wer"]
    )
    assert list(found["by"]["duration"]["teacher"]) == ["<5 s", "5-10 s", "10-15 s", ">15 s"]
    assert list(found["by"]["speaker"]["student"]) == ["s0", "s1", "s2"]
    words = [group["words"] for group in found["by"]["duration"]["teacher"].values()]
    assert sum(words) == metrics["words"]
    json.dumps(found, allow_nan=False)


def test_results_without_models_to_pair_and_with_one_speaker() -> None:
    only = [u for u in utterances(0.1) if u.speaker == "s0" and u.seconds < 5]
    found = build_results({"other": {"teacher": only}}, by_fields=("speaker", "duration"))
    assert (found["paired"], found["by"]) == ({}, {})
    assert build_results({}) == {"normaliser": "none/1", "sets": {}, "paired": {}, "by": {}}


def test_results_by_another_field() -> None:
    made = [Utterance(str(i), "A", "A", 1.0, None, {"noise": i % 2}) for i in range(4)]
    found = build_results({"test": {"teacher": made}}, by_fields=("noise",))
    assert set(found["by"]["noise"]["teacher"]) == {"0", "1"}


def test_headline_set_is_a_test_set_where_there_is_one() -> None:
    names = ("dev-clean", "test-clean", "test-other")
    assert results.main_set({name: {} for name in names}) == "test-clean"
    assert results.main_set({"dev": {}, "a": {}}) == "dev"
    assert results.main_set({}) is None
