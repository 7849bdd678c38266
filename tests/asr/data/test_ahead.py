"""What is made ahead, in a thread."""

from __future__ import annotations

import threading
from threading import Lock

import pytest

from asr.data.loading.ahead import made_ahead


def test_one_is_made_ahead_and_all_in_their_order() -> None:
    threads, begun = [], threading.Event()

    def make(place: int) -> tuple[int, int]:
        threads.append(threading.current_thread())
        if place == 1:
            begun.set()
        return place * place, place + 1

    squares = made_ahead(make, 0, Lock())
    assert next(squares) == 0
    assert begun.wait(10), "while the first is used"
    assert [next(squares) for _ in range(3)] == [1, 4, 9]
    squares.close()  # type: ignore[attr-defined]
    assert threads[0] is threading.main_thread()
    assert all(thread is not threading.main_thread() for thread in threads[1:])
    assert not any(thread.is_alive() for thread in threads[1:])


def test_what_is_not_known_ahead_is_made_when_it_is_asked_for() -> None:
    known, tried = [0], threading.Event()

    def make(place: int) -> tuple[int, int]:
        if place not in known:
            tried.set()
            raise ValueError(place)
        return place, place + 1

    numbers = made_ahead(make, 0, Lock())
    assert next(numbers) == 0
    assert tried.wait(10)
    known.append(1)
    assert next(numbers) == 1
    with pytest.raises(ValueError, match="2"):
        next(numbers)
