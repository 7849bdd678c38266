"""`asr prepare align` by real models: of ours, an encoder-decoder's head, of Hugging Face; and others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import SAMPLE_RATE_HZ, tones
from ctc_helpers import write_ctc
from data_prep_helpers import cuts_of
from rapidfuzz.distance import Levenshtein
from whisper_helpers import write_checkpoint, write_whisper

from asr.data_prep import cli
from asr.data_prep.alignment.alphabet import Alphabet
from asr.errors import UserError
from asr.model.frame_readers.reader import load_frame_reader

CPU = torch.device("cpu")


def test_a_run_of_ours_aligns_what_it_can_read(fluent: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    sentences = [
        " ".join("".join(random.choice(list("abcdefgh"), 3)) for _ in range(4)) for _ in range(40)
    ]
    pieces, begins, at = list[np.ndarray](), list[float](), 0.0
    for sentence in sentences:
        begins.append(at)
        pieces += [tones(sentence, random), tones("    ", random)]
        at += sum(map(len, pieces[-2:])) / SAMPLE_RATE_HZ
    root, output = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    soundfile.write(root / "talk.flac", np.concatenate(pieces), SAMPLE_RATE_HZ)
    captions = [
        f"{n}\n00:{n:02d}:{(7 * n) % 60:02d},000 --> 00:00:00,000\n{sentence.upper()}.\n"
        for n, sentence in enumerate(sentences)
        if n not in (10, 11, 12)
    ]
    (root / "talk.srt").write_text("\n".join(captions))
    command = ["align", "--root", str(root), "--output", str(output), "--model", str(fluent)]
    assert cli.main([*command, "--vad", "energy", "--jobs", "1", "--normaliser", "lower"]) == 0
    cuts = cuts_of(output, "labelled")
    errors = total = 0
    for cut in cuts:
        said = " ".join(
            sentence
            for begin, sentence in zip(begins, sentences, strict=True)
            if cut.start - 0.5 < begin < cut.end - 0.5
        ).split()
        text = cut.supervisions[0].text.replace(".", "").split()
        errors += Levenshtein.distance(said, text)
        total += len(said)
    assert total > 0.5 * 4 * len(sentences)
    assert errors < 0.05 * total
    assert not [cut for cut in cuts if begins[10] < cut.start + cut.duration / 2 < begins[13]]


def test_an_encoder_decoder_is_read_by_its_ctc_head_alone(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    write_whisper(tmp_path / "whisper")
    with_head = write_checkpoint(tmp_path / "head", tmp_path / "whisper", ctc_weight=0.3)
    reader = load_frame_reader(str(with_head), "teacher", CPU)
    waveform_N = 0.1 * torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    logits_SV = reader.logits(waveform_N)
    assert logits_SV.shape == (32_000 // reader.frame_samples, reader.vocabulary_size)
    alphabet = Alphabet(reader)
    assert alphabet.spelt("Naïve,") == alphabet.spelt("naïve")
    assert alphabet.spelt("—") == []
    posteriors_S = alphabet.folded(logits_SV).exp().sum(dim=-1)
    torch.testing.assert_close(posteriors_S, torch.ones_like(posteriors_S), atol=1e-4, rtol=0)
    without = write_checkpoint(tmp_path / "plain", tmp_path / "whisper")
    with pytest.raises(UserError, match="an encoder-decoder without a CTC head"):
        load_frame_reader(str(without), "teacher", CPU)
    with pytest.raises(UserError, match="a whisper, which has no logits of frames"):
        load_frame_reader(str(tmp_path / "whisper"), "teacher", CPU)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no model in it"):
        load_frame_reader(str(tmp_path / "nothing"), "teacher", CPU)


def test_a_model_of_hugging_face_is_read_in_its_own_frames(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    write_ctc(tmp_path)
    reader = load_frame_reader(str(tmp_path), "teacher", CPU)
    assert reader.frame_samples == 160
    assert reader.letters(0) == "", "the blank is the first one here"
    alphabet = Alphabet(reader)
    assert alphabet.letters == ["", "a", "b", "c", "d"]
    assert alphabet.spelt("Bad!") == [2, 1, 4]
    assert alphabet.spelt("bed") is None
    logits_SV = reader.logits(0.1 * torch.randn(16_000))
    assert logits_SV.shape[1] == reader.vocabulary_size == 9
    assert abs(len(logits_SV) - 100) <= 2
