"""What an update costs a rank's host besides its own audio, as ranks are added: the plan, and labels.

    .venv/bin/python tools/bench_scale.py                   # 8, 64 and 512 ranks, on one core
    .venv/bin/python tools/bench_scale.py --schedule cache

Plays the first rank, which does most, of the recipe that is named: durations like LibriSpeech's, made-up
labels, no audio and no network. What other ranks would send is made outside of the time that counts; what
arrives is taken in and judged as in a run. Milliseconds of a core, the median over the updates: `plan` is the
main thread's until its micro-batches are known, `labels` from then to the end of the update, but for its own
labels' making; `least` and `worst` of the two together (other work on the machine makes them longer); `save`
what a checkpoint adds for the ledger, spread over its updates; `all` threads together, on average.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from asr.config.recipe import load_config
from asr.data.cache_sampler import CachePlan
from asr.data.dataloader import TrainingData
from asr.data.loading.micro_batch import MicroBatch
from asr.data.loading.read_ahead import ReadAhead
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind, Segment
from asr.distributed.process_group import Ranks
from asr.pseudo_labels.cache_policy import CachePolicy
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.pseudo_labels.records import BatchRecords, Comparison, LabelRecord
from asr.pseudo_labels.recovery import Recovery
from asr.pseudo_labels.schedules import schedule_class

_TOKENS_PER_SECOND = 14.0
_TOKENS: list[int] = np.random.default_rng(2).integers(3, 28, 11_000).tolist()
_HOURS = 20_000.0
"""Of audio before the first update: labels are in use."""
_RECIPE = Path(__file__).parents[1] / "recipes/librispeech/100h_860h.yaml"
_UTTERANCES = {Kind.LABELLED: 28_539, Kind.UNTRANSCRIBED: 252_702}


class Watch:
    """Seconds of a core, but for what is not the program's own."""

    def __init__(self) -> None:
        self.left_out = 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        started = time.thread_time()
        yield
        self.left_out += time.thread_time() - started

    def now(self) -> float:
        """Of the main thread."""
        return time.thread_time() - self.left_out

    def of_all(self) -> float:
        """Of all threads."""
        return time.process_time() - self.left_out


class Speech:
    """Names of made-up utterances, without a list of them."""

    def __init__(self, seconds: np.ndarray) -> None:
        self.seconds, self.is_in_store = seconds, False

    def __len__(self) -> int:
        return len(self.seconds)


class Data(TrainingData):
    """The stream and its plan; micro-batches hold no audio."""

    def __init__(self, config: Any, policy: CachePolicy, at_use: bool, has_cache: bool) -> None:
        random = np.random.default_rng(1)
        self.config, self.labels_at_use, self.lost = config, at_use, {}
        self.tokens_per_second = _TOKENS_PER_SECOND
        corpora = {}
        for kind, count in _UTTERANCES.items():
            long = random.normal(14.6, 1.2, count)
            short = random.uniform(1.5, 14.0, count)
            seconds = np.clip(np.where(random.random(count) < 0.66, long, short), 1.3, 24.5)
            corpora[kind] = GroupedCorpus(kind, seconds.round(3), config.group_seconds, 1)
        self.sets = {kind: Speech(corpus.seconds) for kind, corpus in corpora.items()}  # type: ignore[misc]
        self.store = ReadAhead(self.sets, config.corpus.store)
        untranscribed, cache = corpora[Kind.UNTRANSCRIBED], None
        if has_cache:
            capacity = config.pseudo_label.cache.capacity_utterances
            cache = CachePlan(untranscribed, capacity, policy.probability, 1)
        self.stream = AudioStream(corpora[Kind.LABELLED], untranscribed, (1, 4), 0.0, 1, cache)

    def _loaded(self, specs: Any) -> Iterator[MicroBatch]:
        for spec in specs:
            ids = [f"utterance-{segment.index:08d}" for segment in spec.segments]
            yield MicroBatch(
                spec.kinds,
                spec.is_trained,
                spec.segments,
                ids,
                None,
                None,
                [[]] * len(ids),
                [""] * len(ids),
            )


