"""What is made ahead, in a thread."""

from __future__ import annotations

import threading
from threading import Lock

import pytest

from asr.data.loading.ahead import each_made_ahead, made_ahead


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


@pytest.mark.parametrize("threads", [1, 3])
def test_each_comes_in_its_order_and_some_are_made_meanwhile(threads: int) -> None:
    begun: list[int] = []
    gate = threading.Event()

    def make(place: int) -> int:
        begun.append(place)
        if place == 1:
            gate.wait(10)  # the later ones are done before it
        return place * place

    found = each_made_ahead(make, iter(range(8)), threads)
    assert next(found) == 0
    assert max(begun) <= threads, "no more than so many ahead"
    gate.set()
    assert list(found) == [1, 4, 9, 16, 25, 36, 49]
    assert sorted(begun) == list(range(8))


def test_a_fault_is_raised_when_its_turn_comes() -> None:
    found = each_made_ahead(lambda place: 1 / place, [1, 2, 0, 4], threads=2)
    assert [next(found), next(found)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(each_made_ahead(float, [])) == []
