"""Labels that are kept: through a checkpoint, and invalidated."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from store_helpers import keep, remember

from asr.pseudo_labels.filters import Dropped
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.records import LabelRecord
from asr.pseudo_labels.store import KeptLabel, LabelStore

keys = st.tuples(st.integers(0, 9), st.integers(0, 10**4))
labels = st.builds(
    Label,
    st.lists(st.integers(1, 10**5), max_size=30),
    st.just(LabelMetrics(0.5, 0.5, 0.1)),
    st.floats(0, 1e5),
    st.just(0.0),
    st.sampled_from([None, *Dropped]),
    confidences=st.lists(st.floats(0, 1, width=32), max_size=5),
)


def row(key: tuple[int, int], label: Label) -> LabelRecord:
    return LabelRecord(key, f"u{key[1]}", 1.0, label, "text", None, None)


@given(st.dictionaries(keys, labels))
def test_a_checkpoint_brings_all_back(made: dict[tuple[int, int], Label]) -> None:
    store = LabelStore()
    rows = [row(key, label) for key, label in made.items()]
    keep(store, rows)
    remember(store, rows)
    again = LabelStore.from_tensors(store.tensors())
    assert again == store
    assert list(again.kept) == list(made)
    for key, label in made.items():
        kept = again.kept[key]
        assert (kept.tokens, kept.hours, kept.dropped) == (label.tokens, label.hours, label.dropped)
        assert kept.confidences == label.confidences
    if not any(label.confidences for label in made.values()):
        assert not any("confidence" in name for name in store.tensors())


def test_the_latest_are_invalidated_with_those_made_together() -> None:
    store = LabelStore()
    hours = [1.0, 2.0, 2.0, 3.0]
    keep(store, [row((0, n), Label([1], LabelMetrics(1, 0, 0), h)) for n, h in enumerate(hours)])
    assert store.invalidate_latest(2, with_their_round=True) == 3
    assert [label.dropped for label in store.kept.values()] == [None, *3 * ["invalidated"]]
    store.discard([(0, 1), (9, 9)])
    assert len(store.kept) == 3
    assert LabelStore().invalidate_latest(5, with_their_round=True) == 0


def test_of_a_large_batch_only_the_labels_up_to_the_alarm_are_invalidated() -> None:
    """In the order of the stream: made together they have one time, and before, the whole batch went."""
    store = LabelStore()
    keep(store, [row((0, n), Label([1], LabelMetrics(1, 0, 0), 1.0)) for n in range(6)])
    keep(store, [row((0, 0), Label([2], LabelMetrics(1, 0, 0), 2.0))])  # made anew: the latest
    assert store.invalidate_latest(2, later={(0, 0), (0, 5)}) == 2
    assert [key for key, label in store.kept.items() if label.dropped] == [(0, 3), (0, 4)]


def test_older_checkpoints_number_their_reasons_and_are_read_as_they_were_meant() -> None:
    """As commit f544ffb wrote them: 0 for none, and a place in its list of reasons."""
    store = LabelStore()
    numbered = {
        "empty": 1,
        "too_short": 2,
        "too_long": 3,
        "low_confidence": 4,
        "changed": 5,
        "infeasible": 6,
        "paused": 7,
        "invalidated": 8,
        "unlabelled": 9,
    }
    made = [Label([1], LabelMetrics(1, 0, 0), dropped=reason) for reason in [None, *numbered]]
    keep(store, [row((0, place), label) for place, label in enumerate(made)])
    tensors = store.tensors()
    del tensors["kept/reasons"]
    tensors["kept/dropped"] = torch.tensor([0, *numbered.values()])
    assert LabelStore.from_tensors(tensors) == store


def test_a_reason_is_stored_by_its_name() -> None:
    """So that a filter that is added in the middle of the list changes no label that is kept."""
    store = LabelStore()
    store.kept[0, 0] = KeptLabel(b"", 1.0, "a_filter_of_tomorrow")
    again = LabelStore.from_tensors(store.tensors())
    assert again.kept[0, 0].dropped == "a_filter_of_tomorrow"
