"""What may continue a run, and what may not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PLAIN, Train, asr_command, read_lines
from training_helpers import updates

from asr.config.recipe import parse_config
from asr.errors import UserError
from asr.training.resume_rules import check_compatible, check_corpora


def ids(run: Path) -> list[str]:
    lines = read_lines(run / "utterances.jsonl")
    return [name for line in lines for kind in ("labelled", "untranscribed") for name in line[kind]]


def test_a_resume_may_change_the_batch_but_not_the_reference(train: Train, recipe: Path) -> None:
    run = train("run", "trainer.total_hours=0.02", *PLAIN)
    before = len(ids(run))
    train("run", "batch.batch_seconds=45", *PLAIN)
    assert {line["kappa"] for line in updates(run)} == {1, 3}
    assert len(ids(run)) > before
    history = json.loads((run / "scaling.json").read_text())["history"]
    assert [card["kappa"] for card in history] == [1, 3]
    assert "kappa 1 -> 3" in (run / "train.log").read_text()
    command = [*asr_command(), "train", str(recipe), f"output={run}", "trainer.total_hours=1"]
    command += [*PLAIN, "scaling.reference_batch_seconds=30"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert refused.returncode == 2
    assert "set scaling.reference_batch_seconds=15.0" in refused.stderr


@pytest.mark.slow
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
    assert "set scaling.reference_batch_seconds=15.0" in refused.stderr
    assert "Traceback" not in refused.stderr
    command = [*asr_command(ranks=2), "train", str(recipe), *longer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ids = read_lines(run / "utterances.jsonl")
    assert [line["step"] for line in ids] == list(range(1, len(ids) + 1))


def test_other_noise_is_said() -> None:
    position = {
        f"{kind}_{unit}": 1 for kind in ("labelled", "untranscribed") for unit in ("pass", "group")
    }
    corpora = {"labelled": "a", "untranscribed": "b", "noise": "c"}
    state = {"position": position, "corpora": corpora}
    assert check_corpora(Path("hours-1"), state, corpora) == []
    assert check_corpora(Path("hours-1"), state, {**corpora, "reverberation": "d"}) == []
    [said] = check_corpora(Path("hours-1"), state, {**corpora, "noise": "d"})
    assert said.startswith("augmentation.noise.sources: not the recordings that hours-1 knew")


def test_where_nothing_is_spelt_no_tokenizer_is_asked_for(tmp_path: Path) -> None:
    """A base recipe names one that may not even be there yet."""
    tokenizer = {"kind": "sentencepiece", "sentencepiece_model": str(tmp_path / "lost.model")}
    tree = {"corpus": {"labelled": ["train"]}, "tokenizer": tokenizer}
    spelt = parse_config({**tree, "pseudo_label": {"start_hours": None}}, "test")
    heard = parse_config(
        {**tree, "objective": {"kind": "latent"}, "pseudo_label": {"start_hours": None}}, "test"
    )
    with pytest.raises(UserError, match="is not the sentencepiece model"):
        check_compatible(spelt, spelt, tmp_path)
    check_compatible(heard, heard, tmp_path)
