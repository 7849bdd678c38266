"""Labels that are kept without a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch

from asr.config.pseudo_label import HealthConfig
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.pseudo_labels.records import BatchRecords, LabelRecord
from asr.pseudo_labels.sharing.exchange import BatchNotes, Shared
from asr.pseudo_labels.store import LabelStore

ALONE = Ranks(0, 1, torch.device("cpu"))


def shared(rows: Sequence[LabelRecord], ranks: Ranks = ALONE) -> Shared:
    """As the labels of a batch, one after the other."""
    segments = [Segment(Kind.UNTRANSCRIBED, row.key[1], row.key[0], row.seconds) for row in rows]
    notes = BatchNotes()
    notes.begin(segments)
    notes.own = BatchRecords([replace(row, place=place) for place, row in enumerate(rows)])
    return notes.share(ranks, (HealthConfig(), 10.0), with_tokens=True)


def keep(store: LabelStore, rows: Sequence[LabelRecord]) -> None:
    """Labels; those of one hour come together."""
    for hours, together in groupby(rows, key=lambda row: row.label.hours):
        made = list(together)
        store.keep(shared(made), [row.key for row in made], hours)


def remember(store: LabelStore, rows: Sequence[LabelRecord]) -> None:
    """As the last ones of their utterances."""
    store.remember(shared(rows))
