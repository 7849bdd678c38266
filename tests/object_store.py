"""S3 on this machine, by moto, with faults: what a store of the network does now and then.

`python tests/object_store.py PORT LATENCY_SECONDS` is one in a process of its own.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

BUCKET = "speech"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key-of-the-test",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
Answer = Callable[..., Any]


@dataclass
class Faults:
    """Of the requests for parts of files; `kinds` take turns, each `every` requests."""

    kinds: Sequence[str] = ()
    every: int = 3
    latency_seconds: float = 0.0
    hang_seconds: float = 3.0
    is_away: bool = False
    """Whether all requests are reset."""
    away_after: int | None = None
    """So many parts are served before."""
    asked: list[str] = field(default_factory=list)
    """Of each request: method, path and range."""
    moments: list[float] = field(default_factory=list)
    """Of those for parts."""

    def next_of(self, environ: dict[str, Any]) -> str:
        """The fault of a request; none is empty."""
        wanted = environ.get("HTTP_RANGE", "")
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {wanted}".strip())
        if self.is_away:
            return "reset"
        if not wanted:
            return ""
        self.moments.append(time.monotonic())
        number = len(self.moments) - 1
        if self.away_after is not None and number >= self.away_after:
            return "reset"
        turn, rest = divmod(number, self.every)
        return self.kinds[turn % len(self.kinds)] if self.kinds and rest == self.every - 1 else ""

    def end(self) -> None:
        """All is well from here on, and nothing was asked."""
        self.kinds, self.is_away, self.away_after = (), False, None
        self.asked.clear()
        self.moments.clear()

    @property
    def parts(self) -> list[str]:
        return [one for one in self.asked if "bytes=" in one]


def with_faults(app: Answer, faults: Faults) -> Answer:
    """A WSGI application that has them."""

    def answer(environ: dict[str, Any], start: Answer) -> Iterable[bytes]:
        kind = faults.next_of(environ)
        time.sleep(faults.latency_seconds)
        if kind == "reset":
            connection: socket.socket = environ["werkzeug.socket"]
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            raise ConnectionResetError
        if kind == "hang":
            time.sleep(faults.hang_seconds)
        if kind.isdigit():
            after = [("Retry-After", "1")] if kind == "429" else []
            start(f"{kind} Fault", [("Content-Length", "0"), *after])
            return [b""]
        content = b"".join(app(environ, start))
        if kind == "damaged":
            content = bytes([content[0] ^ 1]) + content[1:]
        return [content[: len(content) // 2] if kind == "short" else content]

    return answer


@contextmanager
def object_store(faults: Faults, port: int = 0) -> Iterator[dict[str, str]]:
    """The environment of processes that use it; this one has it, too, meanwhile."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *arguments: Any) -> None:
            pass

    app = with_faults(DomainDispatcherApplication(create_backend_app), faults)
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        files().mkdir(BUCKET)
        yield environment
    finally:
        server.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def files() -> Any:
    """Of the store, for tests to look at and to spoil."""
    import fsspec

    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)


if __name__ == "__main__":
    with object_store(Faults(latency_seconds=float(sys.argv[2])), int(sys.argv[1])) as environment:
        print(json.dumps(environment), flush=True)
        sys.stdin.read()
