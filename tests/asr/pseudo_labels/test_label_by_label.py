"""The health of labels does not depend on how the stream is cut: into batches, micro-batches, ranks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from asr.config.recipe import parse_config
from asr.data.batching import split_into_micro_batches
from asr.data.loading.micro_batch import MicroBatch
from asr.data.sampler import GlobalBatch, Position
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.model.ctc import is_feasible
from asr.pseudo_labels.cache_policy import CachePolicy
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.pseudo_labels.records import LabelRecord
from asr.pseudo_labels.recovery import Recovery
from asr.pseudo_labels.schedules import OnlineSchedule

LABELS = 10_000
BROKEN_SHARE = 0.075
"""Well below the limit of 0.2: what rings the alarm is chance."""
CONFIG = parse_config(
    {
        "corpus": {"untranscribed": ["some"]},
        "tokenizer": {"characters": "abc"},
        "pseudo_label": {"start_hours": 0, "health": {"action": "pause"}},
    },
    "test",
)


@dataclass
class Speech:
    """A stream of utterances, some of whose labels come out empty; lengths and places at random."""

    seed: int = 0
    segments: list[Segment] = field(init=False)
    tokens: list[list[int]] = field(init=False)
    """Of the label, by place in the corpus."""
    student: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        lengths = random.integers(1, 10, LABELS)
        is_broken = random.random(LABELS) < BROKEN_SHARE
        places = random.permutation(LABELS).tolist()
        self.segments = [Segment(Kind.UNTRANSCRIBED, n, 0, float(lengths[n])) for n in places]
        self.tokens = [
            [] if broken else random.integers(1, 9, 10 * length).tolist()
            for broken, length in zip(is_broken, lengths, strict=True)
        ]
        self.student = [
            random.integers(1, 9, 2 * len(label)).tolist() if random.random() < 0.5 else label
            for label in self.tokens
        ]

    def make(self, micro_batch: MicroBatch, *_: Any) -> list[LabelRecord]:
        """What LabelMaker does."""
        metrics = LabelMetrics(0.9, 0.5, 0.1)
        return [
            LabelRecord(
                (s.pass_index, s.index),
                str(s.index),
                s.seconds,
                Label(self.tokens[s.index], metrics),
                "",
                None,
                None,
            )
            for s in micro_batch.segments
        ]


def labeler_of(speech: Speech, ranks: Ranks, said: list[str]) -> PseudoLabeler:
    teacher = SimpleNamespace(begin=lambda hours: None)
    return PseudoLabeler(
        CONFIG,
        SimpleNamespace(tokens_per_second=10.0),  # type: ignore[arg-type]
        ranks,
        SimpleNamespace(make=speech.make, teacher=teacher, can_emit=is_feasible),  # type: ignore[arg-type]
        OnlineSchedule(CONFIG),
        Recovery(CONFIG.pseudo_label.health, SimpleNamespace(is_finite=lambda: True), None),  # type: ignore[arg-type]
        CachePolicy(CONFIG.pseudo_label.cache),
        said.append,
    )


def label(
    speech: Speech,
    ranks: Ranks,
    labels_a_batch: int,
    micro_batch_seconds: float = 1e9,
    with_student: bool = False,
) -> tuple[PseudoLabeler, list[str], float]:
    """A run's labels: who made them, what was said, and the share that was left out in a pause."""
    said: list[str] = []
    labeler, paused = labeler_of(speech, ranks, said), 0
    for number, start in enumerate(range(0, LABELS, labels_a_batch)):
        segments = tuple(speech.segments[start : start + labels_a_batch])
        batch = GlobalBatch((segments,), sum(s.seconds for s in segments), Position())
        labeler.begin_batch(batch, number, start / 3600)
        for slot in split_into_micro_batches(segments, ranks.world, micro_batch_seconds):
            mine = slot[ranks.rank]
            micro_batch = MicroBatch(
                (Kind.UNTRANSCRIBED,),
                True,
                mine,
                [""] * len(mine),
                None,
                None,
                [[]] * len(mine),
                [""] * len(mine),
            )
            targets, kept, _ = labeler.targets(micro_batch, [1000] * len(mine))
            if with_student:
                trained = [mine[place] for place in kept]
                paths = [speech.student[segment.index] for segment in trained]
                labeler.compare(trained, paths, [targets[place] for place in kept])
        labeler.end_batch(batch)
        paused += labeler.dropped["paused"]
    return labeler, said, paused / LABELS


def pauses(said: list[str]) -> int:
    return sum("left out" in line for line in said)


ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.mark.slow
def test_a_larger_batch_pauses_as_often_and_leaves_out_as_much() -> None:
    """With a decay between batches, and not within, it was 31, 18, 4 and 0 times in these labels."""
    speech = Speech()
    counts, shares = {}, {}
    for labels_a_batch in (1, 4, 16, 64):
        _, said, shares[labels_a_batch] = label(speech, ALONE, labels_a_batch)
        counts[labels_a_batch] = pauses(said)
    assert counts[1] > 10
    assert counts == dict.fromkeys(counts, counts[1])
    assert list(shares.values()) == pytest.approx([shares[1]] * 4, rel=0.35)


class Peers:
    """Ranks that are threads."""

    def __init__(self, world: int) -> None:
        self.world, self.barrier = world, threading.Barrier(world, timeout=60)
        self.tensors = [torch.zeros(0)] * world

    def rank(self, number: int) -> Ranks:
        peers = self

        class Rank(Ranks):
            def add_up(self, tensor: torch.Tensor) -> None:
                peers.tensors[number] = tensor
                peers.barrier.wait()
                whole = sum(peers.tensors[1:], peers.tensors[0])
                peers.barrier.wait()
                tensor.copy_(whole)

        return Rank(number, self.world, torch.device("cpu"))


def test_ranks_and_accumulation_ring_at_the_same_labels_and_agree_on_every_bit() -> None:
    speech = Speech()
    whole, said, _ = label(speech, ALONE, 32, with_student=True)
    assert pauses(said) > 3
    assert any("differs" in line for line in said), "the student is heard label by label, too"
    accumulated, also_said, _ = label(speech, ALONE, 32, 30.0, with_student=True)
    peers = Peers(2)
    found: dict[int, tuple[PseudoLabeler, list[str], float]] = {}

    def run(number: int) -> None:
        found[number] = label(speech, peers.rank(number), 32, 60.0, with_student=True)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert also_said == found[0][1] == found[1][1] == said
    for other in (accumulated, found[0][0], found[1][0]):
        assert other.health == whole.health
