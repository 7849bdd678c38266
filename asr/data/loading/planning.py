"""A global batch before it is read: who reads what. What is done with utterances of other ranks is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from asr.config.schema import Config
from asr.data.batching import (
    Part,
    Slots,
    deal_into_parts,
    padding_share,
    part_numbers,
    split_into_micro_batches,
)
from asr.data.sampler import AudioStream, GlobalBatch, Position
from asr.data.segments import Segment
from asr.scaling.rule import SECONDS_PER_HOUR
from asr.scaling.validity import is_measured


@dataclass(frozen=True)
class Planned:
    """One rank's view of it; see RankBatch."""

    batch: GlobalBatch
    nominal_seconds: float
    padding_share: float
    slots: Slots
    parts: list[Part]
    part_of_slot: list[int | None]
    places: Mapping[Segment, int]


def planned(config: Config, stream: AudioStream, here: Position, rank: int, ranks: int) -> Planned:
    """The global batch at a position, of the size in the recipe's schedule at the audio drawn before it."""
    nominal = config.global_batch_seconds(ranks, here.seconds / SECONDS_PER_HOUR)
    batch = stream.next_batch(here, config.groups_per_batch(nominal))
    _ = batch.utterances  # made here, in the thread that plans ahead
    parts = []
    if is_measured(config, nominal, here.seconds, batch.after.seconds):
        parts = deal_into_parts(batch.groups)
    numbers = part_numbers(parts)
    limit, least = config.utterance_seconds_per_micro_batch, config.model.least_seconds
    slots = split_into_micro_batches(batch.segments, ranks, limit, numbers, least)
    own = [slot[rank] for slot in slots]
    place_of = {id(segment): place for place, segment in enumerate(batch.segments)}
    return Planned(
        batch,
        nominal,
        padding_share(slots),
        slots,
        parts,
        [numbers.get(segments[0]) if segments else None for segments in own],
        {segment: place_of[id(segment)] for segments in own for segment in segments},
    )
