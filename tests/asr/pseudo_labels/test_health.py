"""The health of labels: metrics and alarms."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.config.pseudo_label import FilterConfig, HealthConfig
from asr.pseudo_labels.filters import is_without_speech, judge
from asr.pseudo_labels.health import LabelHealth, shown_metrics
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.label_counts import LabelCounts
from asr.pseudo_labels.records import LabelRecord

HEALTH = HealthConfig(max_broken_share=0.3)


def row(tokens: list[int], seconds: float = 1.0) -> LabelRecord:
    label = Label(tokens, LabelMetrics(0.9, 0.5, 0.1))
    return LabelRecord((0, 0), "u", seconds, label, "", None, None)


def of(*labels: list[int], disagreement: float = 0.2) -> LabelCounts:
    """Labels of a second each, where transcripts have 10 tokens a second; each trained on once."""
    counts = LabelCounts.of([row(tokens) for tokens in labels], HEALTH, 10.0)
    tokens = sum(map(len, labels))
    return replace(counts, disagreements=disagreement * tokens, agreed_on=tokens, uses=len(labels))


SOUND = list(range(10))


@pytest.mark.parametrize(
    ("ill", "said"),
    [
        (of([], []), "empty"),
        (of([3], [3]), "too short"),
        (of([1, 2] * 6, [1, 2] * 6), "repeat themselves"),
        (of([*range(50)], [*range(50)]), "tokens per second"),
        (of([*range(20)], [*range(20)]), "tokens per second"),
        (of(SOUND, SOUND, disagreement=1.5), "differs"),
    ],
)
def test_a_collapse_is_noticed_within_ten_updates_of_two_labels(
    ill: LabelCounts, said: str
) -> None:
    health = LabelHealth()
    for _ in range(50):
        health.observe(of(SOUND, SOUND))
        assert health.faults(HEALTH, 10.0) == []
    faults: list[str] = []
    updates = 0
    while not faults and updates < 50:
        health.observe(ill)
        faults = health.faults(HEALTH, 10.0)
        updates += 1
    assert updates <= 10
    assert any(said in fault for fault in faults)
    assert LabelHealth.from_state(asdict(health)) == health


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 300)), min_size=1, max_size=20))
def test_metrics_are_averages_of_what_was_observed(steps: list[tuple[int, int]]) -> None:
    health = LabelHealth()
    for labels, tokens in steps:
        health.observe(LabelCounts(labels=labels, tokens=tokens, seconds=float(labels)))
    for smoothed in (health.shown, health.recent):
        ratio = shown_metrics(smoothed, 10.0)["pseudo_label_length_ratio"]
        rates = [tokens / labels / 10 for labels, tokens in steps]
        assert ratio is not None
        assert min(rates) - 1e-9 <= ratio <= max(rates) + 1e-9


def test_no_labels_no_metrics() -> None:
    assert set(shown_metrics(LabelCounts(), 10.0).values()) == {None}
    assert LabelHealth().faults(HEALTH, 10.0) == []


def silent(
    change: float | None = None, blank_share: float = 1.0, former_ratio: float = 1.0
) -> LabelRecord:
    """An empty label by a teacher whose dev speech has at most 80 % of blanks, so up to 90 % are speech."""
    policy = FilterConfig()
    label = Label([], LabelMetrics(0.9, blank_share, 0.1))
    label = replace(label, dropped=judge(label, 1.0, 10.0, change, policy, 0.9))
    is_without = is_without_speech(label, change, former_ratio, 0.9)
    return LabelRecord((0, 0), "u", 1.0, label, "", change, None, is_without_speech=is_without)


@pytest.mark.parametrize("former_ratio", [0.0, 0.4])
def test_forty_percent_of_noise_ring_nothing_and_a_teacher_that_hears_nothing_does(
    former_ratio: float,
) -> None:
    """Whatever stray tokens were heard in it before."""
    health, policy = LabelHealth(), HealthConfig()
    random = np.random.default_rng(0)
    for is_noise in (random.random(400) < 0.4).tolist():
        one = [silent(1.0, former_ratio=former_ratio) if is_noise else row(SOUND)]
        health.observe(LabelCounts.of(one, policy, 10.0))
        assert health.faults(policy, 10.0) == []
    share = shown_metrics(health.shown, 10.0)["pseudo_label_no_speech_share"]
    assert share == pytest.approx(0.4, abs=0.15)
    labels = 0
    while not health.faults(policy, 10.0):
        health.observe(LabelCounts.of([silent()], policy, 10.0))
        labels += 1
    assert 5 < labels < 60
    [fault] = health.faults(policy, 10.0)
    assert "hear no speech (pseudo_label.health.max_no_speech_share 90%)" in fault


@pytest.mark.parametrize("lost", [silent(change=1.0), silent(blank_share=0.85)])
def test_an_empty_label_of_speech_is_no_noise(lost: LabelRecord) -> None:
    """Of an utterance in which words were heard before, or with no more blanks than dev speech has."""
    health, policy = LabelHealth(), HealthConfig()
    for _ in range(12):
        health.observe(LabelCounts.of([row(SOUND)], policy, 10.0))
    for _ in range(8):
        health.observe(LabelCounts.of([lost], policy, 10.0))
    assert any(
        "empty" in fault and "pseudo_label.health.max_broken_share 20%" in fault
        for fault in health.faults(policy, 10.0)
    )
