"""`asr plan`: its table and its JSON."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from recipe_paths import LIBRISPEECH

from asr.cli import plan
from asr.errors import UserError


def test_a_rank_count_without_a_solution_does_not_hide_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match=r"512 ranks.*largest kappa allowed is below 10"):
        plan.main([str(LIBRISPEECH), "--ranks", "8,512"])
    shown = capsys.readouterr().out
    assert "scaling card: kappa 1," in shown
    assert "zero_3" in shown


def test_every_impossible_rank_count_is_named() -> None:
    with pytest.raises(UserError, match=r"128 ranks: .*; 256 ranks: .*; 512 ranks: "):
        plan.main([str(LIBRISPEECH), "--ranks", "128,256,512", "--json"])


def test_a_plan_needs_no_torch() -> None:
    code = (
        "import sys; from asr.__main__ import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "plan", str(LIBRISPEECH), "--ranks", "8,64"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_json_holds_the_noise_scale_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"step": 1, "hours": 2.0, "loss": 1.0, "gradient_noise_scale_seconds": 4640.0}
    line |= {"gradient_signal": 0.5, "gradient_noise_seconds": 2320.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert plan.main([str(LIBRISPEECH), "--ranks", "8,64", "--json", "--run", str(tmp_path)]) == 0
    one, eight = json.loads(capsys.readouterr().out)
    assert one["gradient_noise_scale_seconds"] == 4640.0
    assert one["gradient_signal_share"] == pytest.approx(1 / 3)
    assert one["step_deviation_percent"] == 0.0
    assert eight["step_deviation_percent"] == pytest.approx(100 * (math.sqrt(1.5 / 5) - 1))
    assert not one["notes"]
    assert any("at kappa 8 steps are 45 % shorter" in note for note in eight["notes"])
    assert plan.main([str(LIBRISPEECH), "--ranks", "8,64", "--run", str(tmp_path)]) == 0
    assert "step_deviation_percent" in capsys.readouterr().out


def test_the_plan_has_the_contract_s_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "scaling: {reference_batch_seconds: 100}\n"
        "batch: {batch_seconds_per_rank: 100, group_seconds: 100}\n"
        "corpus: {untranscribed: [x]}\n"
        "optimizer: {warmup_hours: 1}\n"
        "pseudo_label: {start_hours: 2}\n"
        "teacher: {half_life_hours: 10}\n"
        "trainer: {total_hours: 20}\n"
    )
    assert plan.main([str(recipe), "--ranks", "1,8", "--json"]) == 0
    one, eight = json.loads(capsys.readouterr().out)
    assert one["kappa"] == 1.0
    assert (one["warmup_steps"], one["pseudo_label_start_steps"], one["total_steps"]) == (
        36,
        72,
        720,
    )
    assert eight["kappa"] == 8.0
    assert eight["learning_rate"] == pytest.approx(1e-3 * math.sqrt(8))
    assert eight["teacher_momentum"] == pytest.approx(one["teacher_momentum"] ** 8)
    assert eight["total_steps"] == 90
    names = "ranks global_batch_seconds learning_rate betas eps weight_decay teacher_momentum "
    names += "teacher_update_steps half_life_hours"
    assert set(names.split()) <= one.keys()
    with pytest.raises(UserError, match="whole numbers"):
        plan.main([str(recipe), "--ranks", "1,zwei"])


def test_passes_are_planned_as_hours(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = ["trainer.total_hours=null", "trainer.total_passes=4"]
    assert plan.main([str(recipe), *passes, "pseudo_label.start_hours=null"]) == 0
    shown = capsys.readouterr().out
    assert "trainer.total_passes 4: 0.068" in shown
    assert "total 0.068" in shown, "on the card"


def test_a_fixed_batch_is_said_to_hide_what_ranks_are_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fixed = ["batch.batch_seconds=2320", "batch.batch_seconds_per_rank=null"]
    assert plan.main([str(LIBRISPEECH), *fixed, "--ranks", "8,64"]) == 0
    said = capsys.readouterr().out
    assert "With --batch-seconds-per-rank 290 kappa is 1, 8." in said
    assert plan.main([str(LIBRISPEECH), "--ranks", "8,64"]) == 0
    assert "whatever the ranks" not in capsys.readouterr().out


def test_adapters_are_counted_and_a_model_that_is_nowhere_is_asked_for_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    from pretrained_helpers import write_pretrained

    write_pretrained(tmp_path / "model", "hubert")
    capsys.readouterr()  # what libraries say as they are loaded

    def parameters(model: str) -> int:
        recipe = [str(LIBRISPEECH), f"model={{kind: pretrained, encoder: {tmp_path}/model{model}}}"]
        recipe += ["features.sample_rate_hz=16000", "tokenizer.sentencepiece_model=null"]
        assert plan.main([*recipe, "--ranks", "8,16", "--json"]) == 0
        return int(json.loads(capsys.readouterr().out)[0]["parameters"])

    whole = parameters("")
    assert 0 < parameters(", lora: {rank: 1}") < whole / 2
    with pytest.raises(UserError) as told:
        parameters("/gone")
    assert str(told.value).count("no such folder") == 1
