"""Tensors of a loader's workers: through /dev/shm, or where that is full through their pipe.

torch puts a worker's tensors into /dev/shm when it sends them, in a thread whose errors nobody sees: where that
is full (64 MB in a container of docker's) the training waits for ever. So they are put there before, and what
finds no room is sent as bytes: slower, and never too large.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

SHARED = Path("/dev/shm")
PREFETCH = 4
"""Items that a worker reads ahead."""
REMEDY = "make it larger (docker run --shm-size 8g), or lower trainer.loader_workers"
_Fields = dict[str, Any]


@dataclass(frozen=True)
class _AsBytes:
    """An item without its tensors, and these as arrays."""

    item: Any
    arrays: _Fields


def shared(item: Any) -> Any:
    """In a worker: a dataclass with its tensors in shared memory, or what to send instead of it."""
    if get_worker_info() is None or not is_dataclass(item) or isinstance(item, type):
        return item
    tensors = {
        field.name: value
        for field in fields(item)
        if isinstance(value := getattr(item, field.name), tuple)
        and all(isinstance(one, Tensor) for one in value)
    }
    try:
        for values in tensors.values():
            for value in values:
                value.share_memory_()
    except RuntimeError:
        arrays = {name: tuple(v.numpy() for v in values) for name, values in tensors.items()}
        return _AsBytes(replace(item, **dict.fromkeys(tensors)), arrays)
    return item


def received(items: Iterator[Any]) -> Iterator[Any]:
    """The items as they were before they were sent; the first that came as bytes is said."""
    is_said = False
    for item in items:
        if not isinstance(item, _AsBytes):
            yield item
            continue
        if not is_said:
            is_said = True
            print(f"note: {SHARED} is full, so audio comes slower; {REMEDY}", file=sys.stderr)
        tensors = {n: tuple(torch.from_numpy(a) for a in v) for n, v in item.arrays.items()}
        yield replace(item.item, **tensors)


def workers_possible(wanted: int) -> int:
    """So many, or none, said, where not even the locks between processes find room in /dev/shm."""
    try:
        if wanted:
            multiprocessing.Lock()
    except OSError as error:
        why = f"{SHARED} takes nothing ({error.strerror})"
        print(f"note: {why}, so audio is read between updates; {REMEDY}", file=sys.stderr)
        return 0
    return wanted


def free_bytes() -> int | None:
    """Of /dev/shm; None where there is none."""
    try:
        there = os.statvfs(SHARED)
    except OSError:
        return None
    return there.f_bavail * there.f_frsize
