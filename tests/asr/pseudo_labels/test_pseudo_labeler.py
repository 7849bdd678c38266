"""Each method in whole runs: ranks, resumes, and a change of method."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Train, asr_command, final, kill_after_lines, losses, relative_distance
from method_helpers import CACHE, METHODS, ledger

from asr.config.recipe import parse_config
from asr.model.tokenizer import CharacterTokenizer
from asr.pseudo_labels.cache_policy import CachePolicy
from asr.pseudo_labels.decoders import make_label_decoder
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.pseudo_labels.recovery import Recovery
from asr.pseudo_labels.schedules import OnlineSchedule
from asr.pseudo_labels.store import LabelStore


def like(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows but for the last bits of numbers, which differ with the order of summation."""
    return [
        {k: pytest.approx(v, abs=2e-3) if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    ]


_QUICK = ("from_the_start",)
"""The method of the paper; test_schedules has each mechanism of the others."""


@pytest.mark.parametrize(
    "method",
    [m if m in _QUICK else pytest.param(m, marks=pytest.mark.slow) for m in METHODS],
)
def test_ranks_and_resumes_change_nothing(
    method: str, train: Train, recipe: Path, tmp_path: Path, forked: list[str]
) -> None:
    settings = [*forked, *METHODS[method]]
    whole = train("whole", *settings)
    two = train("two", *settings, ranks=2)
    assert losses(two) == pytest.approx(losses(whole), rel=1e-3)
    for name in ("labels", "uses"):
        assert ledger(two, name) == like(ledger(whole, name))
    assert relative_distance(*(final(r) / "teacher.safetensors" for r in (whole, two))) < 1e-4

    killed = tmp_path / "killed"
    command = ["train", str(recipe), f"output={killed}", *settings]
    kill_after_lines([*asr_command(), *command], killed, len(losses(whole)) - 8)
    # On with two ranks, then with one again.
    stop = [*asr_command(2), *command, "trainer.total_hours=0.145"]
    subprocess.run(stop, check=True, capture_output=True)
    subprocess.run([*asr_command(), *command], check=True, capture_output=True)
    for name in ("labels", "uses"):
        assert ledger(killed, name) == like(ledger(whole, name))
    assert losses(killed) == pytest.approx(losses(whole), rel=1e-3)


@pytest.mark.slow
def test_another_method_takes_over_a_run(train: Train, forked: list[str]) -> None:
    """Which saves before its first label, and goes on."""
    train("run", *forked, *METHODS["slimipl"])
    other = ["pseudo_label.teacher=frozen", "pseudo_label.health.action=rollback"]
    ratio = "pseudo_label.labelled_to_untranscribed=[30,1]"
    longer = [*forked, *CACHE, *other, ratio, "trainer.total_hours=0.165"]
    train("run", *longer)
    run = train("run", *longer, "trainer.total_hours=0.24")
    hours = [use["hours"] for use in ledger(run, "uses")]
    assert max(hours) > 0.165
    frozen = [row for row in ledger(run) if row["hours"] > 0.155]
    assert all(row["teacher_age_hours"] >= 0 for row in frozen)


def test_a_run_that_goes_on_says_that_its_least_confidence_is_by_another_measure() -> None:
    def labeler(**filters: Any) -> PseudoLabeler:
        tree = {"corpus": {"untranscribed": ["some"]}, "tokenizer": {"characters": "abc"}}
        labels = {"start_hours": 0, "filters": filters}
        config = parse_config({**tree, "pseudo_label": labels}, "test")
        policy = config.pseudo_label
        maker = SimpleNamespace(
            stamp=make_label_decoder(config, CharacterTokenizer("abc")).stamp,
            teacher=SimpleNamespace(state=dict, load=lambda *_: None),
        )
        recovery = Recovery(policy.health, SimpleNamespace(), None)  # type: ignore[arg-type]
        parts = OnlineSchedule(config), recovery, CachePolicy(policy.cache)
        return PseudoLabeler(config, None, None, maker, *parts, print, is_begun=True)  # type: ignore[arg-type]

    def said(before: PseudoLabeler, after: PseudoLabeler) -> str:
        state = before.state()
        state["decision"].pop("confidence", None)  # an older checkpoint, which named none
        tensors = LabelStore().tensors()
        return "\n".join(after.load(state, lambda name: tensors, Path("checkpoint")))

    old = labeler(min_confidence=0.9)
    assert "otherwise (confidence)" in said(old, labeler(min_confidence=0.9))
    assert said(old, labeler(min_confidence=0.9, confidence="frames")) == ""
    assert said(labeler(), labeler()) == ""
