"""The student's sound: a function of its place in the stream; the teacher's stays clean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PLAIN, Train, final, losses, same_weights
from sound_helpers import (
    configured,
    everything,
    hashes,
    heard,
    hiss,
    micro_batches,
    noise_folder,
    training_data,
    write_sound,
)

from asr.data.reading import load_waveforms
from asr.data.segments import Kind

BATCHES = 8


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_folder(tmp_path_factory.mktemp("noise") / "with space")


@pytest.fixture(scope="module")
def alone(recipe: Path, noise: Path) -> tuple[dict[Any, str], dict[Any, str]]:
    """Of one rank without workers: what the student heard, and what it would have heard."""
    changed, clean = (
        micro_batches(training_data(configured(recipe, settings)), BATCHES)[0]
        for settings in (everything(noise), {"pseudo_label.start_hours": 0.005})
    )
    return hashes(changed), hashes(clean)


def test_most_is_changed_and_each_pass_in_its_own_way(
    alone: tuple[dict[Any, str], dict[Any, str]],
) -> None:
    changed, clean = alone
    assert changed.keys() == clean.keys()
    assert {place[0] for place in changed} == set(Kind)
    same = sum(changed[place] == clean[place] for place in clean)
    assert 0 < same < 0.2 * len(clean)
    assert len(set(changed.values())) == len(changed)
    assert any(place[1] for place in changed), "no second pass"


@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        (2, {}),
        (2, {"batch.max_seconds_per_micro_batch": 6}),
        (1, {"batch.batch_seconds": 30, "batch.max_seconds_per_micro_batch": 40}),
        (1, {"trainer.loader_workers": 2}),
    ],
)
def test_ranks_micro_batches_kappa_and_workers_change_nothing(
    recipe: Path,
    noise: Path,
    alone: tuple[dict[Any, str], dict[Any, str]],
    ranks: int,
    settings: dict[str, Any],
) -> None:
    data = training_data(configured(recipe, {**everything(noise), **settings}))
    batches = BATCHES // 2 if "batch.batch_seconds" in settings else BATCHES
    assert hashes(micro_batches(data, batches, ranks)[0]) == alone[0]


def test_a_resume_changes_nothing(
    recipe: Path, noise: Path, alone: tuple[dict[Any, str], dict[Any, str]]
) -> None:
    config = configured(recipe, everything(noise))
    before, position = micro_batches(training_data(config), 3)
    torch.manual_seed(99)  # another process, which has drawn other numbers
    after, _ = micro_batches(training_data(config), BATCHES - 3, 2, position)
    assert hashes(before) | hashes(after) == alone[0]


def test_the_number_of_threads_changes_nothing(
    recipe: Path, noise: Path, alone: tuple[dict[Any, str], dict[Any, str]]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3 - min(2, before))
    try:
        data = training_data(configured(recipe, everything(noise)))
        assert hashes(micro_batches(data, BATCHES)[0]) == alone[0]
    finally:
        torch.set_num_threads(before)


def test_another_seed_is_another_sound(recipe: Path, noise: Path) -> None:
    settings = {**everything(noise), "augmentation.speed_factors": [1.0]}
    one, other = (
        hashes(micro_batches(training_data(configured(recipe, {**settings, "seed": s})), 4)[0])
        for s in (1, 2)
    )
    common = one.keys() & other.keys()
    assert len(common) > 5
    assert sum(one[place] == other[place] for place in common) < 0.2 * len(common)


def test_the_teacher_hears_clean_speech(recipe: Path, noise: Path) -> None:
    data = training_data(configured(recipe, everything(noise)))
    found, _ = micro_batches(data, BATCHES)
    clean = {
        segment.index: load_waveforms([data.sets[Kind.UNTRANSCRIBED].cuts[segment.index]])[0][0]
        for segment, _, _ in heard(found, "teacher")
    }
    assert clean
    for segment, _, audio_N in heard(found, "teacher"):
        assert np.array_equal(audio_N, clean[segment.index].numpy())


def test_both_share_what_was_read_where_nothing_is_done(recipe: Path) -> None:
    """Off is what it was: the very same tensors."""
    settings = {"augmentation.speed_factors": [1.0], "pseudo_label.start_hours": 0.0}
    data = training_data(configured(recipe, settings))
    assert data.sound is None
    for micro_batch in micro_batches(data, 2)[0]:
        cuts = [data.sets[s.kind].cuts[s.index] for s in micro_batch.segments]
        assert micro_batch.student_input is not None
        assert torch.equal(micro_batch.student_input[0], load_waveforms(cuts)[0])
        if micro_batch.kinds == (Kind.UNTRANSCRIBED,):
            assert micro_batch.teacher_input is micro_batch.student_input
        elif Kind.UNTRANSCRIBED in micro_batch.kinds:
            own = [
                c
                for c, s in zip(cuts, micro_batch.segments, strict=True)
                if s.kind is Kind.UNTRANSCRIBED
            ]
            assert micro_batch.teacher_input is not None
            for given, expected in zip(micro_batch.teacher_input, load_waveforms(own), strict=True):
                assert torch.equal(given, expected)


def test_speech_is_as_much_louder_than_the_noise_as_was_asked(recipe: Path, noise: Path) -> None:
    ratios = {}
    for snr_db in ([7.0, 7.0], [-5.0, 30.0]):
        of_noise = {"probability": 1.0, "sources": [str(noise)], "snr_db": snr_db}
        data = training_data(configured(recipe, {"augmentation.noise": of_noise}))
        plain = training_data(configured(recipe, {}))
        noisy, clean = (heard(micro_batches(d, 4)[0], "student") for d in (data, plain))
        ratios[snr_db[0]] = [
            10 * np.log10(np.mean(was_N**2) / np.mean((is_N - was_N) ** 2))
            for (_, _, is_N), (_, _, was_N) in zip(noisy, clean, strict=True)
        ]
    assert ratios[7.0] == pytest.approx([7.0] * len(ratios[7.0]), abs=0.01)
    assert -5.01 < min(ratios[-5.0]) < 5 < 20 < max(ratios[-5.0]) < 30.01


def test_a_probability_is_the_share_that_it_changes(recipe: Path) -> None:
    settings = {"augmentation.volume": {"probability": 0.3}}
    data = training_data(configured(recipe, settings))
    assert data.sound is not None
    segments = [
        segment
        for number in range(40)
        for corpus in data.stream.corpora.values()
        if corpus is not None
        for segment in corpus.group(number, 0)
    ]
    audio_N = hiss(0.1)
    changed = [not np.array_equal(data.sound.utterance(audio_N, s), audio_N) for s in segments]
    assert len(changed) > 200
    assert np.mean(changed) == pytest.approx(0.3, abs=4 * (0.21 / len(changed)) ** 0.5)


def test_silent_speech_stays_silent(recipe: Path, tmp_path: Path) -> None:
    write_sound(tmp_path / "n/a.wav", hiss(3.0))
    settings = {name: {"probability": 1.0} for name in ("reverberation", "codec", "band_pass")}
    settings["noise"] = {"probability": 1.0, "sources": [str(tmp_path / "n")]}
    tree = {f"augmentation.{name}": setting for name, setting in settings.items()}
    data = training_data(configured(recipe, {**tree, "augmentation.codec.kinds": ["gsm"]}))
    assert data.sound is not None
    segment = data.stream.next_batch(micro_batches(data, 1)[1], 1).segments[0]
    silent_N = np.zeros(16_000, np.float32)
    changed_N = data.sound.utterance(silent_N, segment)
    assert changed_N.shape == silent_N.shape
    assert np.abs(changed_N).max() < 1e-3


@pytest.mark.slow
def test_a_run_on_two_ranks_and_one_that_was_stopped_are_the_run(train: Train, noise: Path) -> None:
    settings = [f"{key}={json.dumps(value)}" for key, value in everything(noise).items()]
    settings += [*PLAIN, "trainer.evaluation_every_hours=1"]
    whole = train("whole", *settings, "trainer.total_hours=0.03")
    train("stopped", *settings, "trainer.total_hours=0.015")
    stopped = train("stopped", *settings, "trainer.total_hours=0.03", "trainer.loader_workers=1")
    for name in ("student.safetensors", "teacher.safetensors"):
        assert same_weights(final(whole) / name, final(stopped) / name)
    two = train("two", *settings, "trainer.total_hours=0.03", ranks=2)
    assert losses(two) == pytest.approx(losses(whole), rel=1e-4)
    plain = train("plain", *PLAIN, "pseudo_label.start_hours=0.005", "trainer.total_hours=0.03")
    assert losses(plain) != pytest.approx(losses(whole), rel=1e-2)
