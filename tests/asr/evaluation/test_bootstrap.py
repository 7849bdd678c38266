"""The bootstrap against a plain loop, and what it says of two systems."""

from __future__ import annotations

import random

import numpy as np
import pytest
from evaluation_helpers import utterances

from asr.errors import UserError
from asr.evaluation import bootstrap as statistics
from asr.evaluation import score
from asr.evaluation.edit_distance import align
from asr.evaluation.hypotheses import Utterance


def compare(a: list[Utterance], b: list[Utterance], draws: int = 10_000) -> statistics.Comparison:
    return statistics.compare_aligned(align(a), align(b), draws)


def test_bootstrap_equals_a_plain_loop() -> None:
    table_NK = np.random.default_rng(0).integers(0, 30, size=(57, 3)).astype(np.float64)
    found_RK = statistics.resampled_sums(table_NK, draws=40, seed=5)
    generator = np.random.default_rng(5)
    for row_K in found_RK:
        total_K = np.zeros(3)
        for index in generator.integers(57, size=57):
            total_K += table_NK[index]
        assert np.array_equal(row_K, total_K)


def test_bootstrap_in_pieces_equals_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    table_NK = np.arange(40.0).reshape(20, 2)
    whole_RK = statistics.resampled_sums(table_NK, draws=11, seed=3)
    monkeypatch.setattr(statistics, "_RESAMPLED_AT_ONCE", 60)
    assert np.array_equal(statistics.resampled_sums(table_NK, draws=11, seed=3), whole_RK)


def test_same_seed_same_intervals_whatever_the_order_of_the_file() -> None:
    made = utterances(0.2)
    shuffled = random.Random(3).sample(made, len(made))
    assert score.score(made) == score.score(shuffled)
    assert score.score(made) != score.score(made, seed=1)
    other = utterances(0.25)
    assert compare(made, other) == compare(shuffled, other)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        result = score.score(utterances(0.2, number=60, seed=seed), draws=300)
        covered += result.wer_low <= 20.0 <= result.wer_high
    assert 51 <= covered <= 60


def test_identical_systems_do_not_differ() -> None:
    made = utterances(0.2)
    result = compare(made, made)
    assert (result.delta_wer, result.p_wer, result.delta_cer, result.p_cer) == (0, 1, 0, 1)


def test_clearly_different_systems_differ_in_both_directions() -> None:
    good, bad = utterances(0.1), utterances(0.4)
    better, worse = compare(good, bad), compare(bad, good)
    assert better.delta_wer == pytest.approx(-worse.delta_wer)
    assert better.delta_wer < -20
    assert 0 < better.p_wer < 0.001
    assert better.p_wer == worse.p_wer
    assert better.delta_wer_low < better.delta_wer < better.delta_wer_high < 0


def test_p_is_about_uniform_between_equally_good_systems() -> None:
    ps = [
        compare(utterances(0.2, 80, seed), utterances(0.2, 80, seed + 1000), 500).p_wer
        for seed in range(60)
    ]
    assert sum(p < 0.05 for p in ps) <= 9
    assert sum(p < 0.5 for p in ps) >= 18


def test_unpairable_systems_are_refused() -> None:
    made = utterances(0.2, number=5)
    renamed = [*made[:4], Utterance("other", "A", "A", 1.0)]
    with pytest.raises(UserError, match="'u0004' is missing from the second"):
        compare(made, renamed)
    with pytest.raises(UserError, match="'u0004' is missing from the first"):
        compare(made[:4], made)
    changed = [Utterance("u0000", "NOT THIS", "A", 1.0), *made[1:]]
    with pytest.raises(UserError, match="references of 'u0000' differ"):
        compare(made, changed)


def test_speakers_are_resampled_where_they_are_known() -> None:
    made = utterances(0.2)
    found = score.score(made)
    assert found.speakers == 3
    table = np.zeros((3, 2))
    for one in align(made):
        index = int((one.utterance.speaker or "s0")[1:])
        table[index] += one.words.errors, one.words.reference_length
    sums = statistics.resampled_sums(table, statistics.INTERVAL_DRAWS, statistics.SEED)
    bounds = np.percentile(100 * sums[:, 0] / sums[:, 1], [2.5, 97.5])
    assert (found.wer_speaker_low, found.wer_speaker_high) == pytest.approx(tuple(bounds))
    unknown = [*made, Utterance("z", "A", "A", 1.0)]
    assert score.score(unknown).wer_speaker_low is None
