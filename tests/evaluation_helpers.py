"""Invented utterances and transcripts, and files of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from asr.evaluation.hypotheses import Utterance
from asr.evaluation.transcripts import read_transcripts


def utterances(errors_in: float, number: int = 300, seed: int = 0) -> list[Utterance]:
    """References are the same for every `errors_in` and `seed`; the share of wrong words differs."""
    words, noise = random.Random(1), random.Random(f"{seed} {errors_in}")
    made = []
    for i in range(number):
        reference = [words.choice("ABCDEFGH") * words.randint(1, 4) for _ in range(8)]
        hypothesis = ["X" if noise.random() < errors_in else word for word in reference]
        pair = " ".join(reference), " ".join(hypothesis)
        made.append(Utterance(f"u{i:04d}", *pair, seconds=1.0 + i % 20, speaker=f"s{i % 3}"))
    return made


def write(path: Path, lines: list[Utterance]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for u in lines:
            record = {"id": u.id, "reference": u.reference, "hypothesis": u.hypothesis}
            record |= {"seconds": u.seconds, "speaker": u.speaker}
            stream.write(json.dumps(record) + "\n")
    return path


def system(path: Path, errors_in: float, number: int = 200, first: int = 0) -> Path:
    words, noise = random.Random(1), random.Random(errors_in)
    with path.open("w") as stream:
        for i in range(number):
            reference = [words.choice("ABCDEFGH") * words.randint(1, 4) for _ in range(8)]
            hypothesis = ["X" if noise.random() < errors_in else w for w in reference]
            record = {"id": f"u{i + first}", "reference": " ".join(reference), "seconds": 2.0}
            stream.write(json.dumps({**record, "hypothesis": " ".join(hypothesis)}) + "\n")
    return path


SAMPLE = Path(__file__).parents[2] / "shared/data/librispeech-sample/LibriSpeech"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def texts(path: Path, role: str = "reference", kind: str | None = None) -> dict[str, str]:
    found = read_transcripts(path, role, kind)  # type: ignore[arg-type]
    return {name: one.text for name, one in found.items()}


def cut(name: str, text: str) -> MonoCut:
    source = AudioSource("file", [0], f"{name}.wav")
    recording = Recording(name, [source], 16_000, 32_000, 2.0)
    supervision = SupervisionSegment(
        name, name, 0.0, 2.0, text=text, speaker="anna", language="German", custom={"age": 30}
    )
    return MonoCut(name, 0.0, 2.0, 0, supervisions=[supervision], recording=recording)
