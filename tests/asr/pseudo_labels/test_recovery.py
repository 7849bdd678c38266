"""What is done about ill labels, and until when; a collapse is noticed, and survived."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FLUENT, PLAIN, final, read_lines
from store_helpers import keep
from torch import Tensor

from asr.config.pseudo_label import HealthConfig
from asr.pseudo_labels.health import LabelHealth
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.label_counts import LabelCounts, Observations
from asr.pseudo_labels.records import LabelRecord
from asr.pseudo_labels.recovery import Recovery
from asr.pseudo_labels.store import LabelStore
from asr.utils.files import read_json

SOUND = LabelCounts(labels=2, tokens=20, seconds=2)
BROKEN = LabelCounts(labels=2, broken=2, empty=2, seconds=2)


class Weights:
    """Of a teacher and its former states, what a remedy uses: here a number."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.states: list[float] = []
        self.times_kept = 0

    @property
    def kept(self) -> int:
        return len(self.states)

    def keep(self) -> None:
        self.states = [*self.states[-1:], self.value]
        self.times_kept += 1

    def roll_back(self) -> None:
        self.value = self.states[0]
        self.states = self.states[:1]

    @property
    def labelling(self) -> Weights:
        return self

    def is_finite(self) -> bool:
        return self.value == self.value

    def reset_to_student(self) -> None:
        self.value = 0.0

    def whole(self, number: int) -> dict[str, Tensor]:
        return {"value": torch.tensor(self.states[number])}

    def load(self, states: list[dict[str, Tensor]]) -> None:
        self.states = [float(state["value"]) for state in states]


class Run:
    """Updates of two labels each, an hour of audio apart."""

    def __init__(self, average_labels: bool = False, **policy: Any) -> None:
        self.policy = HealthConfig(**policy)
        self.average, self.health, self.store = Weights(1.0), LabelHealth(), LabelStore()
        states = self.average if self.policy.action == "rollback" else None
        half_life_hours = 160.0 if average_labels else None
        self.recovery = Recovery(self.policy, self.average, states, half_life_hours)  # type: ignore[arg-type]
        self.recovery.begin(0.0)
        self.hours, self.said = 0.0, ""

    def go(self, counts: LabelCounts, updates: int) -> str:
        said = [self.update([counts]) for _ in range(updates)]
        return "\n".join(line for line in said if line)

    def update(self, observed: list[LabelCounts]) -> str:
        self.hours += 1.0
        seen = Observations.of([(counts, None) for counts in observed])
        said = self.recovery.watch(seen, self.hours, self.health, self.store, 10.0)
        return "\n".join(said)


@pytest.mark.parametrize("labels_a_batch", [1, 4, 16, 64])
def test_a_pause_that_begins_within_a_batch_ends(labels_a_batch: int) -> None:
    """What the student had met in the rest of that batch was heard, and outlasted all labels of the pause."""
    label = LabelCounts(labels=1, tokens=10, seconds=1)
    agrees, differs = (LabelCounts(disagreements=d, agreed_on=10, uses=1) for d in (0, 10))
    run, paused = Run(action="pause"), 0
    for start in range(0, 2048, labels_a_batch):
        use = differs if 512 <= start < 576 else agrees
        was_paused = run.recovery.is_paused
        run.update([label] * labels_a_batch if was_paused else [label, use] * labels_a_batch)
        paused += labels_a_batch * was_paused
    assert 0 < paused < 200
    assert not run.recovery.is_paused


@pytest.mark.parametrize("action", ["pause", "rollback"])
def test_until_a_teacher_labels_it_is_only_said_that_labels_look_ill(action: str) -> None:
    """Those from outside do not feed back on themselves."""
    run = Run(average_labels=True, action=action)
    run.recovery.teacher_from_hours = 20.0
    said = run.go(BROKEN, 15)
    assert "look unhealthy" in said
    assert run.average.value == 1.0
    assert not run.recovery.is_paused
    said = run.go(BROKEN, 10)
    assert "left out until they are healthy" in said or "put back" in said


