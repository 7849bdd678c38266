"""One utterance out of a tar in a store: from the cache, or else from there, whole and as its index says."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from asr.config.store import StoreConfig
from asr.data.store.cache import AudioCache
from asr.data.store.patience import Patience
from asr.data.store.stores import store_of
from asr.errors import UserError

_caches: dict[tuple[int, StoreConfig], AudioCache] = {}
_MOST_DAMAGED = 3
"""Times that a store sends something else than its index says, before it is believed to have nothing else."""


class Part(NamedTuple):
    """An utterance's bytes in a tar."""

    address: str
    begin: int
    count: int  # type: ignore[assignment]  # a tuple's method of that name is not needed
    sha256: str | None
    """None where its index does not know it."""

    @property
    def name(self) -> str:
        """In a cache."""
        return hashlib.sha256(repr(tuple(self)).encode()).hexdigest()


class DamagedError(OSError):
    """The store has something else than the index says."""


class Brought(NamedTuple):
    """What came, and how."""

    content: bytes
    refetched: int
    """Requests that had to be made again."""
    is_from_store: bool


def bring(part: Part, config: StoreConfig) -> Brought:
    """Raises GoneError and DamagedError for audio that is lost, StoreAwayError and UserError for a store."""
    cache = cache_of(config)
    content = cache.get(part.name, part.count, part.sha256)
    if content is not None:
        return Brought(content, 0, False)
    patience = Patience(config.patience_seconds)
    damaged = 0
    while True:
        try:
            content = store_of(part.address, config).read(*part[:3])
            check(content, *part[2:])
            break
        except DamagedError as error:
            damaged += 1
            if damaged >= _MOST_DAMAGED:
                raise
            patience.wait(part.address, error)
        except UserError:
            raise
        except Exception as error:  # each library has its own
            patience.wait(part.address, error)
    cache.put(part.name, content)
    return Brought(content, patience.refetched, True)


def cache_of(config: StoreConfig) -> AudioCache:
    """This process's view of the cache. Raises UserError where it cannot be written."""
    key = os.getpid(), config
    if key not in _caches:
        _caches[key] = AudioCache(config)
    return _caches[key]


def check(content: bytes, count: int, sha256: str | None) -> None:
    """Raises DamagedError for bytes of a recording that are not those which its index knows."""
    if len(content) != count:
        raise DamagedError(f"has become shorter: {len(content)} of {count} bytes came")
    if sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise DamagedError("damaged: SHA-256 differs from that of its shard's places")
