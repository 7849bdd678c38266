"""`asr check` names each fault of a recipe with its remedy, all in one go; a sound one passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_helpers import check
from latent_helpers import SETTINGS

from asr.__main__ import main

LONG = "trainer.total_hours=2"
BROKEN = {
    "folder": (["corpus.directory=nowhere"], "nowhere does not exist", "prepare the corpus"),
    "set": (["corpus.dev=[dve]"], "dve.jsonl.gz: no such set; it has dev", "asr prepare"),
    "tokenizer": (["tokenizer.characters=abc"], "cannot be spelt", "set tokenizer.characters: "),
    "burn-in": (["pseudo_label.start_hours=9"], "ends in its burn-in", "start earlier"),
    "half-life": ([LONG, "teacher.half_life_hours=5"], "longer than the run", "shorten teacher"),
    "no average": ([LONG, "teacher.half_life_hours=0.001"], "hardly an average", "hours of audio"),
    "beta": (["batch.batch_seconds=300"], "largest kappa allowed is below 10", "half_life"),
    "warm-up": ([LONG, "optimizer.warmup_hours=3"], "never arrives", "warm up for less"),
    "ctc": (
        ["model.stride=16"],
        "more tokens than frames at the fastest speed",
        "lower model.stride",
    ),
    "micro-batch": (
        ["batch.max_seconds_per_micro_batch=1"],
        "longest utterance of 'labelled' plays for",
        "or set corpus.max_seconds=0.9",
    ),
    "length": (["corpus.max_seconds=1"], "utterances of 'labelled' are not between", "widen the"),
    "twice": (
        ["corpus.untranscribed=[labelled]"],
        "in corpus.labelled and in corpus.unt",
        "one of",
    ),
    "twice by another path": (
        ["corpus.dev=[./labelled]"],
        "in corpus.labelled and in corpus.dev",
        "one of",
    ),
    "features": (
        ["features.source=precomputed", "augmentation.speed_factors=[1.0]"],
        "has no stored features",
        "asr prepare features",
    ),
    "output": (["output=pyproject.toml/run"], "pyproject.toml is a file", "choose another"),
    "memory": (
        ["batch.max_seconds_per_micro_batch=1e8"],
        "a rank needs about",
        "lower batch.max_seconds_per_micro_batch",
    ),
    "decay": (
        [LONG, "optimizer.decay=linear", "optimizer.decay_start_hours=3"],
        "is not before the decay's end",
        "start earlier",
    ),
    "ratio": (
        ["pseudo_label.labelled_to_untranscribed=[1, 0]"],
        "never draws untranscribed speech",
        "from 1 on",
    ),
    "large cache": (["pseudo_label.schedule=cache"], "is more than the", "a tenth of the corpus"),
    "best of none": (
        ["pseudo_label.teacher=average_of_best", "corpus.dev=[]"],
        "no student is best",
        "name a dev set",
    ),
    "filter": (["pseudo_label.filters.min_length_ratio=2"], "would drop", "let the band hold"),
    "rate": (["features.sample_rate_hz=8000"], "has 16000 Hz", "preparation makes 16000"),
    "fork": (["fork_from=nowhere"], "nowhere is not a checkpoint", "EXP/checkpoints"),
    "model of the search": (
        ["pseudo_label.decision=beam", "pseudo_label.beam.language_model=x.arpa"],
        "x.arpa: no such file",
        "asr prepare lm",
    ),
    "groups": (["batch.group_seconds=0.2"], "groups of labelled speech hold", "set batch.group"),
}


def test_a_sound_recipe_passes(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = check(capsys, recipe, f"output={tmp_path / 'run'}")
    assert status == 0
    assert "no problem found" in said
    assert "problem 1" not in said
    assert "untranscribed            " in said
    assert not (tmp_path / "run").exists(), "checking leaves nothing behind"


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_is_named_with_its_remedy(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    settings, what, remedy = BROKEN[name]
    status, said = check(capsys, recipe, f"output={tmp_path / 'run'}", *settings)
    assert status == 2
    line = next(line for line in said.splitlines() if line.startswith("problem") and what in line)
    after = said[said.index(line) + len(line) + 1 :].splitlines()[0]
    assert after.startswith("  remedy: ")
    assert remedy in after


def test_all_faults_in_one_go(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("set", "tokenizer", "burn-in", "half-life", "warm-up", "micro-batch", "fork")
    settings = [setting for name in names for setting in BROKEN[name][0]]
    status, said = check(capsys, recipe, *settings)
    assert status == 2
    for name in names:
        assert BROKEN[name][1] in said
    assert len([line for line in said.splitlines() if line.startswith("problem")]) >= len(names)


def test_a_recipe_that_does_not_parse(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(recipe), "model.widht=3", "trainer.zero_stage=7"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'model.width'" in said
    assert "zero_stage" in said


@pytest.mark.parametrize("memory_gb", ["0", "-8"])
def test_memory_that_is_none_is_refused(memory_gb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "recipe.yaml", f"--memory-gb={memory_gb}"]) == 2
    assert f"--memory-gb {memory_gb}: must be more than 0; leave it" in capsys.readouterr().err


@pytest.mark.parametrize("kind", SETTINGS)
def test_without_texts_no_tokenizer_is_asked_for_and_no_transcript(
    recipe: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str
) -> None:
    own = [*SETTINGS[kind], f"output={tmp_path / 'run'}"]
    assert main(["check", str(recipe), *own, "tokenizer.characters=abc"]) == 0
    assert "spelt" not in capsys.readouterr().out
    assert main(["check", str(recipe), *own, "corpus.labelled=[]"]) == 0
    capsys.readouterr()
    nothing = ["corpus.labelled=[]", "corpus.untranscribed=[]"]
    assert main(["check", str(recipe), *own, *nothing]) == 2
    assert f"corpus.untranscribed is empty, and objective.kind {kind}" in capsys.readouterr().out
    assert main(["plan", str(recipe), *own, "--ranks", "1,8"]) == 0
    assert "teacher_momentum" in capsys.readouterr().out
