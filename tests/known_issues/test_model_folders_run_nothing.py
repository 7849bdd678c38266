"""A model's folder, or a run's, may come from a stranger: what it names is not run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from asr.__main__ import main
from asr.errors import UserError
from asr.training import post_hoc
from asr.utils.files import read_json, write_json


@pytest.fixture
def stranger(fluent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run whose every setting that may name a plug-in names evil.py, which lies in the working directory."""
    there = tmp_path / "there"
    (tmp_path / "evil.py").write_text(
        f"open({str(there)!r}, 'w')\n\n\ndef run(text):\n    return text\n"
    )
    run = tmp_path / "run"
    shutil.copytree(fluent, run, symlinks=True)
    for path in [*run.rglob("config.yaml")]:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        tree["corpus"]["scoring_normaliser"] = "evil.py:run"
        tree["tokenizer"]["normaliser"] = "evil.py:run"
        tree["trainer"]["loggers"] = ["evil.py:run"]
        tree["pseudo_label"] |= dict.fromkeys(("teacher", "decision", "schedule"), "evil.py:run")
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    for path in run.rglob("state.json"):
        state = read_json(path)
        state.pop("identity")  # who changes the one changes the other
        write_json(path, state)
    monkeypatch.chdir(tmp_path)
    yield run
    assert not there.exists()


def test_what_a_run_names_is_not_run(
    stranger: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dev, name = str(corpus / "dev.jsonl.gz"), str(stranger)
    [audio, *_] = sorted((corpus.parent / "audio/dev").glob("*.wav"))
    commands = [
        (["transcribe", name, str(audio)], 0, ""),
        (["decode", name, dev], 0, ""),
        (
            ["decode", name, dev, "--output", "h.jsonl", "--decoder", "beam", "--tune", dev],
            2,
            "evil.py",
        ),
        (["score", name], 2, "say --normaliser evil.py:run"),
        (["report", name, "--no-audio"], 2, "say --normaliser evil.py:run"),
        (
            ["label", name, "dev", "--data", str(corpus), "--output", "labels"],
            0,
            "run only where you name it",
        ),
        (["labels", "stats", name], None, ""),
    ]
    for arguments, status, says in commands:
        found = main(arguments)
        captured = capsys.readouterr()
        assert status in (None, found), (arguments, captured)
        assert says in captured.out + captured.err, arguments


def test_its_averages_are_compared_under_what_the_user_names(
    stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = post_hoc.MadeAverage(1.0, 1.0, stranger, 0.0)
    with pytest.raises(UserError, match=r"evil\.py:run is a function of a file, which is run only"):
        post_hoc.evaluate_average(stranger, made)
    [dev] = post_hoc.evaluate_average(stranger, made, "none")
    assert dev["wer"] == 0.0
