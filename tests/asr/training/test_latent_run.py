"""Self-supervised runs: the same on any ranks, exact to resume, and a beginning for training by texts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
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
from latent_helpers import LATENT, SETTINGS
from safetensors.torch import load_file

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.data.transcripts import training_tokenizer
from asr.errors import UserError
from asr.model.make import make_model
from asr.model.model_folder import find_checkpoint, load_model
from asr.model.tokenizer import make_tokenizer
from asr.training.start.resolved import resolved
from asr.training.start.warm_start import WarmStart
from asr.utils.files import read_json


@pytest.fixture(scope="module")
def runs(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of an objective, on one rank at stage 0. Read only."""

    @cache
    def run_of(kind: str) -> Path:
        run = tmp_path_factory.mktemp(kind) / "run"
        assert main(["train", str(recipe), f"output={run}", *KINDS[kind]]) == 0
        return run

    return run_of


@pytest.fixture
def latent(runs: Callable[[str], Path]) -> Path:
    return runs("latent")


CUTS = [(stage, ranks, 20) for stage in range(4) for ranks in (1, 2)] + [(0, 1, 6), (2, 2, 6)]
QUICK_CUTS = {"latent": (3, 2, 6), "byol, both levels": (0, 1, 12)}
KINDS = {**SETTINGS, "byol, both levels": [*SETTINGS["byol"], "objective.byol.level=both"]}


@pytest.mark.parametrize(
    ("kind", "stage", "ranks", "seconds"),
    [
        pytest.param(kind, *cut, marks=[] if cut == QUICK_CUTS[kind] else [pytest.mark.slow])
        for kind in QUICK_CUTS
        for cut in dict.fromkeys([QUICK_CUTS[kind], *CUTS, (3, 2, 6)])
    ],
)
def test_ranks_stages_and_accumulation_only_cut_the_same_stream(
    train: Train,
    runs: Callable[[str], Path],
    kind: str,
    stage: int,
    ranks: int,
    seconds: int,
) -> None:
    cut = [f"trainer.zero_stage={stage}", f"batch.max_seconds_per_micro_batch={seconds}"]
    run, whole = train("run", *KINDS[kind], *cut, ranks=ranks), runs(kind)
    assert len(losses(run)) > 20
    assert losses(run) == pytest.approx(losses(whole), rel=1e-4)
    for name in ("student", "teacher"):
        files = (final(one) / f"{name}.safetensors" for one in (run, whole))
        assert relative_distance(*files) < 1e-5, name
    for one, other in zip(evaluations(run), evaluations(whole), strict=True):
        for name in ("dev_loss", "effective_rank", "target_variance", "prediction_variance"):
            assert one[name] == pytest.approx(other[name], rel=1e-3), name


def evaluations(run: Path) -> list[dict[str, float]]:
    return [line for line in read_lines(run / "metrics.jsonl") if "set" in line]


def test_it_hears_all_speech_asks_for_no_text_and_learns(latent: Path) -> None:
    lines = [line for line in read_lines(latent / "metrics.jsonl") if "masked_share" in line]
    heard = {
        name for line in read_lines(latent / "utterances.jsonl") for name in line["untranscribed"]
    }
    assert len(heard) == 80, "of both sets"
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert all(0.3 < line["masked_share"] < 0.7 for line in lines)
    assert all(line["target_variance"] > 0.3 for line in lines)
    checkpoint, state = final(latent), read_json(final(latent) / "state.json")
    assert not (checkpoint / "tokenizer.json").exists()
    dev = {line["model"]: line["dev_loss"] for line in evaluations(latent)}
    assert state["dev_loss"] == dev["teacher"]
    assert state["dev_wer"] is None
    assert read_json(latent / "complete.json")["dev_loss"] == dev["teacher"]
    rated = {read_json(p / "state.json")["dev_loss"]: p for p in latent.glob("checkpoints/hours-*")}
    assert find_checkpoint(latent, best=True) == rated[min(rated)]
    with pytest.raises(UserError, match=r"objective\.kind latent, and says no text.*") as told:
        load_model(latent)
    assert "init_from=" in told.value.remedy


