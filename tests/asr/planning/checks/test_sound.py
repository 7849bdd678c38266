"""What `asr check` says of the student's sound: sources that cannot be used, and what it takes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from check_helpers import check
from sound_helpers import hiss, write_sound


def test_what_it_takes(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sound(tmp_path / "noise/a.wav", hiss(36.0))
    settings = [
        f"output={tmp_path / 'run'}",
        f"augmentation.noise={{probability: 0.5, sources: [{tmp_path / 'noise'}]}}",
        "augmentation.reverberation={probability: 0.5, simulated_rooms: 5}",
        "augmentation.codec={probability: 0.1, kinds: [mu_law]}",
        "batch.max_seconds_per_micro_batch=100",
    ]
    status, said = check(capsys, recipe, *settings)
    assert status == 0
    assert "note: augmentation.noise: 1 recordings, 0.01 h, all usable" in said
    pattern = (
        r"augmentation takes ([\d.]+) ms of a core for a second of the student's audio \(reverberation "
        r"([\d.]+), noise ([\d.]+), codec ([\d.]+)\), measured here: a core makes ([\d,]+) s of audio a "
        r"second, and [\d.e+]+ ms once for each of 5 rooms; the training process does it"
    )
    found = re.search(pattern, said)
    assert found is not None, said
    whole, *of_each = map(float, found.groups()[:4])
    assert whole == pytest.approx(sum(of_each), rel=0.2)
    assert int(found[5].replace(",", "")) == pytest.approx(1000 / whole, rel=0.1)
    assert "clean: up to 6.4 MB more" in said
    assert "augmentation" not in check(capsys, recipe, settings[0])[1]


def test_sources_that_cannot_be_used(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sound(tmp_path / "rooms/a.wav", np.zeros(1000))
    settings = [
        f"output={tmp_path / 'run'}",
        f"augmentation.reverberation={{probability: 0.5, sources: [{tmp_path / 'rooms'}]}}",
    ]
    status, said = check(capsys, recipe, *settings)
    assert status == 2
    assert "problem 1: augmentation.reverberation.sources: of 1 recordings" in said
    assert "a.wav (silent)\n  remedy: take them out" in said
