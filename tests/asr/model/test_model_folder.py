"""What a finished run leaves, what may continue it, and what uses its models."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import LETTERS, Train, asr_command, read_lines, tones

from asr.__main__ import main
from asr.errors import UserError
from asr.model.model_folder import find_checkpoint, load_model
from asr.scaling.rule import teacher_momentum

METRICS = {
    "step",
    "hours",
    "kappa",
    "learning_rate",
    "teacher_momentum",
    "loss",
    "loss_labelled",
    "loss_pseudo_labelled",
    "batch_seconds",
    "pseudo_labelled_share",
    "padding_share",
    "data_wait_share",
    "pseudo_labels_dropped",
}


def test_the_run_folder_is_self_contained(trained: Path) -> None:
    for name in ("config.yaml", "scaling.json", "environment.json", "train.log", "complete.json"):
        assert (trained / name).stat().st_size > 0, name
    assert any((trained / "tensorboard").iterdir())
    checkpoint = find_checkpoint(trained)
    for name in ("student.safetensors", "teacher.safetensors", "tokenizer.json", "config.yaml"):
        assert (checkpoint / name).exists(), name
    # The last two, and the best by dev WER.
    assert 2 <= len(list((trained / "checkpoints").iterdir())) <= 3


def test_metrics_keep_their_contract(trained: Path) -> None:
    lines = read_lines(trained / "metrics.jsonl")
    updates = [line for line in lines if "loss" in line]
    assert all(line.keys() >= METRICS for line in updates)
    assert [line["step"] for line in updates] == list(range(1, len(updates) + 1))
    assert updates[-1]["hours"] * 3600 == pytest.approx(sum(u["batch_seconds"] for u in updates))
    for line in updates:
        expected = teacher_momentum(line["batch_seconds"], half_life_hours=0.01)
        assert line["teacher_momentum"] == pytest.approx(expected)
    evaluations = [line for line in lines if "wer" in line]
    assert {line["model"] for line in evaluations} == {"student", "teacher"}
    assert all({"step", "hours", "set", "wer", "cer"} <= line.keys() for line in evaluations)
    assert updates[0]["pseudo_labelled_share"] == 0.0
    assert any(line["pseudo_labelled_share"] > 0 for line in updates), "never pseudo-labelled"
    assert updates[-1]["pseudo_label_cer"] is not None, "references were not used"


def test_a_finished_run_says_so(trained: Path, recipe: Path) -> None:
    command = [*asr_command(), "train", str(recipe), f"output={trained}"]
    before = (trained / "metrics.jsonl").read_bytes()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing left to train" in done.stdout
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_another_reference_is_refused_and_more_ranks_are_welcome(
    trained: Path, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "copy"
    shutil.copytree(trained, run)
    longer = [f"output={run}", "trainer.total_hours=0.06"]
    command = [*asr_command(), "train", str(recipe), *longer]
    refused = subprocess.run(
        [*command, "scaling.reference_batch_seconds=30"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "another 'scaling.reference_batch_seconds'" in refused.stderr
    assert "Traceback" not in refused.stderr
    command = [*asr_command(ranks=2), "train", str(recipe), *longer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ids = read_lines(run / "utterances.jsonl")
    assert [line["step"] for line in ids] == list(range(1, len(ids) + 1))


def test_a_fork_goes_on_from_another_run_with_its_curves(trained: Path, train: Train) -> None:
    checkpoint = find_checkpoint(trained)
    fork = train(
        "fork",
        f"fork_from={checkpoint}",
        "trainer.total_hours=0.06",
        "pseudo_label.start_hours=null",
    )
    inherited = read_lines(trained / "metrics.jsonl")
    lines = read_lines(fork / "metrics.jsonl")
    assert lines[: len(inherited)] == inherited
    added = [line for line in lines[len(inherited) :] if "loss" in line]
    assert added[0]["step"] == [line for line in inherited if "loss" in line][-1]["step"] + 1
    assert all(line["pseudo_labelled_share"] == 0 for line in added)


def test_a_diverging_run_stops_and_names_utterances(recipe: Path, tmp_path: Path) -> None:
    command = [*asr_command(), "train", str(recipe), f"output={tmp_path / 'diverged'}"]
    command += ["optimizer.learning_rate=1e30", "optimizer.max_gradient_norm=0"]
    command += ["optimizer.warmup_hours=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "NaN or infinite loss" in done.stderr
    assert "u0-" in done.stderr, "no utterance is named"
    assert "Traceback" not in done.stderr


def test_precomputed_features_train_too(corpus: Path, train: Train, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(corpus, data)
    sets = ["labelled", "untranscribed"]
    assert main(["prepare", "features", "--data", str(data), "--sets", *sets]) == 0
    plain = ["augmentation.speed_factors=[1.0]", "trainer.total_hours=0.02"]
    common = [f"corpus.directory={data}", *plain]
    computed = train("computed", *common)
    stored = train(
        "stored",
        *common,
        "features.source=precomputed",
        "corpus.labelled=[labelled.features]",
        "corpus.untranscribed=[untranscribed.features]",
    )
    a, b = (
        [u["loss"] for u in read_lines(run / "metrics.jsonl") if "loss" in u]
        for run in (computed, stored)
    )
    assert a == pytest.approx(b, rel=1e-4)


def test_loader_workers_change_nothing(train: Train) -> None:
    alone, helped = (
        train(f"workers{count}", f"trainer.loader_workers={count}", "trainer.total_hours=0.025")
        for count in (0, 2)
    )
    for name in ("utterances.jsonl",):
        assert (alone / name).read_bytes() == (helped / name).read_bytes()
    a, b = (read_lines(run / "metrics.jsonl") for run in (alone, helped))
    for line in [*a, *b]:
        line.pop("data_wait_share", None)
    assert a == b


def test_training_s_wer_is_the_decoder_s(trained: Path, corpus: Path, tmp_path: Path) -> None:
    for model in ("teacher", "student"):
        output = tmp_path / f"{model}.jsonl"
        manifest = str(corpus / "dev.jsonl.gz")
        assert (
            main(["decode", str(trained), manifest, "--model", model, "--output", str(output)]) == 0
        )
        from asr.evaluation.hypotheses import read_hypotheses
        from asr.evaluation.score import score

        lines = read_lines(trained / "metrics.jsonl")
        last = [line for line in lines if line.get("model") == model][-1]
        result = score(read_hypotheses(output))
        assert result.to_json()["wer"] == pytest.approx(last["wer"])
        assert result.to_json()["cer"] == pytest.approx(last["cer"])


def test_transcribe_takes_any_audio_and_survives_bad_files(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The folder alone must do: nothing of the run around it.
    folder = tmp_path / "model"
    shutil.copytree(find_checkpoint(trained), folder)
    (folder / "optimizer.safetensors").unlink()
    random = np.random.default_rng(0)
    mono = tones("abc def", random)
    stereo = np.stack([mono, mono], axis=1)
    good = []
    for name, rate in (("a.wav", 16_000), ("b.flac", 8_000), ("c.mp3", 44_100)):
        good.append(tmp_path / name)
        soundfile.write(good[-1], stereo, rate)
    broken = tmp_path / "broken.flac"
    broken.write_bytes(good[1].read_bytes()[:300])
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "empty.wav").touch()
    bad = [broken, tmp_path / "text.wav", tmp_path / "empty.wav", tmp_path / "missing.wav"]
    arguments = [str(path) for path in (good[0], *bad, *good[1:])]
    assert main(["transcribe", str(folder), *arguments]) == 2
    output, errors = capsys.readouterr()
    assert [line.split("\t")[0] for line in output.splitlines()] == [str(path) for path in good]
    for path in bad:
        assert any(str(path) in line for line in errors.splitlines()), path
    assert main(["transcribe", str(folder), str(good[0]), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["seconds"] == pytest.approx(len(mono) / 16_000)
    assert set(record["text"]) <= set(LETTERS + " ")


def test_decoding_does_not_depend_on_the_batch(trained: Path) -> None:
    model = load_model(find_checkpoint(trained), "teacher", torch.device("cpu"))
    random = np.random.default_rng(1)
    pieces = [torch.from_numpy(tones(text, random)) for text in ("abc", "hgf edc ba", "a")]
    lengths = torch.tensor([len(piece) for piece in pieces])
    batch = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    together, frames = model.logits(batch, lengths)
    for index, piece in enumerate(pieces):
        alone, [count] = model.logits(piece[None], lengths[index : index + 1])
        assert count == frames[index]
        assert (together[index, :count] - alone[0]).abs().max() < 1e-4


def test_what_is_no_model_folder_is_named(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        find_checkpoint(tmp_path)
    folder = tmp_path / "damaged"
    shutil.copytree(find_checkpoint(trained), folder)
    (folder / "teacher.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="not this model's weights"):
        load_model(folder, "teacher")


def test_a_missing_set_lists_those_there_are(recipe: Path, tmp_path: Path) -> None:
    command = [*asr_command(), "train", str(recipe), f"output={tmp_path}", "corpus.dev=[devv]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "devv.jsonl.gz" in done.stderr
    assert "dev, labelled, untranscribed" in done.stderr


def test_another_tokenizer_is_not_decoded_with(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoint"
    shutil.copytree(find_checkpoint(trained), copy)
    assert load_model(copy, "teacher").tokenizer.decode([2]) == LETTERS[0]
    other = {"kind": "characters", "characters": LETTERS[::-1]}
    (copy / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="not the one that the model was trained with"):
        load_model(copy, "teacher")
    (copy / "state.json").unlink()  # weights alone: nobody can tell
    assert load_model(copy, "teacher").tokenizer.decode([2]) == LETTERS[-1]
