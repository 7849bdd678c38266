"""Runs of pretrained encoders: each family labels, resumes exactly, and does not depend on the ranks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Train, asr_command, final, kill_after_lines, losses, same_weights
from conftest import without_wall_time as metrics_of

pytest.importorskip("transformers")

from pretrained_helpers import FAMILIES, write_pretrained


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_trains_resumes_exactly_and_on_two_ranks(
    train: Train, recipe: Path, tmp_path: Path, family: str
) -> None:
    write_pretrained(tmp_path / "model", family)
    model = (
        f"model={{kind: pretrained, encoder: {tmp_path / 'model'}, dropout: 0.1, layer_drop: 0.2}}"
    )
    options = [model, "corpus.max_seconds=20", "pseudo_label.start_hours=0.01"]
    options += ["trainer.total_hours=0.08", "optimizer.learning_rate=1e-3"]
    whole = train("whole", *options)
    assert len(losses(whole)) >= 19
    killed = tmp_path / "killed"
    command = [*asr_command(), "train", str(recipe), f"output={killed}", *options]
    kill_after_lines(command, killed, 8)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    assert metrics_of(killed) == metrics_of(whole)
    for name in ("student", "teacher"):
        assert same_weights(*(final(run) / f"{name}.safetensors" for run in (killed, whole)))
    both = train("both", *options, "trainer.zero_stage=2", ranks=2)
    # Losses are of a second of audio, and of data2vec's tens: 1e-4 of them.
    assert losses(both) == pytest.approx(losses(whole), rel=1e-4, abs=1e-4)
