"""Recipes that change the student's sound, noise to do it with, and what a student and a teacher then hear."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.config.recipe import load_config
from asr.config.schema import Config
from asr.data.dataloader import TrainingData
from asr.data.loading.micro_batch import MicroBatch
from asr.data.sampler import Position
from asr.data.segments import Kind, Segment
from asr.data.transcripts import training_tokenizer

RATE_HZ = 16_000


def hiss(seconds: float, seed: int = 0, level: float = 0.1) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return (level * random.standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def write_sound(path: Path, audio: NDArray[Any], rate_hz: int = RATE_HZ, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate_hz, **options)
    return path


def noise_folder(folder: Path) -> Path:
    """Of another rate, of two channels, compressed, shorter than an utterance: all that noise may be."""
    write_sound(folder / "a.wav", hiss(9.0, 1))
    write_sound(folder / "deep er/б.flac", hiss(8.0, 2), 22_050)
    write_sound(folder / "c.wav", np.stack([hiss(6.0, 3), 0 * hiss(6.0)], axis=1))
    write_sound(folder / "d.mp3", hiss(7.0, 4))
    write_sound(folder / "short.wav", hiss(0.3, 5))
    (folder / "LICENCE.txt").write_text("no sound")
    return folder


def everything(noise: Path) -> dict[str, Any]:
    """Settings under which all is done to half of the utterances, or more."""
    return {
        "augmentation.noise": {"probability": 0.7, "sources": [str(noise)], "snr_db": [0, 20]},
        "augmentation.reverberation": {"probability": 0.5, "simulated_rooms": 3},
        "augmentation.band_pass": {"probability": 0.5},
        "augmentation.codec": {"probability": 0.5, "kinds": ["mu_law", "gsm", "mp3", "vorbis"]},
        "augmentation.volume": {"probability": 0.5},
        "pseudo_label.start_hours": 0.005,
    }


def configured(recipe: Path, settings: Mapping[str, Any]) -> Config:
    return load_config(recipe, dict(settings))


def training_data(config: Config) -> TrainingData:
    return TrainingData(config, training_tokenizer(config))


def micro_batches(
    data: TrainingData, batches: int, ranks: int = 1, position: Position | None = None
) -> tuple[list[MicroBatch], Position]:
    """What all ranks read in the next so many global batches, and the position behind them."""
    position = position or Position()
    found, after = [], position
    for rank in range(ranks):
        for batch in islice(data.batches(position, rank, ranks), batches):
            found += [next(batch.micro_batches) for _ in range(batch.slots)]
            after = batch.batch.after
    return found, after


def heard(found: list[MicroBatch], by: str) -> Iterator[tuple[Segment, str, NDArray[np.float32]]]:
    """Of each utterance its segment, its id, and the waveform (N,) that the student or the teacher gets."""
    for micro_batch in found:
        given = getattr(micro_batch, f"{by}_input")
        if given is not None:
            everyone = zip(micro_batch.segments, micro_batch.ids, strict=True)
            pairs = [p for p in everyone if by == "student" or p[0].kind is Kind.UNTRANSCRIBED]
            for place, (segment, name) in enumerate(pairs):
                yield segment, name, given[0][place, : int(given[1][place])].numpy()


Place = tuple[Kind, int, str, int, float]


def hashes(found: list[MicroBatch], by: str = "student") -> dict[Place, str]:
    """Of each utterance's waveform, by its place in the stream."""
    made = {}
    for segment, name, audio_N in heard(found, by):
        place = (segment.kind, segment.pass_index, name, segment.use, segment.speed)
        assert place not in made
        made[place] = hashlib.sha256(audio_N.tobytes()).hexdigest()
    return made
