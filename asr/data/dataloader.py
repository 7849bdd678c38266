"""Lhotse cuts -> the stream of global batches -> this rank's micro-batches, in order.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from threading import Lock

from torch.utils.data import DataLoader

from asr.config.schema import Config
from asr.data.batching import Part, Slots
from asr.data.cache_sampler import CachePlan
from asr.data.dataset import SpeechSet, check_lost_tars, load_role
from asr.data.loading.ahead import made_ahead
from asr.data.loading.micro_batch import MicroBatch, MicroBatchSpec, Reader
from asr.data.loading.planning import Planned, planned
from asr.data.loading.read_ahead import ReadAhead
from asr.data.loading.shared_memory import PREFETCH, received, workers_possible
from asr.data.manifest.index import digest
from asr.data.sampler import AudioStream, GlobalBatch, Position
from asr.data.segments import Kind, Segment, label_ratio
from asr.data.set_weights import grouped
from asr.data.sound.augmentation import SoundAugmentation
from asr.data.transcripts import check_transcripts, tokens_per_second_of, tokens_per_second_of_dev
from asr.errors import UserError
from asr.model.tokenizer import Tokenizer
from asr.utils.launcher import cores_of_this_process
from asr.utils.signals import begin_worker


@dataclass
class RankBatch:
    """A global batch, and this rank's micro-batches of it in slot order."""

    batch: GlobalBatch
    nominal_seconds: float
    """Audio that the schedule asks for; the batch's own differs by parts of an utterance."""
    padding_share: float
    slots: int
    micro_batches: Iterator[MicroBatch]
    parts: list[Part]
    """Where the gradient noise scale is measured; else empty."""
    part_of_slot: list[int | None]
    """Of this rank's micro-batch; None for one that belongs to no part."""
    lost: dict[str, str] = field(default_factory=dict)
    """What this rank could not read since somebody took it from here: by the utterance's id, why."""
    places: Mapping[Segment, int] | None = None
    """Of this rank's segments among the batch's; None where nobody has looked."""
    refetched: int = 0
    """Requests to an object store that this rank has had to make again since the batch before."""