class Maker:
    """Labels that look healthy."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.teacher = watch, SimpleNamespace(begin=lambda hours: None)

    def can_emit(self, tokens: list[int], frames: int) -> bool:
        return True

    def make(
        self, micro_batch: MicroBatch, hours: float, key: Any, former: Any
    ) -> list[LabelRecord]:
        with self.watch.pause():
            return [self.record(segment, hours, key(segment)) for segment in micro_batch.segments]

    @staticmethod
    def record(segment: Segment, hours: float, key: tuple[int, int], place: int = 0) -> LabelRecord:
        start = 37 * segment.index % 10_000
        tokens = _TOKENS[start : start + int(segment.seconds * _TOKENS_PER_SECOND)]
        metrics = LabelMetrics(0.9, 0.5, 0.2, "frames", None, 0.1, 1.5)
        label = Label(tokens, metrics, hours, 0.1)
        text, name = "a label of some words " * (len(tokens) // 22), f"utterance-{segment.index}"
        return LabelRecord(
            key, name, segment.seconds, label, text, 0.2, None, place, wer_estimate=12.0
        )


class Simulated(Ranks):
    """The first of many ranks; what comes from the others is made up."""

    watch: Watch
    labeler: PseudoLabeler
    places: list[tuple[int, Segment]]
    is_for_cache: bool

    def sum(self, values: list[float]) -> list[float]:
        return values

    def gather(self, items: list[Any]) -> list[Any]:
        """As `all_gather_object`: every rank takes the items of all apart."""
        with self.watch.pause():
            other = self._others(items)
            parts = [pickle.dumps(items), *(pickle.dumps(part) for part in other)]
        return [item for part in parts for item in pickle.loads(part)]

    def collect(self, item: Any) -> list[Any]:
        """Of the ledger: as much from each rank."""
        return [item] * self.world

    def _others(self, items: list[Any]) -> list[list[Any]]:
        """The records of the other ranks, dealt as the segments are."""
        labeler, share = self.labeler, max(1, len(self.places) // self.world)
        records = []
        for start in range(share, len(self.places), share):
            mine = self.places[start : start + share]
            made = [
                Maker.record(segment, _HOURS, labeler.schedule.key(segment), place)
                for place, segment in mine
                if self.is_for_cache or labeler.schedule.labels_at_use
            ]
            compared = [Comparison(place, 5, 100) for place, s in mine if s.is_trained]
            records.append([BatchRecords(made, [], compared)] if self.is_whole(items) else made)
        return records

    @staticmethod
    def is_whole(items: list[Any]) -> bool:
        return bool(items) and isinstance(items[0], BatchRecords)

    def deal(self, batch: Any, for_cache: bool) -> None:
        """The segments that the others label or use now."""
        places = [
            (place, s)
            for place, s in enumerate(batch.segments)
            if s.kind is Kind.UNTRANSCRIBED and s.is_trained is not for_cache
        ]
        self.__dict__.update(is_for_cache=for_cache, places=places)  # frozen

    def add_up(self, tensor: torch.Tensor) -> None:
        """As the ranks' sum: what this one has, again and again for all others."""
        with self.watch.pause():
            if tensor.dim() == 2:
                places = torch.tensor([place for place, _ in self.places])
                is_own = tensor[:, places].any(dim=0)
                own, others = places[is_own], places[~is_own]
                if len(own):  # a rank may have had transcribed speech alone
                    tensor[:, others] = tensor[:, own[torch.arange(len(others)) % len(own)]]


