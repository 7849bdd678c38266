"""`asr export --to onnx`: what onnxruntime and sherpa-onnx read is what `asr transcribe` does.

On a run and a prepared set of one's own: ASR_TEST_RUN and ASR_TEST_SET, which the repository does not have.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import asr_command, read_lines

import asr
from asr.__main__ import main
from asr.data.dataset import SpeechSet
from asr.data.reading import Readable
from asr.export.folders import ABOUT, published

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

RUN, SET = (Path(os.environ.get(f"ASR_TEST_{name}", "/none")) for name in ("RUN", "SET"))


@pytest.fixture(scope="module")
def exported(fluent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a process of its own, from another folder: nothing but the run is there."""
    folder = tmp_path_factory.mktemp("exported") / "Модель 1"
    command = [*asr_command(), "export", str(fluent), "--to", "onnx", "--output", str(folder)]
    command += ["--int8", "--licence", "cc-by-4.0"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def utterances(corpus: Path) -> list[np.ndarray]:
    files = sorted((corpus.parent / "audio/dev").glob("*.wav"))
    return [soundfile.read(file, dtype="float32")[0] for file in files]


def padded(waves: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(wave) for wave in waves])
    found = np.zeros((len(waves), max(lengths)), np.float32)
    for row, wave in zip(found, waves, strict=True):
        row[: len(wave)] = wave
    return found, lengths


def text_of(tokens_file: Path, path: np.ndarray) -> str:
    """Greedy CTC by the file of tokens alone."""
    names = dict(reversed(line.split(" ")) for line in tokens_file.read_text("utf-8").splitlines())
    kept = [t for t, before in zip(path, [-1, *path], strict=False) if t != before and t != 0]
    return " ".join("".join(names[str(t)] for t in kept).replace("▁", " ").split())


def test_texts_are_those_of_asr_transcribe(fluent: Path, exported: Path, corpus: Path) -> None:
    model = asr.load_model(fluent, device="cpu")
    waves = utterances(corpus)
    expected = [asr.transcribe(model, (wave, 16_000)).text for wave in waves]
    assert any(expected)
    session = onnxruntime.InferenceSession(exported / "waveform.onnx")
    waveforms, samples = padded(waves)
    log_probs, frames = session.run(None, {"waveforms": waveforms, "samples": samples})
    best = log_probs.argmax(-1)
    found = [
        text_of(exported / "tokens.txt", path[:count])
        for path, count in zip(best, frames, strict=True)
    ]
    assert found == expected
    # Who does not look at the lengths reads the same: beyond an utterance's end there are blanks.
    assert [text_of(exported / "tokens.txt", path) for path in best] == expected
    assert np.allclose(np.exp(log_probs).sum(-1), 1.0, atol=1e-4)


def test_features_outside_give_the_same_within_a_ten_thousandth(
    fluent: Path, exported: Path, corpus: Path
) -> None:
    model = asr.load_model(fluent, device="cpu")
    waveforms, samples = map(torch.from_numpy, padded(utterances(corpus)[:3]))
    features, lengths = model.front_end(waveforms, samples)
    logits, frames = model.logits(waveforms, samples)
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    found, count = session.run(None, {"features": features.numpy(), "lengths": lengths.numpy()})
    assert count.tolist() == frames.tolist()
    for row, expected, end in zip(found, logits.log_softmax(-1), count, strict=True):
        assert np.abs(row[:end] - expected[:end].numpy()).max() < 1e-4
    about = session.get_modelmeta().custom_metadata_map
    assert about["sample_rate"] == "16000"
    assert about["subsampling_factor"] == str(model.network.encoder.stride)
    assert about["weights_sha256"] == model.weights_sha256


def test_the_shortest_waveforms_are_heard(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "waveform.onnx")
    for count in (1, 100, 511, 512, 513):
        given = {"waveforms": np.ones((1, count), np.float32), "samples": np.array([count])}
        log_probs, frames = session.run(None, given)
        assert frames[0] == (1 if count >= 512 else 0)
        assert np.isfinite(log_probs).all()


def test_eight_bits_are_smaller_and_their_wer_is_said(exported: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in exported.iterdir()}
    assert sizes["weights.int8.bin"] < 0.6 * sizes["weights.bin"]
    checks = json.loads((exported / "export.json").read_text("utf-8"))["checks"]
    assert checks["speech"] == "8 utterances of 'dev'"
    assert checks["model_difference"] < 1e-4
    for name in ("wer_fp32", "wer_int8"):
        assert checks[name]["utterances"] == 8
        assert 0.0 <= checks[name]["wer_low"] <= checks[name]["wer"] <= checks[name]["wer_high"]
    session = onnxruntime.InferenceSession(exported / "waveform.int8.onnx")
    given = {"waveforms": np.ones((1, 8000), np.float32), "samples": np.array([8000])}
    assert np.isfinite(session.run(None, given)[0]).all()


def test_the_wer_of_the_graph_is_that_of_the_run(fluent: Path, exported: Path) -> None:
    checks = json.loads((exported / "export.json").read_text("utf-8"))["checks"]
    last = [one for one in read_lines(fluent / "metrics.jsonl") if one.get("model") == "teacher"]
    assert checks["wer_fp32"]["wer"] == pytest.approx(last[-1]["wer"])


