"""What the campaign of spoilt files has found (tests/faults)."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from asr.__main__ import main


@pytest.mark.parametrize("kind", ["a pipe", "a link to itself"])
def test_a_recipe_that_is_no_file(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    assert main(["plan", str(path)]) == 2
    assert f"{path}: not readable as YAML" in capsys.readouterr().err


def test_a_pipe_in_place_of_latest(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    os.mkfifo(tmp_path / "latest")
    assert main(["decode", str(tmp_path), str(corpus / "dev.jsonl.gz")]) == 2
    assert "latest names no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["state.json", "tokenizer.json", "config.yaml"])
@pytest.mark.parametrize("command", ["decode", "train"])
def test_a_pipe_in_place_of_a_checkpoint_s_file(
    command: str,
    name: str,
    trained: Path,
    recipe: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Opening it would wait for ever."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    for checkpoint in run.glob("checkpoints/*"):
        (checkpoint / name).unlink()
        os.mkfifo(checkpoint / name)
    (run / "complete.json").unlink()
    words = {
        "decode": ["decode", str(run), str(corpus / "dev.jsonl.gz")],
        "train": ["train", str(recipe), f"output={run}", "trainer.total_hours=0.1"],
    }
    assert main(words[command]) == 2
    said = capsys.readouterr().err
    # A folder without state.json is no checkpoint.
    assert (str(run) if name == "state.json" else name) in said


@pytest.mark.parametrize("place", ["decode/dev/teacher.jsonl", "pseudo_labels/labels"])
def test_a_pipe_in_place_of_what_a_run_wrote(
    place: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    found = run / place
    if found.is_dir():
        found = next(found.iterdir())
        found.unlink()
    found.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(found)
    words = ["score", str(run)] if found.suffix == ".jsonl" else ["labels", "stats", str(run)]
    assert main(words) == 2
    assert f"{found}: not readable" in capsys.readouterr().err


def test_a_cut_that_lhotse_cannot_make(
    recipe: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(corpus / "dev.jsonl.gz", "rt", encoding="utf-8") as stream:
        cuts = [json.loads(line) for line in stream]
    cuts[0]["supervisions"][0]["durat"] = 1
    (tmp_path / "dev.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode())
    )
    for name in ("labelled", "untranscribed"):
        (tmp_path / f"{name}.jsonl.gz").write_bytes((corpus / f"{name}.jsonl.gz").read_bytes())
    assert main(["check", str(recipe), f"corpus.directory={tmp_path}"]) == 2
    said = capsys.readouterr()
    assert "dev.jsonl.gz" in said.out + said.err
    assert "u2-000" in said.out + said.err


@pytest.mark.parametrize("command", ["decode", "prepare"])
def test_a_pipe_in_place_of_a_manifest(
    command: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "dev.jsonl.gz"
    os.mkfifo(manifest)
    words = {
        "decode": ["decode", str(trained), str(manifest)],
        "prepare": [
            "prepare",
            "lm",
            "--cuts",
            str(manifest),
            "--output",
            str(tmp_path / "lm.arpa"),
        ],
    }
    assert main(words[command]) == 2
    assert f"{manifest}: is no regular file" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["trainer.total_hours", "optimizer.warmup_hours"])
def test_hours_without_end(setting: str, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They were infinite in seconds."""
    assert main(["plan", str(recipe), f"{setting}=1e308"]) == 2
    said = capsys.readouterr().err
    assert setting in said
    assert "less than or equal to" in said


def test_a_metric_that_is_a_list(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"step": [1], "batch": [1], "hours": 1.0},
        {"step": 2, "hours": 2.0, "wer": 1, "set": {}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["plan", str(recipe), "--run", str(tmp_path)]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