class TrainingData:
    """The labelled and untranscribed speech of a recipe as one stream."""

    _planning = Lock()
    """Held while the stream is read: it keeps what it last looked at."""

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer,
        labels_at_use: bool = True,
        cache_probability: Callable[[int], float] | None = None,
    ) -> None:
        """Read the manifests. Raises UserError for what is missing or does not fit the tokenizer.

        `labels_at_use`: the teacher receives what the student trains on. `cache_probability`: untranscribed
        speech goes through a cache, with this probability of replacement in a pass over it.
        """
        self.config, self.labels_at_use = config, labels_at_use
        self.sound = SoundAugmentation.of(config)
        self.sets: dict[Kind, SpeechSet] = {}
        self.left_out: dict[str, int] = {}
        self.lost: dict[str, str] = {}
        """What this rank could not read, see RankBatch."""
        for kind in Kind:
            if config.has_role(kind):
                whole = load_role(config, kind).at_rate(config.features.sample_rate_hz)
                kept = whole.within(config.corpus.min_seconds, config.corpus.max_seconds)
                self.left_out[f"{kind}_by_length"] = len(whole) - len(kept)
                for name, lost in whole.rejects.items():
                    first = f", the first '{lost['first']}'" if lost["first"] else ""
                    self.left_out[f"shard {name} {lost['reason']}{first}"] = max(1, lost["count"])
                self.sets[kind] = kept
        check_lost_tars(config, list(self.sets.values()))
        self.store = ReadAhead(self.sets, config.corpus.store)
        self.tokenizer = tokenizer
        labelled = self.sets.get(Kind.LABELLED)
        self.tokens_per_second = 0.0
        """Of the transcripts, or else of dev's: what healthy labels come near; 0 where there are none."""
        if labelled is not None:
            check_transcripts(labelled, tokenizer)
            self.tokens_per_second = tokens_per_second_of(labelled, tokenizer)
        else:
            self.tokens_per_second = tokens_per_second_of_dev(config, tokenizer)
        corpora, self.notes = grouped(config, self.sets)
        """What a user should know of how the stream is cut."""
        untranscribed, policy = corpora.get(Kind.UNTRANSCRIBED), config.pseudo_label
        cache = None
        if cache_probability is not None and untranscribed is not None:
            capacity = policy.cache.capacity_utterances
            cache = CachePlan(untranscribed, capacity, cache_probability, config.seed)
        self.stream = AudioStream(
            corpora.get(Kind.LABELLED),
            untranscribed,
            label_ratio(policy.labelled_to_untranscribed, corpora),
            policy.start_hours,
            config.seed,
            cache,
            waits=policy.start.dev_wer_below is not None,
        )

    @property
    def utterances(self) -> int:
        """That are trained on, of both kinds."""
        return sum(map(len, self.sets.values()))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of what a data position refers to, and of noise and rooms: ids and durations."""
        of_sets = {str(kind): digest(s.keys, s.seconds) for kind, s in self.sets.items()}
        sources = self.sound.recordings if self.sound else {}
        return of_sets | {name: recordings.fingerprint for name, recordings in sources.items()}

    def utterance_ids(self, batch: GlobalBatch) -> dict[str, list[str]]:
        """Of the utterances that a batch trains on, by kind."""
        ids: dict[str, list[str]] = {str(kind): [] for kind in Kind}
        for one in filter(lambda segment: segment.is_trained, batch.segments):
            ids[one.kind].append(self.sets[one.kind].ids[one.index])
        return ids

    def batches(self, position: Position, rank: int, ranks: int) -> Iterator[RankBatch]:
        """Global batches from `position` on, for ever; every rank must consume them in step.

        A batch's size is that of the recipe's schedule at the audio drawn before it. Raises StoreAwayError, and
        always before a batch, where its audio is in an object store that is away.

        The number of loader workers changes how far audio is read ahead, never the order.
        """
        to_read: deque[Planned] = deque()

        def plan(here: Position) -> tuple[Planned, Position]:
            one = planned(self.config, self.stream, here, rank, ranks)
            return one, one.batch.after

        def plans(here: Position) -> Iterator[Planned]:
            return made_ahead(plan, here, self._planning)

        def specs() -> Iterator[MicroBatchSpec]:
            for one in self.store.over(plans, position, rank):
                to_read.append(one)
                yield from self._specs(one.slots, rank)

        micro_batches = self._loaded(specs())
        while True:
            first = next(micro_batches, None)
            if first is None:
                assert self.store.away is not None
                raise self.store.away
            one = to_read.popleft()
            yield RankBatch(
                one.batch,
                one.nominal_seconds,
                one.padding_share,
                len(one.slots),
                chain([first], islice(micro_batches, len(one.slots) - 1)),
                one.parts,
                one.part_of_slot,
                self.lost,
                one.places,
                self.store.taken_refetched(),
            )

    def read(self, slots: Slots, rank: int) -> Iterator[MicroBatch]:
        """This rank's micro-batches of some slots, once. Raises StoreAwayError."""
        own = [segment for slot in slots for segment in slot[rank]]
        for kind, speech in self.sets.items():
            speech.bring([segment.index for segment in own if segment.kind is kind])
        return self._loaded(self._specs(slots, rank))

    def _specs(self, slots: Slots, rank: int) -> Iterator[MicroBatchSpec]:
        for slot in slots:
            segments = [segment for part in slot for segment in part]
            kinds = tuple(kind for kind in Kind if any(s.kind is kind for s in segments))
            is_trained = segments[0].is_trained
            needs_pseudo_label = Kind.UNTRANSCRIBED in kinds and (
                self.labels_at_use or not is_trained
            )
            yield MicroBatchSpec(kinds, is_trained, needs_pseudo_label, slot[rank])

    def _loaded(self, specs: Iterator[MicroBatchSpec]) -> Iterator[MicroBatch]:
        workers = workers_possible(min(self.config.trainer.loader_workers, cores_of_this_process()))
        loader: DataLoader[MicroBatch | UserError] = DataLoader(
            Reader(
                self.sets,
                self.tokenizer,
                self.config.features,
                self.sound,
                has_one_speed=not self.config.objective.has_texts,
                views=self.config.objective.views,
            ),
            sampler=specs,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=begin_worker,
        )
        return self._noting(received(iter(loader)))

    def _noting(self, items: Iterator[MicroBatch | UserError]) -> Iterator[MicroBatch]:
        for item in items:
            if isinstance(item, UserError):
                raise item
            self.lost |= {item.ids[place]: why for place, why in item.lost.items()}
            yield item