def measure(world: int, schedule: str, updates: int, recipe: Path, work_seconds: float) -> str:
    """A line of the table."""
    config = load_config(
        recipe, [f"pseudo_label.schedule={schedule}", "pseudo_label.start_hours=0"]
    )
    policy, watch = config.pseudo_label, Watch()
    chosen, cache_policy = schedule_class(config)(config), CachePolicy(policy.cache)
    data = Data(config, cache_policy, chosen.labels_at_use, chosen.has_cache)
    ranks = Simulated(0, world, torch.device("cpu"))
    averages = SimpleNamespace(is_finite=lambda: True)
    labeler = PseudoLabeler(
        config, data, ranks, Maker(watch), chosen, Recovery(policy.health, averages, None),  # type: ignore[arg-type]
        cache_policy, print,
    )  # fmt: skip
    ranks.__dict__.update(watch=watch, labeler=labeler)  # frozen
    position = filled(data, config, world) if chosen.has_cache else Position(seconds=1.0)
    # The first rank's duties, and the last one's speech: where kinds share a slot, the first has what is
    # transcribed.
    batches = data.batches(position, world - 1, world)
    with tempfile.TemporaryDirectory() as folder:
        labeler.ledger = LabelLedger(Path(folder), 0, ranks)
        plans, labels, of_all, utterances = [], [], [], 0
        for number in range(updates + 2):
            all_before = watch.of_all()
            started = watch.now()
            batch = next(batches)
            micro_batches = list(batch.micro_batches)
            planned = watch.now()
            with watch.pause():
                utterances = len(batch.batch.segments)
            update(labeler, ranks, watch, batch, micro_batches, number)
            labelled = watch.now()
            if number >= 2:
                plans.append(planned - started)
                labels.append(labelled - planned)
            time.sleep(work_seconds)  # forward and backward passes; a plan ahead is made meanwhile
            if number >= 2:
                of_all.append(watch.of_all() - all_before)
        started = watch.now()
        labeler.ledger.write(updates + 2)
        save = (watch.now() - started) / (updates + 2)
    plan_ms, labels_ms = 1000 * statistics.median(plans), 1000 * statistics.median(labels)
    both = [1000 * sum(one) for one in zip(plans, labels, strict=True)]
    return (
        f"{world:>5} {utterances:>11,} {plan_ms:>8.1f} {labels_ms:>8.1f} {plan_ms + labels_ms:>8.1f} "
        f"{min(both):>8.1f} {max(both):>8.1f} {1000 * save:>8.1f} "
        f"{1000 * statistics.mean(of_all):>8.1f}"
    )


def filled(data: Data, config: Any, world: int) -> Position:
    """Where the cache is full, or full enough to train."""
    position = Position(seconds=1.0)
    while not any(s.use for s in data.stream.next_batch(position, 1).segments):
        position = data.stream.next_batch(position, 1).after
    return position


def update(
    labeler: PseudoLabeler, ranks: Any, watch: Watch, batch: Any, micro_batches: Any, number: int
) -> None:
    """As TrainStep and Trainer do, but for the networks."""
    labeler.begin_batch(batch.batch, number, _HOURS + number, batch.places)
    is_shared = True
    for micro_batch in micro_batches:
        if not micro_batch.is_trained:
            labeler.label_for_cache(micro_batch)
            is_shared = False
            continue
        if not is_shared:
            with watch.pause():
                ranks.deal(batch.batch, for_cache=True)
            labeler.share_labels()
            is_shared = True
        part = micro_batch.part(Kind.UNTRANSCRIBED)
        tokens, _, _ = labeler.targets(part, [1000] * len(part.segments))
        labeler.compare(part.segments, tokens, tokens)
    with watch.pause():
        ranks.deal(batch.batch, for_cache=False)
    labeler.end_batch(batch.batch)
    labeler.metrics()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--schedule", choices=("online", "cache"), default="online")
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--recipe", type=Path, default=_RECIPE)
    parser.add_argument("--work-seconds", type=float, default=0.4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(
        "ranks  utterances     plan   labels     both    least    worst     save      all   ms an update"
    )
    for world in given.ranks:
        print(
            measure(world, given.schedule, given.updates, given.recipe, given.work_seconds),
            flush=True,
        )


if __name__ == "__main__":
    main()
