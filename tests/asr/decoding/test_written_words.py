"""Words of an encoder-decoder: their times by its CTC head, and what is said where it has none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

pytest.importorskip("transformers")

from whisper_helpers import write_checkpoint, write_whisper

from asr.__main__ import main
from asr.decoding.decode_dataset import CutsInMemory, decode_set
from asr.decoding.safeguards import GREEDY
from asr.decoding.transcribe import transcribe
from asr.model.model_folder import load_model

RATE_HZ = 16_000
BRIEF = replace(GREEDY, max_tokens_per_second=1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    """By the weight of CTC: a checkpoint's folder."""
    whisper = tmp_path_factory.mktemp("whisper")
    write_whisper(whisper, scale=8.0)
    root = tmp_path_factory.mktemp("checkpoints")
    return {w: write_checkpoint(root / f"{w}", whisper, ctc_weight=w) for w in (0.0, 0.3)}


def cuts_of(folder: Path, seconds: list[float]) -> CutsInMemory:
    from lhotse import MonoCut, Recording, SupervisionSegment

    draws, cuts = np.random.default_rng(0), []
    for number, length in enumerate(seconds):
        path = folder / f"u{number}.wav"
        soundfile.write(path, 0.1 * draws.standard_normal(round(length * RATE_HZ)), RATE_HZ)
        recording = Recording.from_file(path)
        text = SupervisionSegment(f"u{number}", f"u{number}", 0, length, text="so - it is")
        cuts.append(
            MonoCut(
                f"u{number}", 0, recording.duration, 0, recording=recording, supervisions=[text]
            )
        )
    return CutsInMemory.of(cuts, RATE_HZ)


def records(folder: Path, speech: CutsInMemory) -> dict[str, Any]:
    model = load_model(folder, device="cpu")
    return {one["id"]: one for one in decode_set(model, speech, BRIEF)}


def test_with_a_head_words_have_times_inside_their_audio(
    folders: dict[float, Path], tmp_path: Path
) -> None:
    """The third is longer than the model's five seconds: it is written in pieces that follow each other."""
    speech = cuts_of(tmp_path, [3.0, 1.0, 8.0])
    found = records(folders[0.3], speech)
    for name, one in found.items():
        words = one["words"]
        assert [word["text"] for word in words] == one["hypothesis"].split(), name
        edges = [time for word in words for time in (word["begin"], word["end"])]
        assert edges == sorted(edges), name
        assert max(edges, default=0.0) <= one["seconds"] + 1e-6, name
        assert all(0 <= word["confidence"] <= 1 for word in words), name
    assert [word["text"] for word in found["u0"]["reference_words"]] == ["so", "-", "it", "is"]
    assert found["u2"]["reference_words"] is None
    assert max(word["end"] for word in found["u2"]["words"]) > 5.0
    bare = records(folders[0.0], speech)
    assert all("words" not in one for one in bare.values())
    assert [bare[n]["hypothesis"] for n in bare] == [found[n]["hypothesis"] for n in bare]


def test_neighbours_change_no_time(folders: dict[float, Path], tmp_path: Path) -> None:
    together = records(folders[0.3], cuts_of(tmp_path, [3.0, 1.0]))
    alone = records(folders[0.3], cuts_of(tmp_path, [3.0]))
    for word, other in zip(together["u0"]["words"], alone["u0"]["words"], strict=True):
        assert word == pytest.approx(other, abs=1e-3)


def test_captions_are_aligned_or_it_is_said_how_they_would_be(
    folders: dict[float, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts_of(tmp_path, [7.0])
    audio = str(tmp_path / "u0.wav")
    for weight, said in ((0.0, True), (0.3, False)):
        model = load_model(folders[weight], device="cpu")
        talk = transcribe(model, audio)
        edges = [time for word in talk.words for time in (word.begin, word.end)]
        assert edges == sorted(edges)
        assert max(edges, default=0.0) <= 7.0 + 1e-6
        assert main(["transcribe", str(folders[weight]), audio, "--format", "json"]) == 0
        out, error = capsys.readouterr()
        assert [w["text"] for w in json.loads(out)["words"]] == talk.text.split()
        assert ("model.ctc_weight" in error) is said
    assert main(["transcribe", str(folders[0.0]), audio]) == 0
    assert "times are rough" not in capsys.readouterr().err, "a text alone has no times"


def test_a_head_s_checkpoint_says_so(folders: dict[float, Path]) -> None:
    assert yaml.safe_load((folders[0.3] / "config.yaml").read_text())["model"]["ctc_weight"] == 0.3
    assert load_model(folders[0.3], device="cpu").network.has_times
    assert not load_model(folders[0.0], device="cpu").network.has_times
