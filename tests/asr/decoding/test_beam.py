"""Beam search against greedy and by hand; forced alignment; decoding from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LETTERS, read_lines
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.__main__ import main
from asr.data.dataset import SpeechSet
from asr.decoding.alignment import align_tokens
from asr.decoding.decode_dataset import decode_set
from asr.decoding.greedy import greedy, greedy_only
from asr.errors import UserError
from asr.model.ctc import ctc_losses, shortest_feasible
from asr.model.model_folder import find_checkpoint, load_average, load_model
from asr.model.tokenizer import CharacterTokenizer

pytest.importorskip("flashlight.lib.text")
from asr.decoding.beam import BeamDecoder, BeamSettings

TOKENIZER = CharacterTokenizer("abc")


def logits_of(*frames: str, sure: float = 4.0) -> Tensor:
    """Logits (1, S, 5) that prefer one token a frame, or are torn between two; '-' is the blank."""
    names = "- abc"
    logits = torch.zeros(1, len(frames), len(names))
    for frame, wanted in enumerate(frames):
        for name in wanted:
            logits[0, frame, names.index(name)] = sure
    return logits


def texts(decoder: BeamDecoder, logits_1SV: Tensor) -> list[str]:
    [hypotheses] = decoder(logits_1SV, torch.tensor([logits_1SV.shape[1]]))
    return [TOKENIZER.decode(h.tokens) for h in hypotheses]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_without_a_model_the_best_path_is_the_greedy_one(seed: int, frames: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (2, frames, 5))).float()
    lengths = torch.tensor([frames, max(1, frames // 2)])
    decoder = BeamDecoder(TOKENIZER, BeamSettings(beam_size=50))
    found = [TOKENIZER.decode(h[0].tokens) for h in decoder(logits, lengths)]
    assert found == [TOKENIZER.decode(h.tokens) for h in greedy(logits, lengths)]


@pytest.fixture
def character_model(tmp_path: Path) -> Path:
    from asr.data_prep.ngram import arpa_lines, estimate, units_of

    sentences = [units_of(text, "characters") for text in ["ab ab c", "ab c", "ab"]]
    path = tmp_path / "lm.arpa"
    path.write_text("".join(arpa_lines(estimate(sentences, 3))))
    return path


def test_labels_have_the_spaces_of_transcripts(character_model: Path) -> None:
    decoder = BeamDecoder(TOKENIZER, BeamSettings(character_model, word_score=2.0, nbest=5))
    frames = ("-", " ", "a", "b", "-", " ", "-", " ", "c", " ", "-")
    [hypotheses] = decoder(logits_of(*frames), torch.tensor([len(frames)]))
    for hypothesis in hypotheses:
        assert hypothesis.tokens == TOKENIZER.encode(TOKENIZER.decode(hypothesis.tokens))
    [[heard, *_]] = BeamDecoder(TOKENIZER, BeamSettings())(logits_of(*frames), torch.tensor([11]))
    assert heard.tokens == TOKENIZER.encode("ab c")
    [[nothing]] = BeamDecoder(TOKENIZER, BeamSettings())(logits_of("-", "-"), torch.tensor([2]))
    assert nothing.tokens == []
    # As many frames as letters: nothing is added that forced alignment could not place.
    tight = logits_of("a", "b", "c")
    [[spelt]] = BeamDecoder(TOKENIZER, BeamSettings())(tight, torch.tensor([3]))
    assert len(align_tokens(tight[0], spelt.tokens, 0.04)) == 3


def test_a_language_model_decides_where_the_sound_does_not(character_model: Path) -> None:
    torn = logits_of("a", "-", "bc", "-", " ", "c")
    torn[0, 2, 4] += 0.1  # the sound prefers "ac" a little
    assert texts(BeamDecoder(TOKENIZER, BeamSettings()), torn) == ["ac c"]
    settings = BeamSettings(character_model, lm_weight=2.0)
    assert texts(BeamDecoder(TOKENIZER, settings), torn) == ["ab c"]


def test_a_lexicon_lets_only_its_words_out(tmp_path: Path) -> None:
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("ab\nc\n")
    decoder = BeamDecoder(TOKENIZER, BeamSettings(lexicon=lexicon))
    assert texts(decoder, logits_of("a", "ac", "-", " ", "c", " ")) == ["ab c"]
    lexicon.write_text("xy\n")
    with pytest.raises(UserError, match="character 'x' is not among"):
        BeamDecoder(TOKENIZER, BeamSettings(lexicon=lexicon))
    lexicon.write_text("\n")
    with pytest.raises(UserError, match="holds no word"):
        BeamDecoder(TOKENIZER, BeamSettings(lexicon=lexicon))


def test_the_best_ones_come_first_and_share_one() -> None:
    decoder = BeamDecoder(TOKENIZER, BeamSettings(nbest=5))
    [found] = decoder(logits_of("a", "bc", "-", sure=2.0), torch.tensor([3]))
    assert len(found) == 5
    confidences = [h.confidence for h in found]
    assert confidences == sorted(confidences, reverse=True)
    assert 0.5 < sum(confidences) <= 1.0 + 1e-6  # of the ten best
    assert {TOKENIZER.decode(h.tokens) for h in found[:2]} == {"ab", "ac"}


def test_what_cannot_be_used_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file"):
        BeamDecoder(TOKENIZER, BeamSettings(tmp_path / "no.arpa"))
    (tmp_path / "bad.arpa").write_text("this is no language model\n")
    with pytest.raises(UserError, match="cannot be used"):
        BeamDecoder(TOKENIZER, BeamSettings(tmp_path / "bad.arpa"))
    monkeypatch.setitem(sys.modules, "torchaudio.models.decoder", None)
    with pytest.raises(UserError, match=r"pip install 'asr-ema\[beam\]'"):
        BeamDecoder(TOKENIZER, BeamSettings())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.lists(st.integers(1, 4), max_size=6))
def test_an_alignment_spells_its_tokens(seed: int, frames: int, tokens: list[int]) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (frames, 5))).float()
    if shortest_feasible(tokens) > frames:
        with pytest.raises(UserError, match="longer than the audio"):
            align_tokens(logits, tokens, 0.04)
        return
    found = align_tokens(logits, tokens, 0.04)
    assert [token.token for token in found] == tokens
    edges = [time for token in found for time in (token.begin, token.end)]
    assert edges == sorted(edges)
    assert all(0 < token.confidence <= 1 for token in found)
    if not tokens:
        return
    # The path is one of those whose probabilities CTC sums.
    path = -float(ctc_losses(logits[None], torch.tensor([frames]), [tokens])[0])
    log_posteriors, at = logits.log_softmax(-1), [0] * frames
    for token in found:
        for frame in range(round(token.begin / 0.04), round(token.end / 0.04)):
            at[frame] = token.token
    assert sum(float(log_posteriors[f, t]) for f, t in enumerate(at)) <= path + 1e-4


def test_decoding_is_the_same_for_any_batch(trained: Path, corpus: Path) -> None:
    model = load_model(find_checkpoint(trained), "teacher", torch.device("cpu"))
    speech = SpeechSet.load(corpus / "dev.jsonl.gz")
    beam = BeamDecoder(model.tokenizer, BeamSettings())
    for decoder in (greedy_only, beam):
        found = [
            {r["id"]: r["hypothesis"] for r in decode_set(model, speech, decoder, seconds)}
            for seconds in (0.1, 4.0, 500.0)
        ]
        assert found[0] == found[1] == found[2]


def test_the_command_tunes_and_stamps(trained: Path, corpus: Path, tmp_path: Path) -> None:
    lm, output = tmp_path / "lm.arpa", tmp_path / "out.jsonl"
    cuts = str(corpus / "labelled.jsonl.gz")
    assert main(["prepare", "lm", "--cuts", cuts, "--output", str(lm), "--order", "3"]) == 0
    dev = str(corpus / "dev.jsonl.gz")
    command = [
        "decode",
        str(trained),
        dev,
        "--output",
        str(output),
        "--nbest",
        "3",
        "--token-times",
    ]
    command += ["--decoder", "beam", "--lm", str(lm), "--beam-size", "20"]
    assert main([*command, "--tune", dev]) == 0
    stamp = json.loads(output.with_suffix(".stamp.json").read_text())
    assert len(stamp["language_model_sha256"]) == 64
    grid = json.loads(output.with_suffix(".tuning.json").read_text())["grid"]
    [chosen] = [
        (g["wer"], g["cer"])
        for g in grid
        if (g["lm_weight"], g["word_score"]) == (stamp["lm_weight"], stamp["word_score"])
    ]
    assert chosen == min((g["wer"], g["cer"]) for g in grid)
    for record in read_lines(output):
        assert record["nbest"][0]["text"] == record["hypothesis"]
        assert " ".join(word["text"] for word in record["words"]) == record["hypothesis"]
        spelt = "".join(token["token"] for token in record["tokens"])
        assert " ".join(spelt.split()) == record["hypothesis"]
        times = [t for token in record["tokens"] for t in (token["begin"], token["end"])]
        assert times == sorted(times)
        assert set(record["hypothesis"]) <= set(LETTERS + " ")


def test_options_of_the_beam_need_the_beam(trained: Path, corpus: Path) -> None:
    dev = str(corpus / "dev.jsonl.gz")
    assert main(["decode", str(trained), dev, "--lm", "x.arpa"]) == 2
    assert main(["decode", str(trained), dev, "--nbest", "0"]) == 2


def test_an_average_of_checkpoints_by_name(trained: Path, corpus: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoints = sorted((trained / "checkpoints").iterdir())
    count = len(checkpoints)
    model = load_average(trained, "student", count, torch.device("cpu"))
    weights = [load_file(c / "student.safetensors") for c in checkpoints]
    for name, parameter in model.network.named_weights():
        mean = torch.stack([w[name] for w in weights]).mean(dim=0)
        assert torch.allclose(parameter, mean, atol=1e-6)
    output = tmp_path / "out.jsonl"
    command = ["decode", str(trained), str(corpus / "dev.jsonl.gz"), "--output", str(output)]
    assert main([*command, "--model", "student", "--average", "2"]) == 0
    stamp = json.loads(output.with_suffix(".stamp.json").read_text())
    assert stamp["average_of"] == [str(path) for path in checkpoints[-2:]]
    assert main([*command, "--average", str(count + 1)]) == 2
