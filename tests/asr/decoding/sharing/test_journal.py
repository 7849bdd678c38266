"""What is done, is done once; what is to be tried again, again."""

from __future__ import annotations

from pathlib import Path

from asr.decoding.sharing.journal import Journal


def test_a_batch_that_is_opened_again_is_done_when_it_was_tried_again(tmp_path: Path) -> None:
    """Also one that an older version has made twice."""
    journal = Journal(tmp_path, "labels")
    journal.begin({})
    batches = {0: ["a", "b"], 1: ["c", "d"]}
    with journal.writer(0) as stream:
        journal.note(stream, 0, [["a", "one"], ["b", "two"]])
        journal.note(stream, 1, [])
        journal.note(stream, 1, [["c", "one"]])
    assert set(journal.done()) == {0, 1}
    assert journal.reopen(0, batches) == {1: 1}
    assert set(journal.done()) == {0}
    assert journal.reopen(0, batches) == {1: 1}  # by another process: nothing more is written
    assert set(journal.done()) == {0}
    with journal.writer(0) as stream:
        journal.note(stream, 1, [])
    assert set(journal.done()) == {0, 1}
    assert journal.read(journal.done()[1]) == [["c", "one"]]