@pytest.mark.parametrize("action", ["pause", "rollback"])
def test_what_the_collapsed_made_after_the_alarm_in_a_batch_is_not_used_again(action: str) -> None:
    """A cache would train on it for hours."""
    run = Run(action=action)
    run.recovery.keeps_labels_for_long = True
    run.go(SOUND, 50)
    label, broken = Label([1], LabelMetrics(1, 0, 0)), LabelCounts(labels=1, broken=1, seconds=1)
    keys = [(0, number) for number in range(30)]
    keep(run.store, [LabelRecord(key, "", 1.0, label, "", None, None) for key in keys])
    observed = Observations.of([(broken, key) for key in keys])
    said = run.recovery.watch(observed, 51.0, run.health, run.store, 10.0)
    assert any("unhealthy" in line for line in said)
    assert all(kept.dropped is not None for kept in run.store.kept.values())


def test_a_batch_warns_once() -> None:
    """Labels that are judged one by one cross the limit many times in a large batch."""
    run = Run(action="warn")
    run.go(SOUND, 20)
    batch = [*[BROKEN] * 8, *[SOUND] * 40] * 4
    assert run.update(batch).count("unhealthy") == 1


def test_a_pause_begins_once_and_ends_with_proof() -> None:
    run = Run(action="pause")
    assert run.go(SOUND, 100) == ""
    said = run.go(BROKEN, 100)
    assert run.recovery.is_paused
    assert said.count("unhealthy") == said.count("left out") == 1
    assert run.go(SOUND, 4) == ""
    assert run.recovery.is_paused, "a few sound labels prove nothing"
    assert "healthy again" in run.go(SOUND, 60)
    assert not run.recovery.is_paused
    assert "left out" in run.go(BROKEN, 20), "and it can come again"


def test_a_student_that_disagrees_is_paused_for_a_while() -> None:
    run = Run(action="pause")
    differs = LabelCounts(labels=2, tokens=20, seconds=2, disagreements=60, agreed_on=20, uses=2)
    said = ""
    while not run.recovery.is_paused:
        said += run.go(differs, 1)
    assert "differs" in said
    # While labels are left out, nothing is compared; labels that are sound end the pause.
    assert "healthy again" in run.go(SOUND, 40)


def test_the_teacher_goes_back_beyond_the_last_state_and_not_twice_to_the_same() -> None:
    run = Run(action="rollback", average_labels=True, snapshot_hours=1.0)
    for value in range(2, 60):
        run.average.value = float(value)
        run.go(SOUND, 1)
    older = run.average.states[0]
    assert 1.0 < older < run.average.states[1] <= 59.0
    run.average.value = -1.0
    said = ""
    while "put back" not in said:
        said += run.go(BROKEN, 1)
    assert run.average.value == older
    assert not run.recovery.is_paused
    assert "left out" in run.go(BROKEN, 5), "it did not help"
    assert run.recovery.is_paused
    run.go(SOUND, 100)
    run.average.value = -2.0
    assert "put back" in run.go(BROKEN, 10)


def test_states_that_labels_have_not_told_of_are_not_kept() -> None:
    run = Run(action="rollback", snapshot_hours=0.001)
    run.go(SOUND, 11)
    assert run.average.states == [1.0]
    run.go(SOUND, 1)
    assert len(run.average.states) == 2


def test_states_are_kept_as_often_as_asked_whatever_the_batch() -> None:
    """Every 2.5 hours, at batches of an hour: counted from the last one, it would be every 3."""
    run = Run(action="rollback", snapshot_hours=2.5)
    run.go(LabelCounts(labels=24, tokens=240, seconds=24), 60)
    assert run.average.times_kept == 1 + 60 / 2.5


def test_a_pause_may_begin_and_end_within_a_batch() -> None:
    run = Run(action="pause")
    run.go(SOUND, 50)
    said = run.update([BROKEN] * 4 + [SOUND] * 40)
    assert "left out" in said
    assert "healthy again" in said
    assert not run.recovery.is_paused, "as a smaller batch after these labels would find it"
    assert "left out" in run.update([SOUND] * 40 + [BROKEN] * 4)
    assert run.recovery.is_paused


def test_a_teacher_that_went_back_is_not_judged_by_the_rest_of_the_batch() -> None:
    run = Run(action="rollback")
    run.go(SOUND, 100)
    said = run.update([BROKEN] * 60)
    assert "put back" in said
    assert "left out" not in said
    assert not run.recovery.is_paused
    assert run.go(SOUND, 30) == ""
    assert "put back" in run.go(BROKEN, 10), "and these are its own"


def test_what_is_not_finite_is_reset() -> None:
    run = Run(action="pause")
    run.average.value = float("nan")
    assert "is reset" in run.go(BROKEN, 10)
    assert run.average.value == 0.0


