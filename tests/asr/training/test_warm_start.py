"""A run that begins with another one's weights, and with nothing else of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from conftest import (
    FLUENT,
    LETTERS,
    PLAIN,
    Train,
    asr_command,
    final,
    kill_after_lines,
    same_weights,
)
from safetensors.torch import load_file

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.model.make import make_model
from asr.model.model_folder import read_config
from asr.model.tokenizer import make_tokenizer
from asr.training.start.resolved import resolved
from asr.training.start.warm_start import WarmStart

SUPERVISED = "pseudo_label.start_hours=null"
NOTHING_LEARNT = ["optimizer.learning_rate=1e-30", "trainer.total_hours=0.002"]
FAST = [*PLAIN, *FLUENT, SUPERVISED, "trainer.total_hours=0.01", "trainer.checkpoint_every_hours=1"]


def test_a_run_begins_as_the_average_and_its_average_keeps_it(fluent: Path, train: Train) -> None:
    run = train("warm", *FAST, f"init_from={fluent}", *NOTHING_LEARNT)
    for weights in ("student", "teacher"):
        before = load_file(final(fluent) / "teacher.safetensors")
        after = load_file(final(run) / f"{weights}.safetensors")
        assert all(torch.equal(before[name], after[name]) for name in before)
    config = read_config(final(run))
    assert config.teacher.warmup_share == 0.0
    # Its clock and its place in the data are its own.
    assert final(run).name.startswith("hours-000000.00")


@pytest.mark.slow
def test_it_goes_on_without_its_source(
    fluent: Path, recipe: Path, train: Train, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(final(fluent), source)
    settings = [*FAST, f"init_from={source}", "trainer.checkpoint_every_hours=0.003"]
    whole = train("whole", *settings)
    run = tmp_path / "killed"
    command = [*asr_command(), "train", str(recipe), f"output={run}", *settings]
    kill_after_lines(command, run, 8)  # the first checkpoint follows the fifth
    assert (run / "latest").exists()
    source.rename(tmp_path / "gone")
    train("killed", *settings)
    for weights in ("student", "teacher"):
        assert same_weights(
            final(run) / f"{weights}.safetensors", final(whole) / f"{weights}.safetensors"
        )


def test_the_student_s_own_weights_by_their_file(fluent: Path, recipe: Path) -> None:
    config = load_config(recipe, [*FAST, f"init_from={final(fluent)}/student.safetensors"])
    found = WarmStart.find(config.init_from or "")
    tokenizer = make_tokenizer(config.tokenizer)
    network = make_model(config, tokenizer.vocabulary_size)
    assert found.put(network, tokenizer).head_is_kept
    student = load_file(final(fluent) / "student.safetensors")
    assert all(torch.equal(p, student[n]) for n, p in network.named_weights())


def test_another_tokenizer_makes_the_head_anew(fluent: Path, recipe: Path, tmp_path: Path) -> None:
    other = f"tokenizer.characters={LETTERS[::-1]}"  # as many tokens, and others
    settings = [*FAST, f"init_from={fluent}", other, f"output={tmp_path / 'new'}"]
    config = resolved(load_config(recipe, settings))
    assert config.teacher.warmup_share > 0, "its head is random: the average warms up"
    tokenizer = make_tokenizer(config.tokenizer)
    network = make_model(config, tokenizer.vocabulary_size)
    head = network.head.weight.detach().clone()
    begun = WarmStart.find(str(fluent)).put(network, tokenizer)
    assert not begun.head_is_kept
    assert "head is made anew" in begun.note
    source = load_file(final(fluent) / "teacher.safetensors")
    for name, values in network.named_weights():
        assert torch.equal(values, source[name]) != name.startswith("head.")
    assert torch.equal(network.head.weight, head)


def test_what_does_not_fit_is_refused(
    fluent: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*FAST, f"output={tmp_path / 'new'}", f"init_from={fluent}"]
    for wrong, said in (
        (
            "model.layers=3",
            "has model.layers 2, and the recipe says model.layers 3; set model.layers=2",
        ),
        ("model.activation=silu", "has model.activation 'relu', and the recipe says"),
        ("features.mel_bins=40", "features.mel_bins 80, and the recipe says features.mel_bins 40"),
        ("init_from=nowhere", "init_from: nowhere: neither a checkpoint"),
        (f"fork_from={fluent}", "give one of them"),
    ):
        assert main(["train", str(recipe), *settings, wrong]) == 2
        assert said in capsys.readouterr().err
        assert main(["check", str(recipe), *settings, wrong]) == 2
        assert said.split(";")[0] in "".join(capsys.readouterr())
    assert main(["check", str(recipe), *settings]) == 0
    assert "the run begins with" in capsys.readouterr().out


def test_the_recipe_s_own_warm_up_counts(fluent: Path, recipe: Path, tmp_path: Path) -> None:
    settings = [*FAST, f"init_from={fluent}", f"output={tmp_path / 'new'}"]
    assert resolved(load_config(recipe, settings)).teacher.warmup_share == 0.0
    own = resolved(load_config(recipe, [*settings, "teacher.warmup_share=0.3"]))
    assert own.teacher.warmup_share == 0.3
    assert resolved(own) == own


def test_weights_that_are_damaged_are_named(fluent: Path, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(final(fluent), folder)
    (folder / "teacher.safetensors").write_bytes(b"nothing")
    config = load_config(recipe, [*FAST, f"init_from={folder}"])
    tokenizer = make_tokenizer(config.tokenizer)
    with pytest.raises(UserError, match=r"init_from: .*teacher.safetensors: damaged"):
        WarmStart.find(str(folder)).put(make_model(config, tokenizer.vocabulary_size), tokenizer)
