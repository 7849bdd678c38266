"""Objectives: the loss is torch's own, and what cannot be trained on is left out, by its reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from asr.data.loading.micro_batch import MicroBatch
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.model.criterion import Ctc
from asr.training.batch_stats import BatchStats
from asr.training.objectives.objective import StudentInput
from asr.training.objectives.texts import TextObjective

RANKS = Ranks(0, 1, torch.device("cpu"))
FRAMES = [9, 6, 3]
TARGETS = [[1, 2, 2], [3], [1, 1, 2]]
"""The last one needs four frames and has three."""


class Student:
    """Logits of its own, and what it was asked for."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.logits_BSV = torch.randn(3, 9, 4, generator=generator).requires_grad_()
        self.asked: list[list[int]] = []
        self.spoilt: set[int] = set()

    def forward(self, kept: list[int], targets: list[list[int]]) -> tuple[Tensor, Tensor]:
        self.asked.append(kept)
        if not kept:
            return self.logits_BSV[:1], torch.tensor([9])
        logits_BSV = self.logits_BSV[kept].clone()
        for row in [row for row, place in enumerate(kept) if place in self.spoilt]:
            logits_BSV[row, 0, 0] = float("nan")
        return logits_BSV, torch.tensor([FRAMES[place] for place in kept])


def given(student: Student, *kinds: Kind) -> StudentInput:
    """Of three utterances, each of its kind."""
    segments = [Segment(kind, place, 0, 1.0 + place) for place, kind in enumerate(kinds)]
    ids = [f"u{place}" for place in range(3)]
    targets = [t if k is Kind.LABELLED else [] for t, k in zip(TARGETS, kinds, strict=True)]
    present = tuple(kind for kind in Kind if kind in kinds)
    micro_batch = MicroBatch(present, True, segments, ids, None, None, targets, [""] * 3)
    heard = torch.zeros(3, 4, 2), torch.tensor([4, 4, 4])
    return StudentInput(micro_batch, heard, FRAMES, student.forward, True)


def reference_loss(student: Student, places: list[int]) -> Tensor:
    return sum(
        functional.ctc_loss(
            student.logits_BSV[place, : FRAMES[place]].log_softmax(-1)[:, None],
            torch.tensor([TARGETS[place]]),
            torch.tensor([FRAMES[place]]),
            torch.tensor([len(TARGETS[place])]),
            reduction="sum",
        )
        for place in places
    )  # type: ignore[return-value]


def test_transcripts_that_do_not_fit_are_counted_and_the_rest_is_torch_s_loss() -> None:
    student, stats = Student(), BatchStats()
    loss = TextObjective(RANKS, Ctc()).loss(given(student, *[Kind.LABELLED] * 3), stats)
    assert loss.item() == pytest.approx(reference_loss(student, [0, 1]).item(), rel=1e-6)
    assert student.asked == [[0, 1]]
    assert (stats.infeasible_transcripts, stats.labelled_seconds) == (1, 3.0)
    assert stats.loss_labelled == loss.item()


def test_an_utterance_whose_loss_is_not_finite_is_named_and_left_out() -> None:
    student, stats = Student(), BatchStats()
    student.spoilt = {0}
    loss = TextObjective(RANKS, Ctc()).loss(given(student, *[Kind.LABELLED] * 3), stats)
    assert loss.item() == pytest.approx(reference_loss(student, [1]).item(), rel=1e-6)
    assert student.asked == [[0, 1], [1]]
    assert (stats.non_finite, stats.non_finite_ids, stats.labelled_seconds) == (1, ["u0"], 2.0)
    student.spoilt = {0, 1}
    nothing = TextObjective(RANKS, Ctc()).loss(given(student, *[Kind.LABELLED] * 3), stats)
    assert nothing.item() == 0.0
    nothing.backward()
    assert student.logits_BSV.grad is not None, "other ranks' passes wait for this one's graph"


def test_labels_weigh_as_the_recipe_says_and_are_compared_with_the_student() -> None:
    student, stats = Student(), BatchStats()
    compared: list[tuple[list[Segment], list[list[int]], list[list[int]]]] = []
    labeler = SimpleNamespace(
        targets=lambda micro_batch, frames: (TARGETS, [1], [None] * 3),
        compare=lambda *arguments: compared.append(arguments),
    )
    objective = TextObjective(RANKS, Ctc(), labeler, 0.25)  # type: ignore[arg-type]
    loss = objective.loss(given(student, *[Kind.UNTRANSCRIBED] * 3), stats)
    plain = reference_loss(student, [1]).item()
    assert loss.item() == pytest.approx(0.25 * plain, rel=1e-6)
    assert stats.loss_pseudo_labelled == pytest.approx(plain, rel=1e-6)
    assert (stats.pseudo_labelled_seconds, stats.labelled_seconds) == (2.0, 0.0)
    [(segments, paths, targets)] = compared
    assert [segment.index for segment in segments] == [1]
    assert targets == [[3]]
    assert len(paths) == 1


def test_both_kinds_are_heard_in_one_pass_and_weigh_each_as_it_should() -> None:
    student, stats = Student(), BatchStats()
    asked: list[list[str]] = []

    def targets(part: MicroBatch, frames: list[int]) -> tuple[Any, ...]:
        asked.append(part.ids)
        assert frames == [FRAMES[1]]
        return [TARGETS[1]], [0], [None]

    compared: list[Any] = []
    labeler = SimpleNamespace(targets=targets, compare=lambda *all_of: compared.append(all_of))
    objective = TextObjective(RANKS, Ctc(), labeler, 0.25)  # type: ignore[arg-type]
    mixture = given(student, Kind.LABELLED, Kind.UNTRANSCRIBED, Kind.LABELLED)
    loss = objective.loss(mixture, stats)
    transcript, label = (reference_loss(student, [place]).item() for place in (0, 1))
    assert loss.item() == pytest.approx(transcript + 0.25 * label, rel=1e-6)
    assert asked == [["u1"]]
    assert student.asked == [[0, 1]], "the third transcript does not fit its frames"
    assert (stats.labelled_seconds, stats.pseudo_labelled_seconds) == (1.0, 2.0)
    assert stats.loss_labelled == pytest.approx(transcript, rel=1e-6)
    assert stats.loss_pseudo_labelled == pytest.approx(label, rel=1e-6)
    assert stats.infeasible_transcripts == 1
    [(segments, _, of_labels)] = compared
    assert [segment.index for segment in segments] == [1]
    assert of_labels == [TARGETS[1]]