def test_an_average_that_stays_ill_is_reset_once_a_pause() -> None:
    run = Run(action="pause", average_labels=True)
    while not run.recovery.is_paused:
        run.go(BROKEN, 1)
    assert run.go(BROKEN, 39) == ""
    assert "is reset" in run.go(BROKEN, 1), "a quarter of 160 hours"
    assert run.average.value == 0.0
    run.average.value = 2.0
    assert run.go(BROKEN, 100) == ""
    assert "healthy again" in run.go(SOUND, 60)
    said = run.go(BROKEN, 12)
    assert "left out" in said
    run.go(SOUND, 60)
    assert run.average.value == 2.0, "it was healthy in time"


def test_an_average_of_whom_nothing_is_known_is_reset_as_well() -> None:
    run = Run(action="pause", average_labels=True)
    while not run.recovery.is_paused:
        run.go(BROKEN, 1)
    assert "is reset" in run.go(LabelCounts(), 60), "a cache makes labels seldom"


def test_the_average_of_a_student_that_was_rolled_back_restarts() -> None:
    run = Run(action="rollback")
    run.go(SOUND, 100)
    assert "average restarts" in run.go(BROKEN, 10)
    run = Run(action="rollback", average_labels=True)
    run.go(SOUND, 100)
    assert "average restarts" not in run.go(BROKEN, 10)


def test_within_the_grace_it_is_only_said() -> None:
    run = Run(action="rollback", snapshot_hours=1.0, grace_hours=50.0)
    said = run.go(BROKEN, 49)
    assert said.count("unhealthy") == 1
    assert not run.recovery.is_paused
    assert not run.average.states, "what cannot read yet is no healthy state"
    assert "left out" in run.go(BROKEN, 1), "it is ill at the end of the grace, too"
    run.go(SOUND, 60)
    assert not run.recovery.is_paused
    assert len(run.average.states) == 2
    assert "put back" in run.go(BROKEN, 10)


def test_what_does_not_label_is_not_reset() -> None:
    run = Run(action="pause")
    assert "is reset" not in run.go(BROKEN, 300)


def test_the_latest_labels_are_not_used_any_more() -> None:
    run = Run(action="pause")
    label = Label([1, 2], LabelMetrics(0.9, 0.5, 0.1))
    keep(
        run.store,
        [LabelRecord((0, n), f"u{n}", 1.0, label, "", None, None) for n in range(3)],
    )
    assert "3 labels made last" in run.go(BROKEN, 10)
    assert {kept.dropped for kept in run.store.kept.values()} == {"invalidated"}


@pytest.mark.parametrize("action", ["pause", "rollback"])
def test_a_checkpoint_brings_it_back(action: str) -> None:
    run = Run(action=action)
    run.go(SOUND, 50)
    run.go(BROKEN, 30)
    again = Run(action=action)
    tensors = run.recovery.tensors()
    again.recovery.load(run.recovery.state(), lambda name: tensors[name])
    assert again.recovery.state() == run.recovery.state()
    assert again.average.states == run.average.states


_SPOILT_UPDATE = 25
_SPOIL = (
    "import sys; from asr.__main__ import main\n"
    "from asr.distributed.engine import Engine; from asr.teacher.ema import WeightAverage\n"
    "whom, token = sys.argv[1], int(sys.argv[2])\n"
    "calls, offset = [], 100.0 if token >= 0 else float('nan')\n"
    "def teacher(self, momentum, sample, update=WeightAverage.update):\n"
    "    update(self, momentum, sample)\n"
    "    calls.append(1)\n"
    f"    if len(calls) == {_SPOILT_UPDATE}:\n"
    "        weights = self.weights()\n"
    "        weights['head.bias'][token] += offset\n"
    "        self.load(weights)\n"
    "def student(self, step=Engine.step):\n"
    "    done = step(self)\n"
    "    calls.append(1)\n"
    f"    if len(calls) == {_SPOILT_UPDATE}:\n"
    "        self.student.head.bias.data[token] += offset\n"
    "    return done\n"
    "if whom == 'teacher': WeightAverage.update = teacher\n"
    "else: Engine.step = student\n"
    "sys.exit(main(sys.argv[3:]))"
)
BLANK, SOME_TOKEN, NAN = 0, 3, -1


