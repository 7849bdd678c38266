"""Audio of any length: windows against the whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import jiwer
import numpy as np
import pytest
import soundfile
import torch
from conftest import (
    LETTERS,
    SAMPLE_RATE_HZ,
    asr_command,
    needs_beam_search,
    peak_memory,
    tones,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data.audio import read_audio
from asr.decoding import long_form as long_audio
from asr.decoding.transcribe import transcribe
from asr.errors import UserError
from asr.model.model_folder import find_checkpoint, load_model


class Nearby:
    """A model whose frame depends on the audio within a second of it, and on nothing else."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(
            features=SimpleNamespace(sample_rate_hz=16_000),
            model=SimpleNamespace(positions="rotary"),
        )
        self.frame_samples = 640
        self.front_end = SimpleNamespace(hop_samples=160, survey=self.survey)
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


@needs_beam_search
def test_a_search_reads_a_long_file_as_greedily_where_it_has_no_model(fluent: Path) -> None:
    from asr.decoding.beam import BeamDecoder, BeamSettings

    random = np.random.default_rng(4)
    texts = [
        " ".join("".join(random.choice(list(LETTERS), 3)) for _ in range(3)) for _ in range(25)
    ]
    signal = np.concatenate([tones(f"{text} ", random) for text in texts])
    model = load_model(find_checkpoint(fluent), "student", torch.device("cpu"))
    searched = BeamDecoder(model.tokenizer, BeamSettings(beam_size=5, tokens_per_frame=3))
    windows = (model, (signal, SAMPLE_RATE_HZ), 8.0, 2.0)
    found, greedy = transcribe(*windows, decoder=searched), transcribe(*windows)
    assert found.seconds == greedy.seconds > 30
    assert [word.text for word in found.words] == [word.text for word in greedy.words]
    for one, other in zip(found.words, greedy.words, strict=True):
        assert one.begin == pytest.approx(other.begin, abs=0.1)
        assert one.end == pytest.approx(other.end, abs=0.1)


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


@pytest.mark.slow
def test_an_hour_in_bounded_memory(fluent: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = [
        " ".join("".join(random.choice(list(LETTERS), 3)) for _ in range(4)) for _ in range(2100)
    ]
    waveform = np.concatenate([tones(f"{text} ", random) for text in texts])
    assert len(waveform) > 3600 * SAMPLE_RATE_HZ
    soundfile.write(tmp_path / "hour.wav", waveform, SAMPLE_RATE_HZ)
    command = [*asr_command(), "transcribe", str(fluent), str(tmp_path / "hour.wav")]
    peak_bytes, said = peak_memory(command)
    assert peak_bytes < 2e9
    text = said.partition("hour.wav\t")[2]
    assert jiwer.wer(" ".join(texts), text.strip()) < 0.1
