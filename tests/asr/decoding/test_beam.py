"""Beam search against greedy and by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.__main__ import main
from asr.decoding.alignment import align_tokens
from asr.decoding.beam import BeamDecoder, BeamSettings
from asr.decoding.greedy import greedy
from asr.errors import UserError
from asr.model.tokenizer import CharacterTokenizer

pytest.importorskip("flashlight.lib.text")

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
    [[found, *_]] = BeamDecoder(TOKENIZER, BeamSettings())(logits_of(*frames), torch.tensor([11]))
    assert found.tokens == TOKENIZER.encode("ab c")
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


@pytest.mark.parametrize(
    "frames", [("a", "b"), ("a", "-", "b", "-", " ", "c"), ("c", " ", "a", "b")]
)
def test_a_lexicon_does_not_cost_the_last_word(tmp_path: Path, frames: tuple[str, ...]) -> None:
    """Audio that ends with its last word has no frame for the space that ends a word."""
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("ab\na\nc\n")
    decoder = BeamDecoder(TOKENIZER, BeamSettings(lexicon=lexicon, nbest=3))
    logits = logits_of(*frames, sure=9.0)
    [path] = greedy(logits, torch.tensor([len(frames)]))
    assert texts(decoder, logits)[0] == TOKENIZER.decode(path.tokens)
    [[best, *_]] = decoder(logits, torch.tensor([len(frames)]))
    assert len(align_tokens(logits[0], best.tokens, 0.04)) == len(best.tokens)


@pytest.mark.parametrize("with_lexicon", [False, True])
def test_each_text_comes_once_with_the_probability_of_all_its_paths(
    tmp_path: Path, with_lexicon: bool
) -> None:
    (tmp_path / "words.txt").write_text("ab\na\nb\n")
    lexicon = tmp_path / "words.txt" if with_lexicon else None
    decoder = BeamDecoder(TOKENIZER, BeamSettings(lexicon=lexicon, nbest=10))
    frames = ("- ", "- ", "a", "b", "- ", "- ", "- ")
    [found] = decoder(logits_of(*frames), torch.tensor([len(frames)]))
    spelt = [TOKENIZER.decode(hypothesis.tokens) for hypothesis in found]
    assert spelt[0] == "ab"
    assert len(set(spelt)) == len(spelt) > 1
    assert found[0].confidence > 0.8  # a sixth, when each path stood alone
    assert sum(hypothesis.confidence for hypothesis in found) <= 1 + 1e-6


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
    (tmp_path / "bytes.bin").write_bytes(bytes(range(256)) * 400)
    with pytest.raises(UserError, match=r"bytes\.bin: cannot be used \(no .1-grams"):
        BeamDecoder(TOKENIZER, BeamSettings(tmp_path / "bytes.bin"))
    monkeypatch.setitem(sys.modules, "torchaudio.models.decoder", None)
    with pytest.raises(UserError, match=r"pip install 'asr-ema\[beam\]'"):
        BeamDecoder(TOKENIZER, BeamSettings())


def arpa(path: Path, texts: list[str], unit: str) -> Path:
    from asr.data_prep.ngram import arpa_lines, estimate, units_of

    sentences = [units_of(text, unit) for text in texts]  # type: ignore[arg-type]
    path.write_text("".join(arpa_lines(estimate(sentences, 2))))
    return path


def test_a_language_model_of_other_tokens_is_refused(tmp_path: Path) -> None:
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("ab\nc\n")
    words = arpa(tmp_path / "words.arpa", ["a b c ab", "c"], "words")
    capitals = arpa(tmp_path / "capitals.arpa", ["AB C"], "characters")
    capital_words = arpa(tmp_path / "capital_words.arpa", ["AB C"], "words")
    with pytest.raises(UserError, match=r"words\.arpa knows 3 of the tokens \(3\), and not '\|'"):
        BeamDecoder(TOKENIZER, BeamSettings(words))
    with pytest.raises(UserError, match=r"knows 0 of the tokens .*; it has 'A' for 'a'; make one"):
        BeamDecoder(TOKENIZER, BeamSettings(capitals))
    with pytest.raises(UserError, match=r"knows 0 of the lexicon's words .* it has 'AB' for 'ab'"):
        BeamDecoder(TOKENIZER, BeamSettings(capital_words, lexicon))
    BeamDecoder(TOKENIZER, BeamSettings(words, lexicon))


@pytest.mark.parametrize("weight", ["nan", "-NaN", "inf"])
def test_a_language_model_with_a_weight_that_is_no_number_is_refused(
    tmp_path: Path, weight: str
) -> None:
    """By its line; a word of that name is one."""
    sound = arpa(tmp_path / "lm.arpa", ["ab c", "c a"], "characters").read_text().splitlines()
    pairs = sound.index("\\2-grams:") + 1
    for number, column in ((pairs - 3, 2), (pairs, 0)):
        lines = [line.split("\t") for line in sound]
        lines[number][column] = weight
        bad = tmp_path / "bad.arpa"
        bad.write_text("\n".join("\t".join(line) for line in lines) + "\n")
        with pytest.raises(
            UserError, match=rf"bad\.arpa.*line {number + 1}: {weight} is no weight"
        ):
            BeamDecoder(TOKENIZER, BeamSettings(bad))
    words = sound.index("\\2-grams:") - sound.index("\\1-grams:") - 2
    text = "\n".join([*sound[: pairs - 2], f"-3\t{weight}", *sound[pairs - 2 :]]) + "\n"
    text = text.replace(f"ngram 1={words}", f"ngram 1={words + 1}")
    (tmp_path / "word.arpa").write_text(text)
    BeamDecoder(TOKENIZER, BeamSettings(tmp_path / "word.arpa"))


@pytest.mark.parametrize("setting", ["lm_weight", "word_score", "beam_threshold"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_the_search_are_numbers(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{setting} {value} of the beam search is no finite"):
        BeamSettings(**{setting: value})  # type: ignore[arg-type]


def test_a_set_without_references_is_nothing_to_tune_on() -> None:
    """The setting that finds the fewest words would win."""
    from asr.decoding.tuning import tune

    dev = SimpleNamespace(name="dev", references=["", "  "])
    with pytest.raises(UserError, match="set 'dev' has no references to tune on"):
        tune(SimpleNamespace(), dev, BeamSettings())  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["--word-score", "--lm-weight"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_options_are_finite_numbers(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["decode", "run", "dev.jsonl.gz", "--decoder", "beam", f"{option}={value}"])
    assert f"argument {option}: {value} is no finite number" in capsys.readouterr().err


def test_a_search_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchaudio says it as a RuntimeError, which passed for a language model that cannot be used."""
    from torchaudio.models import decoder

    for name in [name for name in sys.modules if name.startswith("flashlight")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torchaudio.models.decoder._ctc_decoder", raising=False)
    for name in ("_ctc_decoder", "ctc_decoder"):
        monkeypatch.delattr(decoder, name, raising=False)
    with pytest.raises(UserError) as caught:
        BeamDecoder(TOKENIZER, BeamSettings())
    assert "asr-ema[beam]" in caught.value.remedy
