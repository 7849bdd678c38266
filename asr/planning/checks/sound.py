"""What a recipe does to the student's sound: whether its sources can be used, and what it takes, measured."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np

from asr.config.schema import Config
from asr.data.sound.augmentation import SoundAugmentation, one_thread
from asr.errors import UserError
from asr.planning.checks.finding import Finding, note

_SECONDS = 10.0
"""Of the utterance on which it is timed."""
_TIMES = 8


def check_sound(config: Config) -> Iterator[Finding]:
    """Sources that cannot be used; the time of a core and the memory that changed waveforms take."""
    try:
        sound = SoundAugmentation.of(config)
    except UserError as error:
        yield Finding.of(error)
        return
    if sound is None:
        return
    for name, found in sound.recordings.items():
        yield note(
            f"augmentation.{name}: {len(found):,} recordings, {found.hours:.3g} h, all usable"
        )
    yield _time(sound, config)
    if config.has_role("untranscribed"):
        yield _memory(config)


def _time(sound: SoundAugmentation, config: Config) -> Finding:
    costs = {name: p * _cost(sound, name, config) for name, p in sound.changes.items()}
    of_each = ", ".join(f"{name} {1e3 * cost:.2g}" for name, cost in costs.items())
    whole, workers = sum(costs.values()), config.trainer.loader_workers
    return note(
        f"augmentation takes {1e3 * whole:.2g} ms of a core for a second of the student's audio ({of_each}), "
        f"measured here: a core makes {1 / whole:,.0f} s of audio a second{_rooms(sound, config)}",
        "the training process does it between its updates: with trainer.loader_workers others do it meanwhile"
        if not workers
        else f"trainer.loader_workers {workers} do it beside the training",
    )


def _rooms(sound: SoundAugmentation, config: Config) -> str:
    policy = config.augmentation.reverberation
    if "reverberation" not in sound.changes or policy.sources:
        return ""
    anew = _timed(sound, "reverberation", config, range(1, 1 + _TIMES))
    return f", and {1e3 * anew:.2g} ms once for each of {policy.simulated_rooms:,} rooms"


def _memory(config: Config) -> Finding:
    """The teacher's waveforms travel beside the student's."""
    seconds, workers = config.batch.max_seconds_per_micro_batch, config.trainer.loader_workers
    megabytes = seconds * config.features.sample_rate_hz * np.dtype(np.float32).itemsize / 1e6
    ahead = f", and for each of those that {workers} workers read ahead" if workers else ""
    return note(
        f"augmentation: a micro-batch that the teacher labels holds its audio twice, changed and clean: up to "
        f"{megabytes:.3g} MB more{ahead}"
    )


def _cost(sound: SoundAugmentation, name: str, config: Config) -> float:
    """Seconds that a change takes for a second of audio; of rooms, where they are made already."""
    seeds = [0] * _TIMES if name == "reverberation" else range(_TIMES)
    return _timed(sound, name, config, seeds) / _SECONDS


def _timed(sound: SoundAugmentation, name: str, config: Config, seeds: Iterable[int]) -> float:
    """Mean seconds for an utterance, drawn anew with each seed."""
    samples = round(_SECONDS * config.features.sample_rate_hz)
    audio_N = np.random.default_rng(0).normal(0.0, 0.1, samples).astype(np.float32)
    with one_thread():
        sound.changed(name, audio_N, np.random.default_rng(0))  # what is made once
        taken = []
        for seed in seeds:
            started = time.perf_counter()
            sound.changed(name, audio_N, np.random.default_rng(seed))
            taken.append(time.perf_counter() - started)
    return sum(taken) / len(taken)
