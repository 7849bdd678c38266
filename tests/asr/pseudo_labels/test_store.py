"""Labels that are kept: through a checkpoint, and distrusted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asr.pseudo_labels.filters import Dropped
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.records import LabelRecord
from asr.pseudo_labels.store import LabelStore

keys = st.tuples(st.integers(0, 9), st.integers(0, 10**7))
labels = st.builds(
    Label,
    st.lists(st.integers(1, 10**5), max_size=30),
    st.just(LabelMetrics(0.5, 0.5, 0.1)),
    st.floats(0, 1e5),
    st.just(0.0),
    st.sampled_from([None, *Dropped]),
)


def row(key: tuple[int, int], label: Label) -> LabelRecord:
    return LabelRecord(key, f"u{key[1]}", 1.0, label, "text", None, None)


@given(st.dictionaries(keys, labels))
def test_a_checkpoint_brings_all_back(made: dict[tuple[int, int], Label]) -> None:
    store = LabelStore()
    rows = [row(key, label) for key, label in made.items()]
    store.keep(rows)
    store.remember(rows)
    again = LabelStore.from_tensors(store.tensors())
    assert again == store
    assert list(again.kept) == list(made)
    for key, label in made.items():
        kept = again.kept[key]
        assert (kept.tokens, kept.hours, kept.dropped) == (label.tokens, label.hours, label.dropped)


def test_the_latest_are_distrusted_with_those_made_together() -> None:
    store = LabelStore()
    hours = [1.0, 2.0, 2.0, 3.0]
    store.keep(row((0, n), Label([1], LabelMetrics(1, 0, 0), hour)) for n, hour in enumerate(hours))
    assert store.invalidate_latest(2) == 3
    assert [label.dropped for label in store.kept.values()] == [None, *3 * ["invalidated"]]
    store.discard([(0, 1), (9, 9)])
    assert len(store.kept) == 3
    assert LabelStore().invalidate_latest(5) == 0