def test_the_card_says_what_is_known(exported: Path) -> None:
    card = (exported / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    for part in (
        "| Transcribed speech | labelled |",
        "| Kappa | 1 ",
        "0.01 hours of audio",
        "sherpa_onnx",
    ):
        assert part in card, part
    assert "| dev |" in card


def read_by(recogniser: Any, wave: np.ndarray) -> tuple[str, list[float]]:
    """Text and times."""
    stream = recogniser.create_stream()
    stream.accept_waveform(16_000, wave)
    recogniser.decode_stream(stream)
    return " ".join(stream.result.text.split()), stream.result.timestamps


def ctc(graph: Path) -> Any:
    """sherpa-onnx's recogniser of CTC models that take waveforms."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    return sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        str(graph), str(graph.with_name("tokens.txt"))
    )


def moonshine(exported: Path, end: str = "") -> Any:
    """sherpa-onnx's recogniser of Moonshine models, with the files of an exported one."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    parts = ("preprocessor", f"encoder{end}", "decoder", "decoder")
    files = [str(exported / f"moonshine_{part}.onnx") for part in parts]
    return sherpa_onnx.OfflineRecognizer.from_moonshine(
        *files, str(exported / "moonshine_tokens.txt")
    )


def test_sherpa_onnx_reads_the_same(fluent: Path, exported: Path, corpus: Path) -> None:
    model, recogniser = asr.load_model(fluent, device="cpu"), moonshine(exported)
    texts = set()
    for wave in utterances(corpus):
        for given in (wave, wave + np.float32(0.02), wave[:300]):
            expected = asr.transcribe(model, (given, 16_000)).text
            assert read_by(recogniser, given)[0] == expected
            texts.add(expected)
    assert len(texts) > 4
    assert read_by(moonshine(exported, ".int8"), utterances(corpus)[0])[0]


def test_sherpa_onnx_reads_the_same_with_times(fluent: Path, exported: Path, corpus: Path) -> None:
    model = asr.load_model(fluent, device="cpu")
    for name in ("sherpa.onnx", "sherpa.int8.onnx"):
        recogniser = ctc(exported / name)
        for wave in utterances(corpus):
            wave = wave - wave.mean()  # which it takes off, and the model hears
            text, times = read_by(recogniser, wave)
            if "int8" not in name:
                assert text == asr.transcribe(model, (wave, 16_000)).text
            assert all(time <= len(wave) / 16_000 for time in times)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    ["whisper", "wav2vec2", "hubert", "wavlm", "wav2vec2-bert", "parakeet"],
)
def test_pretrained_families_are_read_the_same(family: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from pretrained_helpers import pretrained_checkpoint, speech

    checkpoint, exported = pretrained_checkpoint(tmp_path, family), tmp_path / "exported"
    assert main(["export", str(checkpoint), "--to", "onnx", "--output", str(exported)]) == 0
    model, recogniser = asr.load_model(checkpoint, device="cpu"), moonshine(exported)
    for seed, samples in enumerate((9_000, 20_000, 48_123)):
        wave = speech(samples, seed) + np.float32(0.01 * seed)
        expected = asr.transcribe(model, (wave, 16_000)).text
        assert expected
        assert read_by(recogniser, wave)[0] == expected


@pytest.mark.slow
@pytest.mark.skipif(not RUN.is_dir() or not SET.is_file(), reason="no run, or no set")
def test_a_whole_set_is_read_the_same(tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    command = ["export", str(RUN), "--to", "onnx", "--output", str(exported), "--dev", str(SET)]
    assert main(command) == 0
    model = asr.load_model(RUN, device="cpu")
    session = onnxruntime.InferenceSession(exported / "waveform.onnx")
    with_times, exact = ctc(exported / "sherpa.onnx"), moonshine(exported)
    speech = SpeechSet.load(SET).at_rate(16_000).within(0.0, model.config.corpus.max_seconds)
    others = {"onnxruntime": 0, "sherpa-onnx": 0, "sherpa-onnx with times": 0}
    for place in range(len(speech)):
        wave = Readable.of(speech.cuts, [place]).waveforms_BN[0].numpy()
        expected = asr.transcribe(model, (wave, 16_000)).text
        given = {"waveforms": wave[None], "samples": np.array([len(wave)])}
        log_probs, frames = session.run(None, given)
        path = log_probs[0, : frames[0]].argmax(-1)
        others["onnxruntime"] += text_of(exported / "tokens.txt", path) != expected
        others["sherpa-onnx"] += read_by(exact, wave)[0] != expected
        others["sherpa-onnx with times"] += read_by(with_times, wave)[0] != expected
    print(f"of {len(speech)} texts differ:", others)
    assert others["onnxruntime"] == others["sherpa-onnx"] == 0


def test_a_folder_is_not_written_over(
    fluent: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(fluent), "--to", "onnx", "--output"]
    assert main([*command, str(exported)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "mine").write_text("dear to me")
    assert main([*command, str(tmp_path), "--overwrite"]) == 2
    assert "did not write it" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "dear to me"


def test_a_fault_leaves_nothing(
    fluent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    command = ["export", str(fluent), "--to", "onnx", "--output", str(target)]
    assert main([*command, "--dev", str(tmp_path / "none.jsonl.gz")]) == 2
    assert "none.jsonl.gz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    target, before = tmp_path / "out", tmp_path / ".out.before"
    before.mkdir()
    (before / ABOUT).write_text("{}")
    with pytest.raises(RuntimeError), published(target, overwrite=True):
        raise RuntimeError("of what follows")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (target / ABOUT).exists()
