"""How the ranks of a launcher meet, and how one that fails takes the others with it.

A rank that is gone leaves its peers in a collective: for ever, or until a library's time-out. So the one that
fails says so in the store where they met; every rank looks there once a second, from a thread of its own, since
its main one may be waiting. Who finds something says whose fault it is, and leaves.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed
from torch.distributed import DistError
from torch.distributed.rendezvous import rendezvous

from asr.errors import UserError
from asr.utils.faults import first_line

WAIT = "ASR_WAIT_FOR_RANKS_SECONDS"
_WAIT_SECONDS = 600.0
_LOOK_EVERY_SECONDS = 0.5
_FAILED = "asr-failed"
_CONNECTION = re.compile(r"gloo/transport|[Cc]onnection (closed|reset)|Broken pipe|nccl")


@dataclass
class _Met:
    rank: int
    store: Any  # torch's, without a public type
    done: threading.Event
    fault: str = ""
    """Of this rank alone, in Python's hands still: told to the others when the process ends with it."""


_met: _Met | None = None


def meet(backend: str) -> None:
    """Form the process group of all ranks that the launcher announces, and watch over them from here on.

    Raises UserError that names the ranks that have not come after ten minutes, or after the seconds that
    $ASR_WAIT_FOR_RANKS_SECONDS says.
    """
    global _met
    seconds = float(os.environ.get(WAIT) or _WAIT_SECONDS)
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    remedy = (
        "start all of them with the same MASTER_ADDR and MASTER_PORT, which no firewall blocks; "
        f"where they start slowly, {WAIT}=1800"
    )
    ours, ranks = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    try:
        store, rank, world = next(rendezvous("env://", timeout=timedelta(seconds=seconds)))
    except (DistError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise UserError(
            f"rank {ours} of {ranks} did not find the others at {where} in {seconds:g} s ({reason})",
            remedy,
        ) from None
    store.set(_here(rank), socket.gethostname())
    try:
        store.wait([_here(other) for other in range(world)], timedelta(seconds=seconds))
    except (DistError, RuntimeError):
        missing = [str(other) for other in range(world) if not store.check([_here(other)])]
        raise UserError(
            f"rank {rank} of {world} has waited {seconds:g} s at {where} for "
            f"rank{'s' * (len(missing) > 1)} {', '.join(missing)}",
            remedy,
        ) from None
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world)
    _met = _Met(rank, store, threading.Event())
    threading.Thread(target=_watch, args=(_met,), daemon=True).start()


@contextmanager
def told_at_the_end() -> Iterator[None]:
    """Where an error of this rank alone leaves the block, the others hear of it as the process ends.

    Not before: a script may catch it.
    """
    if _met is not None:
        _met.fault = ""
    try:
        yield
    except BaseException as error:
        if _met is not None and not getattr(error, "is_of_all_ranks", False):
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            _met.fault = kind + first_line(error)
        raise


def part() -> bool:
    """Whether all is done, so that who leaves from here on is no failure; else the others are told of it."""
    if _met is not None and _met.fault:
        fail(_met.fault)
        return False
    if _met is not None:
        _met.done.set()
    return True


def fail(text: str) -> bool:
    """Tell the other ranks that this one ends, and why. False where another has said the same before."""
    if _met is None or _met.done.is_set():
        return True
    _met.done.set()
    own = {"rank": _met.rank, "host": socket.gethostname(), "text": text}
    first = own
    with suppress(DistError, RuntimeError):
        first = json.loads(_met.store.compare_set(_FAILED, "", json.dumps(own)))
        if "TORCHELASTIC_USE_AGENT_STORE" not in os.environ and _met.rank == 0:
            time.sleep(3 * _LOOK_EVERY_SECONDS)  # the store ends with this process
    return bool(first == own or first["text"] != text)


def own_name() -> str:
    """What to put before a message of this rank; nothing where it is alone."""
    return "" if _met is None else f"rank {_met.rank} on {socket.gethostname()}: "


def of_a_collective(error: BaseException) -> UserError | None:
    """What to say of an error of a collective: whose fault it is, if a rank has said so; None of another."""
    if _met is None or not (isinstance(error, DistError) or _CONNECTION.search(str(error))):
        return None
    end = time.monotonic() + 4 * _LOOK_EVERY_SECONDS
    while time.monotonic() < end:
        found = _failure(_met)
        if found is not None:
            return UserError(_told(found), "mend that; the same command goes on")
        time.sleep(0.1)
    reason = first_line(error)[:150]
    return UserError(
        f"rank {_met.rank} has lost another rank ({reason})",
        "see that one's last lines; if there are none it was killed, most likely since memory ran out. "
        "The same command goes on from the last checkpoint",
    )


def _here(rank: int) -> str:
    return f"asr-here/{rank}"


def _failure(met: _Met) -> dict[str, Any] | None:
    with suppress(DistError, RuntimeError, ValueError):
        if met.store.check([_FAILED]):
            found: dict[str, Any] = json.loads(met.store.get(_FAILED))
            return found if found["rank"] != met.rank else None
    return None


def _told(found: dict[str, Any]) -> str:
    return f"rank {found['rank']} on {found['host']} has ended: {found['text']}"


def _watch(met: _Met) -> None:
    while not met.done.wait(_LOOK_EVERY_SECONDS):
        found = _failure(met)
        if found is not None and not met.done.is_set():
            with suppress(OSError):  # not through Python's stream: the main thread may hold it
                os.write(2, f"asr: rank {met.rank} leaves: {_told(found)}\n".encode())
            os._exit(2)
