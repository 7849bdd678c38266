"""Audio of any length: windows against the whole, resampling in blocks, captions."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import jiwer
import numpy as np
import pytest
import soundfile
import torch
from conftest import LETTERS, SAMPLE_RATE_HZ, asr_command, tones
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.functional import resample

from asr.__main__ import main
from asr.config.schema import FeatureConfig
from asr.data.audio import read_audio, resampled
from asr.decoding import captions
from asr.decoding import long_form as long_audio
from asr.decoding.words import TimedToken, Transcription, Word, words_of
from asr.errors import UserError
from asr.evaluation.ctm import read_ctm
from asr.model.features import LogMel
from asr.model.model_folder import find_checkpoint, load_model
from asr.model.tokenizer import CharacterTokenizer


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]),
    st.integers(1, 60_000),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=4),
)
def test_resampling_in_blocks_is_resampling(rate: int, samples: int, cuts: list[int]) -> None:
    signal = torch.from_numpy(np.random.default_rng(samples).standard_normal(samples)).float()
    blocks, start, index = [], 0, 0
    while start < samples:
        size = cuts[index % len(cuts)] + 200
        blocks.append(signal[start : start + size])
        start, index = start + size, index + 1
    joined = torch.cat(list(resampled(blocks, rate, 16_000)))
    whole = resample(signal, rate, 16_000)
    assert joined.shape == whole.shape
    assert (joined - whole).abs().max() < 1e-4


class Nearby:
    """A model whose frame depends on the audio within a second of it, and on nothing else."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(
            features=SimpleNamespace(sample_rate_hz=16_000),
            model=SimpleNamespace(positions="rotary"),
        )
        self.frame_samples = 640
        self.log_mel = SimpleNamespace(hop_samples=160, survey=self.survey)
        self.longest = 0

    def survey(self, blocks: Iterable[torch.Tensor]) -> SimpleNamespace:
        return SimpleNamespace(samples=sum(map(len, blocks)))

    def logits(
        self, waveforms_BN: torch.Tensor, samples_B: torch.Tensor, recording: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.longest = max(self.longest, waveforms_BN.shape[1])
        lengths_B = samples_B // 640
        rows = []
        for waveform_N, frames in zip(waveforms_BN, lengths_B.tolist(), strict=True):
            frames_S = waveform_N[: 640 * frames].view(frames, 640).mean(1)
            context_S = torch.nn.functional.avg_pool1d(
                frames_S[None, None], 51, stride=1, padding=25, count_include_pad=False
            )[0, 0]
            rows.append(torch.stack([torch.zeros_like(context_S), 40 * context_S], dim=1))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths_B


@settings(max_examples=30, deadline=None)
@given(st.integers(640, 640 * 1000), st.integers(1_000, 200_000))
def test_windows_give_what_the_whole_gives(samples: int, block: int) -> None:
    signal = torch.from_numpy(np.random.default_rng(samples).standard_normal(samples)).float()
    model = Nearby()
    path = long_audio.greedy_path(model, lambda: signal.split(block), 10.0, 2.4)  # type: ignore[arg-type]
    assert model.longest <= 12.4 * 16_000
    whole = long_audio.greedy_path(Nearby(), lambda: [signal], 1e4, 2.4)  # type: ignore[arg-type]
    assert torch.equal(path.tokens, whole.tokens)
    assert torch.allclose(path.posteriors, whole.posteriors, atol=1e-5)
    assert path.seconds == pytest.approx(samples / 16_000)
    assert path.frame_seconds == 0.04


def test_a_window_must_be_long_beside_its_context() -> None:
    for window, context in ((8.0, 4.0), (30.0, 0.0), (30.0, -1.0), (float("inf"), 4.0)):
        with pytest.raises(UserError, match="at least four times as long"):
            long_audio.greedy_path(Nearby(), lambda: [torch.zeros(10)], window, context)  # type: ignore[arg-type]


def test_a_long_file_of_known_sentences_reads_as_in_one_piece(fluent: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = [
        " ".join("".join(random.choice(list(LETTERS), 3)) for _ in range(4)) for _ in range(100)
    ]
    waveform = np.concatenate([tones(f"{text} ", random) for text in texts])
    path = tmp_path / "long.flac"
    soundfile.write(path, np.stack([waveform, waveform], axis=1), SAMPLE_RATE_HZ)
    model = load_model(find_checkpoint(fluent), "student", torch.device("cpu"))
    signal = read_audio(path, SAMPLE_RATE_HZ)
    assert len(signal) > 3 * 60 * SAMPLE_RATE_HZ
    logits, lengths = model.logits(signal[None], torch.tensor([len(signal)]))
    whole = logits[0, : int(lengths[0])].argmax(-1)
    found = long_audio.greedy_path(model, lambda: signal.split(16_000), 20.0, 4.0)
    assert len(found.tokens) == len(whole)
    assert (found.tokens == whole).float().mean() > 0.999

    def words(tokens: torch.Tensor) -> list[str]:
        merged = torch.unique_consecutive(tokens)
        return model.tokenizer.decode(merged[merged != 0].tolist()).split()

    # The stated rare words: at most one in 200 differs, and none is lost or said twice at a seam.
    said = words(whole)
    assert len(words(found.tokens)) == len(said)
    different = sum(a != b for a, b in zip(words(found.tokens), said, strict=True))
    assert different <= len(said) / 200
    assert jiwer.wer(" ".join(texts), " ".join(said)) < 0.1


def test_absolute_positions_stay_those_of_training() -> None:
    model = Nearby()
    model.config.model.positions = "sinusoidal"
    model.config.corpus = SimpleNamespace(max_seconds=10.0)
    signal = torch.from_numpy(np.random.default_rng(5).standard_normal(50 * 16_000)).float()
    path = long_audio.greedy_path(model, lambda: [signal], 60.0, 8.0)  # type: ignore[arg-type]
    assert 8 * 16_000 <= model.longest <= 10 * 16_000
    whole = long_audio.greedy_path(Nearby(), lambda: [signal], 1e4, 2.4)  # type: ignore[arg-type]
    assert torch.equal(path.tokens, whole.tokens)


def test_an_utterance_is_transcribed_as_it_is_decoded(fluent: Path) -> None:
    model = load_model(find_checkpoint(fluent), "student", torch.device("cpu"))
    signal = torch.from_numpy(tones("abc def", np.random.default_rng(1))).float()
    logits, _ = model.logits(signal[None], torch.tensor([len(signal)]))
    found = long_audio.greedy_path(model, lambda: signal.split(1_000), 60.0, 8.0)
    assert torch.equal(found.tokens, logits[0].argmax(-1).int())
    assert torch.allclose(found.posteriors, logits[0].softmax(-1).amax(-1), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40_000), st.lists(st.integers(1, 9_000), min_size=1, max_size=4))
def test_a_survey_in_blocks_gives_the_statistics_of_the_whole(
    samples: int, sizes: list[int]
) -> None:
    log_mel = LogMel(FeatureConfig())
    signal = torch.from_numpy(np.random.default_rng(samples).standard_normal(samples)).float()
    blocks, start = [], 0
    for size in itertools.cycle(sizes):
        blocks.append(signal[start : start + size + 50])
        start += size + 50
        if start >= samples:
            break
    recording = log_mel.survey(blocks)
    count = torch.tensor([samples])
    expected, lengths = log_mel(signal[None], count)
    normalised, _ = log_mel(signal[None], count, recording)
    assert recording.samples == samples
    assert torch.allclose(normalised, expected, atol=1e-3) or lengths.item() < 2


def timed(text: str) -> list[TimedToken]:
    tokenizer = CharacterTokenizer("abc")
    return [TimedToken(t, 1 + i, 1.5 + i, 0.5) for i, t in enumerate(tokenizer.encode(text))]


def test_tokens_become_words_with_their_times() -> None:
    tokenizer = CharacterTokenizer("abc")
    words = words_of(timed("ab c"), tokenizer)
    assert words == [Word("ab", 1, 2.5, 0.5), Word("c", 4, 4.5, 0.5)]
    assert words_of([], tokenizer) == []
    space = tokenizer.encode("a a")[1]
    assert words_of([TimedToken(space, 0, 1, 1.0)], tokenizer) == []


def test_pieces_of_sentencepiece_begin_words() -> None:
    pieces = {1: " the", 2: "re", 3: " is", 4: " "}
    tokenizer = SimpleNamespace(piece=pieces.__getitem__)
    tokens = [TimedToken(t, t, t + 0.5, 1.0) for t in (1, 2, 3, 4)]
    assert [w.text for w in words_of(tokens, tokenizer)] == ["there", "is"]  # type: ignore[arg-type]


TALK = Transcription(
    "dir/my talk.wav",
    3700.0,
    [Word("a&b", 0.5, 0.9, 0.8), Word("<c>", 1.0, 1.25, 0.6), Word("d", 3661.0, 3661.5, 1.0)],
)


def test_captions_break_at_pauses_and_escape() -> None:
    assert captions.as_srt(TALK) == (
        "1\n00:00:00,500 --> 00:00:01,250\na&b <c>\n\n2\n01:01:01,000 --> 01:01:01,500\nd\n"
    )
    assert captions.as_vtt(TALK) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\na&amp;b &lt;c>\n\n"
        "01:01:01.000 --> 01:01:01.500\nd\n"
    )
    long = Transcription("x", 100.0, [Word("word", i, i + 0.9, 1.0) for i in range(40)])
    cues = captions.cues_of(long)
    assert all(end - begin <= 7 and len(text) <= 84 for begin, end, text in cues)
    assert " ".join(text for _, _, text in cues) == long.text


