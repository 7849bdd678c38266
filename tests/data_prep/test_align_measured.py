"""How right `asr prepare align` is on speech, by a CTC model that recipes/amazon_queen has trained.

That model has heard nothing of it. The recording is of utterances of the LibriSpeech sample with pauses, music
and noise between; where each word is said is by aligning the true text of each utterance, with the same model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from data_prep_helpers import cuts_of
from joined_recordings import RATE_HZ, music, noise
from rapidfuzz.distance import Levenshtein
from spoken_tones import roughened

from asr.data_prep import cli
from asr.data_prep.alignment.alphabet import Alphabet
from asr.data_prep.alignment.anchors import Anchors
from asr.data_prep.alignment.forced import align
from asr.data_prep.alignment.frames import read_frames
from asr.model.frame_readers.reader import load_frame_reader

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT.parent / "shared" / "data" / "librispeech-sample" / "LibriSpeech"
MODEL = ROOT / "exp/amazon_queen/ctc_labels"


def joined(seconds: float) -> tuple[np.ndarray, list[tuple[float, Path, str]]]:
    """A recording, and of each utterance in it its begin, file and text."""
    random = np.random.default_rng(3)
    texts = {
        name: (table.parent / f"{name}.flac", text)
        for table in sorted(SAMPLE.glob("train-clean-100/*/*/*.trans.txt"))
        for name, _, text in (line.partition(" ") for line in table.read_text().splitlines())
    }
    chosen = [texts[name] for name in random.permutation(sorted(texts)).tolist()]
    parts, said, at = list[np.ndarray](), list[tuple[float, Path, str]](), 0
    for path, text in chosen:
        if not path.is_file():
            continue
        length = random.uniform(0.7, 6)
        between = [np.zeros(int(length * RATE_HZ)), music(length, random), noise(length, random)]
        said.append((at / RATE_HZ, path, text))
        speech = soundfile.read(path, dtype="float32")[0]
        pause = between[random.choice(3, p=(0.6, 0.2, 0.2))].astype(np.float32)
        parts += [speech, pause]
        at += len(speech) + len(pause)
        if at > seconds * RATE_HZ:
            break
    return np.concatenate(parts), said


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason="needs the LibriSpeech sample")
@pytest.mark.skipif(not MODEL.is_dir(), reason="recipes/amazon_queen/run.sh trains the model")
def test_labelled_pieces_of_a_rough_transcript_are_right(tmp_path: Path) -> None:
    audio_N, said = joined(1200)
    root, output = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    soundfile.write(root / "talk.flac", audio_N, RATE_HZ)
    rough, _ = roughened([word for _, _, text in said for word in text.split()], seed=1)
    (root / "talk.txt").write_text(" ".join(rough))
    command = ["align", "--root", str(root), "--output", str(output), "--model", str(MODEL)]
    assert cli.main([*command, "--vad", "energy", "--jobs", "1"]) == 0
    alphabet = Alphabet(load_frame_reader(str(MODEL), "teacher", torch.device("cpu")))
    truth = list[tuple[str, float, float]]()
    for begin, path, text in said:
        words = text.split()
        frames = read_frames(path, alphabet, tmp_path, lambda seconds: None)
        no_anchors = Anchors([], np.zeros(len(words), np.bool_), 1.0, False)
        second = frames.frame_seconds
        truth += [
            (words[one.word], begin + one.begin * second, begin + one.end * second)
            for one in align(frames, list(map(alphabet.spelt, words)), no_anchors).words
        ]
    errors = total = 0
    offsets = list[float]()
    for cut in cuts_of(output, "labelled"):
        inside = [one for one in truth if cut.start <= (one[1] + one[2]) / 2 <= cut.end]
        text = cut.supervisions[0].text.split()
        errors += Levenshtein.distance([word for word, _, _ in inside], text)
        total += len(inside)
        offsets += [cut.start - inside[0][1], cut.end - inside[-1][2]]
    print(
        f"{total} of {len(truth)} words, {errors} errors, edges {np.median(np.abs(offsets)):.3f} s"
    )
    assert total > 0.4 * len(truth)
    assert errors < 0.02 * total
    assert np.median(np.abs(offsets)) < 0.3