def test_of_two_views_the_student_predicts_the_other_one(runs: Callable[[str], Path]) -> None:
    run = runs("byol")
    assert 0.0 < losses(run)[-1] < 0.9 * losses(run)[0] < 4.0
    dev = {line["model"]: line["dev_loss"] for line in evaluations(run)}
    assert read_json(run / "complete.json")["dev_loss"] == dev["teacher"]
    with pytest.raises(UserError, match=r"objective\.kind byol, and says no text"):
        load_model(run)


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUICK_CUTS)
@pytest.mark.parametrize(("stage", "ranks"), [(0, 1), (3, 2)])
def test_a_killed_run_goes_on_bit_for_bit(
    train: Train, recipe: Path, tmp_path: Path, kind: str, stage: int, ranks: int
) -> None:
    settings = [
        *KINDS[kind],
        f"trainer.zero_stage={stage}",
        "trainer.checkpoint_every_hours=0.02",
    ]
    whole, run = train("whole", *settings, ranks=ranks), tmp_path / "killed"
    kill_after_lines(
        [*asr_command(ranks), "train", str(recipe), f"output={run}", *settings], run, 9
    )
    assert not (run / "complete.json").exists()
    train("killed", *settings, ranks=ranks)
    assert without_wall_time(run) == without_wall_time(whole)
    for name in ("student", "teacher", "optimizer"):
        assert same_weights(*(final(one) / f"{name}.safetensors" for one in (run, whole))), name


@pytest.mark.parametrize(("kind", "model"), [("latent", "teacher"), ("byol", "student")])
def test_a_linear_probe_says_what_its_features_are_good_for(
    runs: Callable[[str], Path],
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    model: str,
) -> None:
    run = Path(shutil.copytree(runs(kind), tmp_path / "run"))
    sets = ["--labelled", f"{corpus}/labelled.jsonl.gz", "--set", f"{corpus}/dev.jsonl.gz"]
    assert main(["probe", str(run), *sets, "--updates", "300", "--model", model]) == 0
    found = read_json(run / f"probes/dev/{model}.json")
    assert found["score"]["cer"] < 90.0, "it is no network of noise"
    assert found["objective"] == kind
    assert "300 updates on" in capsys.readouterr().out


def test_training_by_texts_begins_with_its_encoder(
    latent: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"init_from={latent}", f"output={tmp_path / 'run'}", "trainer.total_hours=0.003"]
    config = resolved(load_config(recipe, settings))
    assert config.teacher.warmup_share > 0, "its head is random: the average warms up"
    tokenizer = make_tokenizer(config.tokenizer)
    network = make_model(config, tokenizer.vocabulary_size)
    head = network.head.weight.detach().clone()
    begun = WarmStart.find(str(latent)).put(network, tokenizer)
    source = load_file(final(latent) / "teacher.safetensors")
    for name, values in network.named_weights():
        assert name.startswith("head.") or torch.equal(values, source[name])
    assert torch.equal(network.head.weight, head)
    assert not begun.head_is_kept
    assert main(["train", str(recipe), *settings]) == 0
    said = capsys.readouterr().out
    assert "the head that predicts representations, which is left out" in said
    assert "it had no head for texts, so that is made anew" in said
    # And the other way round.
    config = load_config(recipe, LATENT)
    other = make_model(config, 0)
    note = WarmStart.find(str(tmp_path / "run")).put(other, training_tokenizer(config)).note
    assert "the head for texts, which is left out" in note
    assert "the head that predicts representations, which is made anew" in note


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("objective.latent.top_blocks=3", r"yaml: objective\.latent\.top_blocks 3 is more than"),
        ("pseudo_label.start_hours=0.01", "set pseudo_label.start_hours to null"),
        ("objective.kind=latnt", "objective.kind"),
        ("objective.latent.mask_share=0", "objective.latent.mask_share"),
    ],
)
def test_what_does_not_go_with_it_is_named(recipe: Path, setting: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_config(recipe, [*LATENT, setting])
