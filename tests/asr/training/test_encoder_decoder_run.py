"""Runs of an encoder-decoder: labels by generation, on ranks whose texts end at different lengths."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import (
    Train,
    asr_command,
    final,
    kill_after_lines,
    losses,
    read_lines,
    relative_distance,
    same_weights,
    without_wall_time,
)
from safetensors.torch import load_file

from asr.data.transcripts import training_tokenizer
from asr.errors import UserError
from asr.model.make import make_model
from asr.model.model_folder import read_config
from asr.pseudo_labels.ledger import read_ledger
from asr.training.resume_rules import check_compatible
from asr.training.start.warm_start import WarmStart

pytest.importorskip("transformers")

from whisper_helpers import whisper_config, write_checkpoint, write_whisper

TRANSCRIBED = ["corpus.max_seconds=4.5", "pseudo_label.filters.max_compression_ratio=null"]
UNTRANSCRIBED = [
    "corpus.labelled=[]",
    "pseudo_label.start_hours=0",
    "pseudo_label.decision=oracle",  # what a random model writes never ends
]
STUDENT = ["pseudo_label.teacher=student", "trainer.total_hours=0.04"]
SHORT = ["trainer.total_hours=0.03", "optimizer.warmup_hours=0.002"]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that make the student a tiny random Whisper."""
    folder = tmp_path_factory.mktemp("whisper")
    write_whisper(folder, scale=4.0)
    model = f"model={{kind: encoder_decoder, pretrained: {folder}, layer_drop: 0.2, dropout: 0.1}}"
    return [model, "tokenizer={kind: pretrained}", *TRANSCRIBED, *SHORT]


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly_and_its_folder_needs_no_other(
    train: Train, recipe: Path, student: list[str], tmp_path: Path
) -> None:
    whole = train("whole", *student)
    killed = tmp_path / "killed"
    command = [*asr_command(), "train", str(recipe), f"output={killed}", *student]
    kill_after_lines(command, killed, 6)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    assert without_wall_time(killed) == without_wall_time(whole)
    for name in ("student", "teacher"):
        paths = [final(run) / f"{name}.safetensors" for run in (killed, whole)]
        assert same_weights(*paths)
    lines = [
        line for line in read_lines(whole / "metrics.jsonl") if "pseudo_labels_dropped" in line
    ]
    # What a random model writes never ends.
    assert any(line["pseudo_labels_dropped"].get("unfinished") for line in lines)
    moved = final(whole).rename(tmp_path / "moved")
    out = tmp_path / "dev.jsonl"
    decode = [*asr_command(), "decode", str(moved), _dev(recipe), "--output", str(out)]
    subprocess.run(decode, check=True, capture_output=True)
    assert len(read_lines(out)) == 8


ADAPTERS = ["model.lora={rank: 2, targets: all}", "optimizer.learning_rate=0.01"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "more"),
    [
        (0, UNTRANSCRIBED),
        (2, UNTRANSCRIBED),
        (3, STUDENT),
        (2, [*UNTRANSCRIBED, *ADAPTERS]),
        (3, [*STUDENT, *ADAPTERS]),
    ],
)
def test_ranks_and_stages_change_no_loss(
    train: Train, student: list[str], stage: int, more: list[str]
) -> None:
    """Under ZeRO 3 the student's weights are in parts: who labels with them must not wait for the other."""
    alone = train("alone", *student, *more)
    assert min(losses(alone)) > 0.0
    both = train("both", *student, *more, f"trainer.zero_stage={stage}", ranks=2)
    assert losses(both) == pytest.approx(losses(alone), abs=1e-4)
    weights = [final(run) / "teacher.safetensors" for run in (alone, both)]
    assert relative_distance(*weights) < 1e-3
    dev = [*asr_command(), "decode", str(both), _dev_of(both), "--output", str(both / "dev.jsonl")]
    subprocess.run(dev, check=True, capture_output=True)
    # Nothing is left to do, but it must be read again to know.
    assert losses(train("both", *student, *more)) == losses(both)


