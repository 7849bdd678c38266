"""A batch that is cut for ranks and micro-batches has the same gradients."""

from __future__ import annotations

import pytest
from conftest import Train, final, losses, read_lines, relative_distance


def test_ranks_and_accumulation_only_cut_the_same_stream(train: Train) -> None:
    """With augmentation, dropout and LayerDrop, all of which belong to the utterance."""
    one = train("one")
    two = train("two", ranks=2)
    accumulated = train("accumulated", "batch.max_seconds_per_micro_batch=6")
    for other in (two, accumulated):
        assert losses(other) == pytest.approx(losses(one), rel=1e-4)
        assert read_lines(other / "utterances.jsonl") == read_lines(one / "utterances.jsonl")
        teachers = (final(run) / "teacher.safetensors" for run in (one, other))
        assert relative_distance(*teachers) < 1e-4
    labels = [line["untranscribed"] for line in read_lines(one / "utterances.jsonl")]
    assert any(labels), "the run never pseudo-labelled"