def run_with(
    recipe: Path, fluent: Path, run: Path, whom: str, token: int, *settings: str
) -> tuple[Path, str]:
    """A run whose teacher is spoilt, and what it said."""
    arguments = [
        *("train", str(recipe), f"output={run}", *PLAIN, *FLUENT, f"fork_from={final(fluent)}"),
        *("pseudo_label.start_hours=0.12", "trainer.total_hours=0.24"),
        *("trainer.evaluation_every_hours=0.24", "trainer.checkpoint_every_hours=0.02"),
        *settings,
    ]
    done = subprocess.run(
        [sys.executable, "-c", _SPOIL, whom, str(token), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return run, (run / "train.log").read_text(encoding="utf-8")


def final_wer(run: Path, model: str) -> float:
    lines = [r for r in read_lines(run / "metrics.jsonl") if r.get("model") == model]
    return float(lines[-1]["wer"])


def updates_until_the_alarm(run: Path, fluent: Path, said: str) -> int:
    """Since the spoilt update."""
    hours = next(float(line.split()[0]) for line in said.splitlines() if "unhealthy" in line)
    lines = [r for r in read_lines(run / "metrics.jsonl") if "loss" in r]
    nearest = min(lines, key=lambda line: abs(line["hours"] - hours))
    forked = read_json(final(fluent) / "state.json")["batches_drawn"]
    return int(nearest["batch"]) - forked - _SPOILT_UPDATE


CACHE = (
    "pseudo_label.schedule=cache",
    "pseudo_label.cache.capacity_utterances=12",
    "pseudo_label.cache.replacement_probability=0.3",
)
ROUNDS = ("pseudo_label.schedule=rounds", "pseudo_label.rounds.every_hours=0.01")
SLIMIPL = ("pseudo_label.teacher=student", *CACHE)
SLOW_AVERAGE = (*SLIMIPL, "teacher.half_life_hours=0.04")
SELDOM = (*CACHE, "pseudo_label.cache.replacement_probability=0.1", "teacher.half_life_hours=0.04")
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("action", "whom", "token", "method"),
    [
        ("pause", "teacher", SOME_TOKEN, ()),
        pytest.param("pause", "teacher", NAN, (), marks=slow),
        pytest.param("pause", "teacher", SOME_TOKEN, ROUNDS, marks=slow),
        pytest.param("pause", "teacher", BLANK, CACHE, marks=slow),
        ("rollback", "teacher", BLANK, ()),
        pytest.param("rollback", "teacher", SOME_TOKEN, ROUNDS, marks=slow),
        pytest.param("rollback", "teacher", SOME_TOKEN, CACHE, marks=slow),
        pytest.param("rollback", "teacher", SOME_TOKEN, ("trainer.zero_stage=2",), marks=slow),
        pytest.param("rollback", "student", SOME_TOKEN, SLIMIPL, marks=slow),
        pytest.param("rollback", "student", BLANK, SLIMIPL, marks=slow),
        pytest.param("rollback", "student", SOME_TOKEN, SLOW_AVERAGE, marks=slow),
        pytest.param("rollback", "student", NAN, SLOW_AVERAGE, marks=slow),
        pytest.param("pause", "teacher", SOME_TOKEN, SELDOM, marks=slow),
    ],
)
def test_a_collapse_is_noticed_and_survived(
    action: str,
    whom: str,
    token: int,
    method: tuple[str, ...],
    recipe: Path,
    fluent: Path,
    tmp_path: Path,
) -> None:
    settings = [
        f"pseudo_label.health.action={action}",
        "pseudo_label.health.snapshot_hours=0.01",
    ]
    run, said = run_with(recipe, fluent, tmp_path / "spoilt", whom, token, *settings, *method)
    assert 0 <= updates_until_the_alarm(run, fluent, said) <= 50
    assert ("put back" in said) == (action == "rollback")
    if method is SELDOM:  # and so labels do not prove it before the end
        assert "is reset" in said
    else:
        assert ("healthy again" in said) == (action == "pause")
    # As without the collapse: `fluent` reads the tones without an error, or nearly so.
    assert final_wer(run, "teacher") < 10
    assert final_wer(run, "student") < 10


@pytest.mark.slow
def test_without_a_remedy_the_collapse_spreads(recipe: Path, fluent: Path, tmp_path: Path) -> None:
    warn = "pseudo_label.health.action=warn"
    run, said = run_with(recipe, fluent, tmp_path / "warned", "teacher", SOME_TOKEN, warn)
    assert "unhealthy" in said
    assert final_wer(run, "student") > 50
