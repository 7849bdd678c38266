"""A decay on a plateau and an early end: decided at evaluations, in hours, and the same after a kill."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import PLAIN, Train, asr_command, kill_after_lines, read_lines, without_wall_time
from training_helpers import updates

from asr.config.recipe import load_config, parse_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.training.guards.patience import Patience
from asr.training.state import TrainingState

WAITING = [
    "optimizer.decay=plateau",
    "optimizer.plateau={patience_hours: 0.01, factor: 0.5, min_delta: 1000}",
    "trainer.early_stopping={patience_hours: 0.04, min_delta: 1000}",
    "trainer.evaluation_every_hours=0.01",
    "trainer.total_hours=0.1",
    "pseudo_label.start_hours=null",
    "corpus.untranscribed=[]",
]
"""No dev WER falls by so much."""


def config_of(**early: float) -> Config:
    return parse_config(
        {
            "corpus": {"labelled": ["a"], "dev": ["b"]},
            "optimizer": {
                "warmup_hours": 1,
                "decay": "plateau",
                "plateau": {"patience_hours": 2, "factor": 0.1},
                "final_share": 0.05,
            },
            "trainer": {"early_stopping": early},
            "scaling": {"reference_batch_seconds": 360},
            "batch": {"batch_seconds": 360},
        },
        "test",
    )


def shares(config: Config, wers: dict[float, float], late: float = 0.0) -> dict[float, float]:
    """The learning rate's share after each evaluation, each `late` by a share of a batch."""
    state = TrainingState.at_the_start(config, 360.0)
    found = {}
    for hours, wer in wers.items():
        state.clock.seconds, state.dev_score = 3600 * hours + 360 * late, wer
        state.note_evaluation(config, waits=False)
        found[hours] = state.learning_rate_share(config, 0.0)
    return found


@pytest.mark.parametrize("late", [0.0, 0.5, 0.99])
def test_the_learning_rate_falls_after_so_many_hours_without_a_lower_wer(late: float) -> None:
    wers = {
        2.0: 50.0,
        3.0: 40.0,
        4.0: 41.0,
        5.0: 40.0,
        6.0: 39.0,
        7.0: 39.5,
        8.0: 39.5,
        9.0: 39.5,
        10.0: 39.5,
    }
    expected = [1, 1, 1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05]  # no further than final_share
    assert list(shares(config_of(), wers, late).values()) == pytest.approx(expected)


def test_early_stopping_is_by_the_patience_of_now() -> None:
    config, patience = config_of(patience_hours=3, min_delta=1), Patience()
    for hours, wer in ((1.0, 50.0), (2.0, 49.5), (3.0, 49.2)):
        patience.observe(config, hours, 0.1, wer, waits=False)
        assert not patience.stops(config)
    [*_, said] = patience.observe(config, 4.0, 0.1, 49.1, waits=False)
    assert "stopping early: no dev WER below 50.00 %, that of 1.00 h, for 3 h" in said
    again = Patience.from_state(
        json.loads(json.dumps(TrainingState.at_the_start(config, 360.0).to_json()))
    )
    assert again == Patience()
    assert patience.stops(config)
    assert not patience.stops(config_of(patience_hours=4))
    assert not patience.stops(config_of())


def test_hours_before_labels_begin_do_not_count() -> None:
    config, patience = config_of(patience_hours=2), Patience()
    for hours in range(1, 9):
        assert patience.observe(config, float(hours), 0.1, 50.0, waits=True) == []
    assert not patience.stops(config)
    patience.observe(config, 10.0, 0.1, 50.0, waits=False)
    assert patience.stops(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optimizer.decay=plateau"], "go together"),
        (["optimizer.plateau.patience_hours=3"], "go together"),
        (["trainer.early_stopping.patience_hours=3", "corpus.dev=[]"], "name a set in corpus.dev"),
    ],
)
def test_what_cannot_work_is_refused(recipe: Path, settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(recipe, settings)


@pytest.mark.slow
def test_a_run_that_stops_early_says_so_and_goes_on_with_more_patience(
    train: Train, recipe: Path, tmp_path: Path
) -> None:
    run = train("run", *PLAIN, *WAITING)
    # Evaluations at 0.01, 0.02, ...; the first is the best, and the warm-up ends before it.
    lines = updates(run)
    assert 0.05 <= lines[-1]["hours"] < 0.06
    rates = {round(line["learning_rate"] / 3e-3, 3) for line in lines if line["hours"] > 0.01}
    assert rates == {1.0, 0.5, 0.25, 0.125}
    assert "stopping early: no dev WER below" in (run / "train.log").read_text()
    assert "0.04 h" in json.loads((run / "complete.json").read_text())["stopped_early"]
    command = [*asr_command(), "train", str(recipe), f"output={run}", *PLAIN, *WAITING]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing left to train" in again.stdout
    assert "with more patience it goes on" in again.stdout
    assert len(updates(run)) == len(lines)
    train("run", *PLAIN, *WAITING, "trainer.early_stopping.patience_hours=0.06")
    assert 0.07 <= updates(run)[-1]["hours"] < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_kill_and_ranks_change_nothing(
    train: Train, recipe: Path, tmp_path: Path, ranks: int
) -> None:
    whole = train("whole", *PLAIN, *WAITING)
    run = tmp_path / "killed"
    command = [*asr_command(ranks), "train", str(recipe), f"output={run}", *PLAIN, *WAITING]
    for _ in range(2):
        kill_after_lines(command, run, 7)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if ranks == 1:
        assert without_wall_time(run) == without_wall_time(whole)
        assert (run / "complete.json").read_text() == (whole / "complete.json").read_text()
    places = [
        [(u["step"], u["learning_rate"], u["plateau_decays"]) for u in updates(r)]
        for r in (run, whole)
    ]
    assert places[0] == places[1]
    assert len(read_lines(run / "metrics.jsonl")) == len(read_lines(whole / "metrics.jsonl"))