def test_ctm_is_what_score_reads(tmp_path: Path) -> None:
    path = tmp_path / "talk.ctm"
    path.write_text(captions.as_ctm(TALK))
    [(name, words)] = read_ctm(path).items()
    assert name == "my_talk-1"
    assert [w.text for w in words] == ["a&b", "<c>", "d"]


@pytest.mark.parametrize("kind", sorted(captions.FORMATS))
def test_the_command_writes_every_format(trained: Path, tmp_path: Path, kind: str) -> None:
    audio = tmp_path / "talk.wav"
    soundfile.write(audio, tones("abc def", np.random.default_rng(0)), SAMPLE_RATE_HZ)
    output = ["--format", kind, "--output-dir", str(tmp_path / "out")]
    assert main(["transcribe", str(trained), str(audio), *output]) == 0
    written = (tmp_path / "out" / f"talk.{kind}").read_text()
    if kind == "json":
        record = json.loads(written)
        assert record["text"] == " ".join(word["text"] for word in record["words"])
        assert all(0 <= w["begin"] < w["end"] <= record["seconds"] + 0.1 for w in record["words"])


def test_the_standard_input(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, tones("abc", np.random.default_rng(0)), 22_050, format="WAV")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stream.getvalue())))
    assert main(["transcribe", str(trained), "-"]) == 0
    assert capsys.readouterr().out.startswith("-\t")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert main(["transcribe", str(trained), "-"]) == 2
    assert "-: not readable as audio" in capsys.readouterr().err


def test_two_files_of_one_name_do_not_overwrite_each_other(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / "a/x.wav"), str(tmp_path / "b/x.flac")]
    assert main(["transcribe", str(trained), *files, "--output-dir", str(tmp_path)]) == 2
    assert "two files would be written to 'x'" in capsys.readouterr().err


@pytest.mark.slow
def test_an_hour_in_bounded_memory(fluent: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = [
        " ".join("".join(random.choice(list(LETTERS), 3)) for _ in range(4)) for _ in range(2100)
    ]
    waveform = np.concatenate([tones(f"{text} ", random) for text in texts])
    assert len(waveform) > 3600 * SAMPLE_RATE_HZ
    soundfile.write(tmp_path / "hour.wav", waveform, SAMPLE_RATE_HZ)
    script = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [*asr_command(), "transcribe", str(fluent), str(tmp_path / "hour.wav")]
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 2e9
    heard = done.stderr.partition("hour.wav\t")[2]
    assert jiwer.wer(" ".join(texts), heard.strip()) < 0.1
