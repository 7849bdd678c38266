"""What comes next is made in a thread while somebody is busy with what came before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

Place = TypeVar("Place")
Made = TypeVar("Made")


def made_ahead(
    make: Callable[[Place], tuple[Made, Place]], start: Place, alone: Lock
) -> Iterator[Made]:
    """What `make` makes at `start`, then at the place that it says is next, and so on, for ever.

    One is made ahead. `alone` is held meanwhile: iterators that share it do not make two at a time. An error
    is no error yet where something was made ahead, since what it lacked may be there when it is asked for:
    then it is made again, and what that raises is raised.
    """

    def make_alone(place: Place) -> tuple[Made, Place]:
        with alone:
            return make(place)

    with ThreadPoolExecutor(1, "ahead") as thread:
        made, place = make_alone(start)
        while True:
            following = thread.submit(make_alone, place)
            yield made
            try:
                made, place = following.result()
            except Exception:
                made, place = make_alone(place)


def each_made_ahead(
    make: Callable[[Place], Made], places: Iterable[Place], threads: int = 1
) -> Iterator[Made]:
    """What `make` makes of each place, in their order; `threads` are made ahead at once.

    What it raises is raised when that place's turn has come. `places` are asked for in the caller's own thread.
    """
    coming = deque[Future[Made]]()
    with ThreadPoolExecutor(threads, "ahead") as pool:
        try:
            for place in places:
                coming.append(pool.submit(make, place))
                if len(coming) > threads:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for one in coming:
                one.cancel()
