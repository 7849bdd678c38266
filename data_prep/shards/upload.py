"""Shards of a set sent to an object store, each once: a call that is made again sends what is not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from asr.config.store import StoreConfig
from asr.data.manifest.shar import cuts_file, places_file, tar_file
from asr.data.store.addresses import WRITABLE, checked
from asr.data.store.patience import patiently
from asr.data.store.stores import store_of
from asr.errors import UserError
from asr.utils.files import read_json, write_json

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """Where one set goes."""

    address: str
    """Of its folder."""
    config: StoreConfig
    keeps_tars: bool
    """Whether they also stay here."""

    def there(self) -> dict[str, int]:
        """Bytes of each file that the store has. Raises StoreAwayError."""
        store = store_of(self.address, self.config)
        return self._patiently(lambda: store.names(self.address))

    def is_sent(self, folder: Path, number: int, there: dict[str, int]) -> bool:
        """Whether a shard was sent by an earlier call, and is in the store."""
        try:
            note = read_json(_note(folder, number))
            sizes = note["files"]
            is_there = all(there.get(name) == size for name, size in sizes.items())
            return note["address"] == self.address and bool(sizes) and is_there
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False

    def forget_unsent(self, folder: Path, numbers: Sequence[int], there: dict[str, int]) -> None:
        """Have those made again that the store has lost, and that are not here any more."""
        for number in numbers:
            tar = tar_file(folder, number)
            if not self.is_sent(folder, number, there):
                if not tar.is_file():
                    cuts_file(folder, number).unlink(missing_ok=True)
            elif not self.keeps_tars:  # a kill came between
                tar.unlink(missing_ok=True)

    def send(self, folder: Path, number: int) -> None:
        """A shard, its cuts last: they say that it is complete. Raises StoreAwayError."""
        tar = tar_file(folder, number)
        paths = [tar, places_file(tar), cuts_file(folder, number)]
        _note(folder, number).unlink(missing_ok=True)
        for path in paths:
            self.send_file(path)
        sizes = {path.name: path.stat().st_size for path in paths}
        write_json(_note(folder, number), {"address": self.address, "files": sizes})
        if not self.keeps_tars:
            tar.unlink()

    def send_file(self, path: Path) -> None:
        """Raises StoreAwayError."""
        store, address = store_of(self.address, self.config), f"{self.address}/{path.name}"
        self._patiently(lambda: store.save(path, address))

    def check(self, folder: Path, numbers: Sequence[int]) -> None:
        """Raises UserError unless the store has all that was sent."""
        there = self.there()
        lacking = [number for number in numbers if not self.is_sent(folder, number, there)]
        if lacking:
            raise UserError(
                f"{self.address}: {len(lacking)} of {len(numbers)} shards are not there as they were sent, the "
                f"first {tar_file(folder, lacking[0]).name}",
                "run the same command again, which sends them once more",
            )

    def _patiently(self, request: Callable[[], T]) -> T:
        return patiently(self.address, self.config.patience_seconds, request)


def writable(address: str) -> str:
    """An address to which shards can be written. Raises UserError as `checked`, and for http."""
    address = checked(address, "--output")
    if address.partition("://")[0] not in WRITABLE:
        raise UserError(
            f"--output {address}: a web server is not written to",
            f"name one of {', '.join(f'{name}://' for name in WRITABLE)}, or write to a folder (--url says "
            "where it will be served from) and copy that",
        )
    return address


def _note(folder: Path, number: int) -> Path:
    return folder / f"sent.{number:06d}.json"
