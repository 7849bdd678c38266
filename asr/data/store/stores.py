"""The stores themselves: parts of files over http(s) by urllib3, all else by fsspec.

Each process makes its own when it first needs one: what fsspec has does not survive a fork. Libraries make no
attempts of their own where they can be told so: Patience does, and counts.
"""

from __future__ import annotations

import netrc
import os
import threading
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from asr.config.store import StoreConfig
from asr.data.store.addresses import checked
from asr.errors import UserError

_NEAR = ("localhost", "127.0.0.1", "::1")


class Store(Protocol):
    """Of one scheme. Its methods raise what the library raises, for `Patience` to judge."""

    def read(self, address: str, begin: int, count: int) -> bytes:
        """So many bytes from `begin` on; fewer where the file ends."""

    def load(self, address: str) -> bytes:
        """A whole small file."""

    def names(self, address: str) -> dict[str, int]:
        """Bytes of each file of a folder, by its name; nothing where there is no such folder."""

    def save(self, path: Path, address: str) -> None:
        """Write a whole file."""


_stores: dict[tuple[int, str, float, int], Store] = {}
_lock = threading.Lock()


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def store_of(address: str, config: StoreConfig) -> Store:
    """This process's store for an address. Raises UserError as `checked`."""
    scheme = address.partition("://")[0]
    kind_of = "http" if scheme == "https" else scheme
    key = os.getpid(), kind_of, config.timeout_seconds, config.connections
    with _lock:
        if key not in _stores:
            checked(address, "an index")
            kind = _HttpStore if kind_of == "http" else _FsspecStore
            _stores[key] = kind(kind_of, config)
        return _stores[key]


class _HttpError(OSError):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, headers: Any) -> None:
        super().__init__(f"HTTP status {status}")
        self.status, self.headers = status, headers


class _HttpStore:
    """Reads alone. A proxy is that of the environment, credentials are those of ~/.netrc."""

    def __init__(self, scheme: str, config: StoreConfig) -> None:
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._options: dict[str, Any] = {
            "maxsize": config.connections,
            "timeout": urllib3.Timeout(config.timeout_seconds),
            # Redirects alone are the library's affair: what a status and its Retry-After mean is ours.
            "retries": urllib3.Retry(
                *(5, 0, 0, 5, 0, 0),  # in all; connect, read, redirect, status, other
                respect_retry_after_header=False,
            ),
        }

    def read(self, address: str, begin: int, count: int) -> bytes:
        """Raises UserError for a server that sends whole files alone."""
        headers = {"Range": f"bytes={begin}-{begin + count - 1}", **_authorization(address)}
        answer = self._pool(address).request("GET", address, headers=headers, preload_content=False)
        try:
            if answer.status == 200:
                raise UserError(
                    f"{address}: the server does not serve parts of files (byte ranges)",
                    "use one that does, or copy the shards here",
                )
            if answer.status != 206:
                raise _HttpError(answer.status, answer.headers)
            return bytes(answer.read())
        finally:
            answer.release_conn()

    def load(self, address: str) -> bytes:
        answer = self._pool(address).request("GET", address, headers=_authorization(address))
        if answer.status != 200:
            raise _HttpError(answer.status, answer.headers)
        return bytes(answer.data)

    def names(self, address: str) -> dict[str, int]:
        raise UserError(
            f"{address}: a web server does not say which files it has",
            "copy the cuts.* and places.* of that folder here, beside recording.url",
        )

    def save(self, path: Path, address: str) -> None:
        raise UserError(f"{address}: is not written to", "name an address in s3, gs or hf")

    def _pool(self, address: str) -> urllib3.PoolManager:
        parts = urlsplit(address)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with _lock:
            if (proxy or "") not in self._pools:
                made = urllib3.ProxyManager(proxy, **self._options) if proxy else None
                self._pools[proxy or ""] = made or urllib3.PoolManager(**self._options)
            return self._pools[proxy or ""]


def _authorization(address: str) -> dict[str, str]:
    """Of ~/.netrc, for a connection that nobody listens to."""
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in _NEAR:
        return {}
    try:
        found = netrc.netrc().authenticators(parts.hostname or "")
    except (OSError, netrc.NetrcParseError):
        return {}
    return urllib3.make_headers(basic_auth=f"{found[0]}:{found[2]}") if found else {}


class _FsspecStore:
    """Whatever fsspec knows, with the credentials that the store's own tools would find."""

    def __init__(self, scheme: str, config: StoreConfig) -> None:
        import fsspec

        seconds = config.timeout_seconds
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if scheme == "s3":
            # AWS_ENDPOINT_URL names a store of another maker.
            options["config_kwargs"] = {
                **{"connect_timeout": seconds, "read_timeout": seconds},
                **{
                    "retries": {"total_max_attempts": 1},
                    "max_pool_connections": config.connections,
                },
            }
        elif scheme == "gs":
            options["timeout"] = seconds
        self._files = fsspec.filesystem(scheme, **options)
        if scheme == "s3":
            self._files.retries = 1
        self._seeks = scheme == "hf"

    def read(self, address: str, begin: int, count: int) -> bytes:
        if self._seeks:  # it would read far more than is asked for
            with self._files.open(address, "rb", cache_type="none") as file:
                file.seek(begin)
                return bytes(file.read(count))
        return bytes(self._files.cat_file(address, start=begin, end=begin + count))

    def load(self, address: str) -> bytes:
        return bytes(self._files.cat_file(address))

    def names(self, address: str) -> dict[str, int]:
        self._files.invalidate_cache()
        try:
            found = self._files.find(address, maxdepth=1, detail=True)
        except FileNotFoundError as error:
            if error.__cause__ is not None:  # no such bucket
                raise
            return {}
        return {name.rpartition("/")[2]: int(about["size"]) for name, about in found.items()}

    def save(self, path: Path, address: str) -> None:
        self._files.put_file(str(path), address)