WEIGHED = ["model.ctc_weight=0.3", "pseudo_label.token_weights=confidence"]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "more"), [(0, UNTRANSCRIBED), (2, UNTRANSCRIBED), (3, STUDENT)])
def test_ranks_stages_and_accumulation_change_no_joint_loss(
    train: Train, student: list[str], stage: int, more: list[str]
) -> None:
    """With a CTC head, and with tokens that weigh what the teacher's confidence in them says."""
    alone = train("alone", *student, *WEIGHED, *more)
    assert min(losses(alone)) > 0.0
    plain = train("plain", *student, WEIGHED[0], *more)
    assert more is STUDENT or losses(plain) != losses(alone), "weights weigh nothing"
    both = train("both", *student, *WEIGHED, *more, f"trainer.zero_stage={stage}", ranks=2)
    parts = ["batch.max_seconds_per_micro_batch=10"]
    accumulated = train("parts", *student, *WEIGHED, *more, *parts)
    for other in (both, accumulated):
        assert losses(other) == pytest.approx(losses(alone), rel=1e-5)
        weights = [final(run) / "teacher.safetensors" for run in (alone, other)]
        assert relative_distance(*weights) < 1e-3
    begun, end = (load_file(path / "student.safetensors") for path in (_first(alone), final(alone)))
    assert not torch.equal(begun["ctc_head.weight"], end["ctc_head.weight"]), "the head learns"


@pytest.mark.slow
def test_confidences_of_kept_labels_survive_a_kill(
    train: Train, recipe: Path, student: list[str], tmp_path: Path
) -> None:
    cache = ["pseudo_label.decision=oracle", "pseudo_label.schedule=cache"]
    cache += ["pseudo_label.cache.capacity_utterances=6", "pseudo_label.filters.min_ctc_score=1e-9"]
    settings = [*student, *WEIGHED, *cache, "trainer.total_hours=0.05"]
    whole = train("whole", *settings)
    killed = tmp_path / "killed"
    command = [*asr_command(), "train", str(recipe), f"output={killed}", *settings]
    kill_after_lines(command, killed, 6)
    subprocess.run(command, capture_output=True, text=True, check=True)
    assert without_wall_time(killed) == without_wall_time(whole)
    names = [final(run) / "student.safetensors" for run in (killed, whole)]
    assert same_weights(*names)
    kept = load_file(final(whole) / "labels.safetensors")
    assert len(kept["kept/confidences"]) == len(kept["kept/tokens"]) + len(kept["kept/lengths"])
    rows = read_ledger(whole, "labels").to_pylist()
    assert all(0 < row["ctc_score"] < 1 for row in rows)
    assert all(len(row["token_confidences"]) == row["tokens"] + 1 for row in rows)
    two = train("two", *settings, ranks=2)
    assert losses(two) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.parametrize(("given", "wanted"), [(0.0, 0.3), (0.3, 0.0), (0.3, 0.5), (0.0, 0.0)])
def test_weights_begin_a_run_with_or_without_a_head(
    tmp_path: Path, given: float, wanted: float
) -> None:
    write_whisper(tmp_path / "whisper")
    before = write_checkpoint(tmp_path / "before", tmp_path / "whisper", ctc_weight=given)
    config = whisper_config(tmp_path / "whisper", ctc_weight=wanted)
    tokenizer = training_tokenizer(config)
    torch.manual_seed(2)
    student = make_model(config, tokenizer.vocabulary_size)
    own = {n: w.detach().clone() for n, w in student.named_weights() if n.startswith("ctc_head")}
    start = WarmStart.find(str(before))
    start.check(config)
    begun = start.put(student, tokenizer)
    saved = load_file(before / "teacher.safetensors")
    for name, weight in student.named_weights():
        assert torch.equal(weight, own[name] if name not in saved else saved[name]), name
    is_kept = bool(given) == bool(wanted)
    said = "" if is_kept else "made anew" if wanted else "left out"
    assert said in begun.note
    assert ("CTC head" in begun.note) is not is_kept
    assert begun.head_is_kept, "the average keeps a trained decoder"
    # A run goes on with another weight of its head, but not with another network.
    went_on = read_config(before)
    if is_kept:
        check_compatible(went_on, config, before)
    else:
        with pytest.raises(UserError, match=r"it has model\.ctc_weight"):
            check_compatible(went_on, config, before)


def _first(run: Path) -> Path:
    return min((run / "checkpoints").glob("hours-*"))


def _dev(recipe: Path) -> str:
    return _of(yaml.safe_load(recipe.read_text(encoding="utf-8")))


def _dev_of(run: Path) -> str:
    return _of(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))


def _of(tree: dict[str, Any]) -> str:
    return f"{tree['corpus']['directory']}/dev.jsonl.gz"
