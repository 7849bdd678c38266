"""`asr average`: of one run, the average that another run with another half-life has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Train, final
from safetensors.torch import load_file

from asr.__main__ import main
from asr.model.model_folder import load_model

SUPERVISED = [
    "pseudo_label.start_hours=null",
    *("scaling.reference_batch_seconds=15", "batch.batch_seconds=5", "batch.group_seconds=5"),
    *("trainer.evaluation_every_hours=0.1", "trainer.total_hours=0.04"),
]


@pytest.mark.slow
def test_an_average_made_after_the_run_is_that_of_a_run_that_had_its_half_life(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """At kappa = 1/3, every third step an update. It is stopped, resumed, and ends between two updates."""
    kept = [*SUPERVISED, "teacher.keep_for_average=true", "trainer.checkpoint_every_hours=0.03"]
    shorter = [option for option in kept if "total_hours" not in option]
    train("run", *shorter, "trainer.total_hours=0.03")
    run = train("run", *kept)
    assert main(["average", str(run), "--half-life", "0.04,0.0025"]) == 0
    assert "dev: WER" in capsys.readouterr().out
    state = json.loads((final(run) / "state.json").read_text())
    assert state["teacher_pending_seconds"] > 0
    student = load_file(final(run) / "student.safetensors")
    for half_life in ("0.0025", "0.04"):
        other = final(train(half_life, *SUPERVISED, f"teacher.half_life_hours={half_life}"))
        made = load_file(run / "averages" / f"half-life-{half_life}" / "teacher.safetensors")
        real = load_file(other / "teacher.safetensors")
        error = sum(float((made[n] - real[n]).square().sum()) for n in real)
        distance = sum(float((real[n] - student[n]).square().sum()) for n in real)
        assert (error / distance) ** 0.5 < 0.02
    records = json.loads((run / "averages" / "dev.json").read_text())
    assert [record["half_life_hours"] for record in records] == [0.0025, 0.04]
    assert load_model(run / "averages" / "half-life-0.04").config.name == "run"
    assert main(["report", str(run), "--no-audio"]) == 0
    assert "by the half-life of the average" in (run / "report" / "index.html").read_text()
    snapshot = min((run / "averages").glob("snapshot-*"))
    content = bytearray(snapshot.read_bytes())
    content[-1] ^= 1
    snapshot.write_bytes(content)
    assert main(["average", str(run), "--half-life", "0.04"]) == 2
    assert f"{snapshot}: damaged (its SHA-256" in capsys.readouterr().err


def test_a_run_that_kept_nothing_says_how_to(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["average", str(trained), "--half-life", "1"]) == 2
    assert "train with teacher.keep_for_average=true" in capsys.readouterr().err
    assert main(["average", str(trained), "--half-life", "-1"]) == 2
    assert "hours of audio above 0" in capsys.readouterr().err
