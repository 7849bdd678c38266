"""The campaign of kills: whatever is killed, whenever, ends as if it had not been."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import needs_beam_search
from kill_runs import Story, kill_runs, undisturbed
from method_helpers import METHODS

from asr.__main__ import main

KILLS = os.environ.get("ASR_FAULT_KILLS", "10,20")
"""At random moments, at changes of files: over all methods. The whole campaign: 100,60."""
SEED = int(os.environ.get("ASR_FAULT_SEED", 1))
OFTEN = ["trainer.checkpoint_every_hours=0.008"]
IPL = [
    "pseudo_label.teacher=student",
    "pseudo_label.schedule=rounds",
    "pseudo_label.rounds.every_hours=0.01",
    "pseudo_label.rounds.share=0.5",
    "pseudo_label.decision=beam",
]
STORIES = ("ema_scaled", "slimipl", "ipl", "two_ranks")


def shares(kills: str) -> dict[str, tuple[int, int]]:
    """Of both numbers each story's part; the first stories get what is left over."""
    moments, events = (int(count) for count in kills.split(","))
    count = len(STORIES)
    return {
        name: ((moments + count - 1 - at) // count, (events + count - 1 - at) // count)
        for at, name in enumerate(STORIES)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*STORIES[:2], pytest.param("ipl", marks=needs_beam_search), "two_ranks"]
)
def test_a_killed_run_ends_as_one_that_was_not(
    name: str, recipe: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*OFTEN, *METHODS.get(name, [])]
    if name == "ipl":
        model = tmp_path / "lm.arpa"
        cuts = str(corpus / "labelled.jsonl.gz")
        assert main(["prepare", "lm", "--cuts", cuts, "--output", str(model)]) == 0
        settings += [*IPL, f"pseudo_label.beam.language_model={model}"]
    if name == "two_ranks":
        settings += ["trainer.zero_stage=2"]
    story = Story(recipe, settings, 2 if name == "two_ranks" else 1)
    reference = tmp_path / "reference"
    spans = undisturbed(story, reference)
    assert spans[0] > 100
    figures = kill_runs(story, reference, spans, shares(KILLS)[name], SEED)
    with capsys.disabled():
        print("\n" + figures.say(f"{name}, seed {SEED}"))
    ended = figures.counts["runs"]
    assert figures.counts["not ended"] == figures.counts["hangs"] == 0, figures.say(name)
    if story.ranks == 1:
        assert figures.counts["identical"] == ended, figures.say(name)
    assert figures.counts["lost records"] == figures.counts["tracebacks"] == 0, figures.say(name)
