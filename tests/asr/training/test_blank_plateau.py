"""The plateau of blanks is named while it lasts, seldom, and so is its end."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import torch

from asr.model.criterion import Ctc
from asr.training.batch_stats import BatchStats
from asr.training.guards.blank_plateau import BlankPlateau

SECONDS = 30.0


def batch(tokens: float) -> BatchStats:
    """Thirty seconds of speech whose transcripts have 100 tokens, in 1,000 frames."""
    stats = BatchStats(labelled_seconds=SECONDS, labelled_frames=1000, transcript_tokens=100)
    stats.labelled_tokens, stats.labelled_blank_frames = tokens, 1000 - tokens
    return stats


def walk(plateau: BlankPlateau, outputs: list[float], hours: float = 0.0) -> list[str]:
    said = []
    for tokens in outputs:
        hours += SECONDS / 3600
        said += plateau.observe(batch(tokens), hours)
    return said


def test_it_is_named_seldom_while_it_lasts_and_when_it_is_left() -> None:
    said = walk(BlankPlateau(), [300.0] * 5 + [0.0] * 240 + [60.0] * 10)
    lasted = [
        float(line.split("for ")[1].split(" h")[0]) for line in said if "plateau: for" in line
    ]
    assert len(lasted) == 5, "at 0.1, 0.2, 0.4, 0.8 and 1.6 h"
    assert lasted[0] >= 0.1
    assert all(b >= 2 * a - 0.02 for a, b in itertools.pairwise(lasted))
    assert "% of the frames of transcribed speech" in said[0]
    assert "optimizer.warmup_hours" in said[0]
    assert "init_from" in said[0]
    assert "plateau left after 1.8" in said[-1]
    assert len(said) == 6


def test_a_short_one_and_a_sparse_output_are_not_named() -> None:
    assert walk(BlankPlateau(), [300.0] * 5 + [0.0] * 8 + [50.0] * 100) == []
    assert walk(BlankPlateau(), [30.0] * 300) == []


def test_another_batch_names_it_at_the_same_hours() -> None:
    plateau, twice = BlankPlateau(), BlankPlateau()
    walk(plateau, [0.0] * 100)
    for number in range(50):
        large = batch(0.0)
        large.labelled_seconds *= 2
        twice.observe(large, (number + 1) * 2 * SECONDS / 3600)
    assert plateau.next_told_hours == twice.next_told_hours == 1.6


def test_it_goes_on_after_a_stop() -> None:
    outputs = [0.0] * 60 + [40.0] * 20
    whole = BlankPlateau()
    expected = walk(whole, outputs)
    begun = BlankPlateau()
    said = walk(begun, outputs[:30])
    again = BlankPlateau(**asdict(begun))
    said += walk(again, outputs[30:], hours=30 * SECONDS / 3600)
    assert said == expected
    assert asdict(again) == asdict(whole)


def test_metrics_say_how_long_and_how_blank() -> None:
    plateau = BlankPlateau()
    assert plateau.metrics(0.0) == {"student_blank_share": None, "blank_plateau_hours": None}
    walk(plateau, [0.0] * 24)
    metrics = plateau.metrics(0.2)
    assert metrics["student_blank_share"] == 1.0
    assert metrics["blank_plateau_hours"] is not None
    assert 0.18 < metrics["blank_plateau_hours"] < 0.2


def test_the_student_s_output_is_counted_from_its_logits() -> None:
    """Greedy: a a - b, and blanks of a second utterance, whose padding does not count."""
    paths = torch.tensor([[1, 1, 0, 2], [0, 0, 1, 1]])
    logits_BSV = torch.nn.functional.one_hot(paths, 3).float()
    stats = BatchStats()
    said = Ctc().said(logits_BSV.argmax(dim=-1), [4, 2], [[1, 2], [2, 2, 2]])
    stats.note_output(said, [[1, 2], [2, 2, 2]])
    assert (stats.labelled_frames, stats.labelled_blank_frames) == (6, 3)
    assert (stats.labelled_tokens, stats.transcript_tokens) == (2, 5)
