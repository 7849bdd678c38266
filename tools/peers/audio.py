"""Reading audio, and changing its speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from lhotse import MonoCut, Recording

from asr.data.reading import load_samples
from peers.race import Race

_RATE_HZ, _FILES, _SECONDS, _SPEED = 16_000, 8, 14.0, 1.1


def races(folder: Path) -> Iterator[Race]:
    """Files of 14 s in FLAC and WAV, read whole; and one in three speeds."""
    random = np.random.default_rng(1)
    for kind in ("flac", "wav"):
        cuts = []
        for number in range(_FILES):
            path = folder / f"{number}.{kind}"
            tone_N = np.sin(np.cumsum(0.05 + 0.04 * random.random(int(_SECONDS * _RATE_HZ))))
            soundfile.write(path, 0.3 * tone_N, _RATE_HZ, "PCM_16")
            cuts.append(Recording.from_file(path).to_cut())
        yield reading(kind.upper(), cuts)
        if kind == "wav":
            yield speed(cuts)


def reading(kind: str, cuts: list[MonoCut]) -> Race:
    """As training reads, checked; `soundfile` does nothing else."""
    paths = [cut.recording.sources[0].source for cut in cuts]
    for cut, path in zip(cuts, paths, strict=True):
        np.testing.assert_array_equal(
            load_samples(cut)[0], soundfile.read(path, dtype="float32")[0]
        )
    return Race(
        f"reading, {kind}",
        lambda: [load_samples(cut) for cut in cuts],
        {
            "Lhotse": lambda: [cut.load_audio() for cut in cuts],
            "soundfile alone": lambda: [soundfile.read(path, dtype="float32") for path in paths],
        },
        wanted=0.97,
    )


def speed(cuts: list[MonoCut]) -> Race:
    """Of 1.1, with the reading."""
    faster = torchaudio.transforms.Speed(_RATE_HZ, _SPEED)
    paths = [cut.recording.sources[0].source for cut in cuts]

    def by_torchaudio() -> list[torch.Tensor]:
        read = (soundfile.read(path, dtype="float32")[0] for path in paths)
        return [faster(torch.from_numpy(samples_N))[0] for samples_N in read]

    return Race(
        "reading and speed perturbation",
        lambda: [load_samples(cut, _SPEED) for cut in cuts],
        {
            "Lhotse": lambda: [cut.perturb_speed(_SPEED).load_audio() for cut in cuts],
            "torchaudio, cached": by_torchaudio,
        },
        wanted=0.97,
    )
