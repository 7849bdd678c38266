"""What lists the utterances of a set in a store, brought beside the file that holds its address."""

from __future__ import annotations

from pathlib import Path

from asr.config.store import StoreConfig
from asr.data.store.patience import GoneError, patiently
from asr.data.store.stores import store_of
from asr.errors import StoreAwayError, UserError
from asr.utils.files import replacing
from asr.utils.locks import locked

_COMING = "coming"
"""File that stands there until all others do."""
_KINDS = ("places.", "cuts.")
"""Beginnings of their names."""


def bring_beside(folder: Path, address: str, config: StoreConfig) -> None:
    """Have the cuts and places of a set here, where none or not all are; the tars stay where they are.

    Raises UserError where the store has none, and StoreAwayError.
    """
    if any(folder.glob("cuts.*")) and not (folder / _COMING).is_file():
        return
    with locked(folder, where_possible=True):
        if any(folder.glob("cuts.*")) and not (folder / _COMING).is_file():
            return  # another process has
        store, seconds = store_of(address, config), config.patience_seconds
        try:
            there = patiently(address, seconds, lambda: store.names(address))
            wanted = [name for kind in _KINDS for name in sorted(there) if name.startswith(kind)]
            if not any(name.startswith("cuts.") for name in wanted):
                raise UserError(
                    f"{address}: the store has no cuts.*.jsonl.gz there",
                    f"correct the address in {folder}, or send the set there "
                    "(asr prepare shar --data DIR --sets SET --output ADDRESS)",
                )
            (folder / _COMING).touch()
            for name in wanted:
                content = _loaded(f"{address}/{name}", there[name], config)
                with replacing(folder / name) as file:
                    file.write(content)
        except GoneError as error:
            raise StoreAwayError(f"{address}: {error}", "correct the address") from None
        (folder / _COMING).unlink()


def _loaded(address: str, size: int, config: StoreConfig) -> bytes:
    store = store_of(address, config)

    def load() -> bytes:
        content = store.load(address)
        if len(content) != size:
            raise OSError(f"{len(content)} of {size} bytes came")
        return content

    return patiently(address, config.patience_seconds, load)
