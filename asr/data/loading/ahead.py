"""What comes next is made in a thread while somebody is busy with what came before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
