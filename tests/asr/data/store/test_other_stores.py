"""Google's store and the Hub of Hugging Face, of both no more than what reading a part asks for."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTENT = bytes(range(256)) * 100
_READ = """
import sys
from asr.config.store import StoreConfig
from asr.data.store.bringing import Part, bring
config = StoreConfig(cache_directory=sys.argv[1], patience_seconds=10)
brought = bring(Part(sys.argv[2] + "/x.tar", 100, 50, None), config)
print(brought.content.hex())
try:
    bring(Part(sys.argv[2] + "/missing.tar", 100, 50, None), config)
except OSError as error:
    print(type(error).__name__)
"""


class _Server(http.server.BaseHTTPRequestHandler):
    """Of both protocols: /api and /datasets are the Hub's."""

    protocol_version = "HTTP/1.1"

    def __init__(self, asked: list[tuple[str, str | None]], *arguments: object) -> None:
        self._asked = asked
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self._asked.append((self.path, wanted))
        listed = [{"type": "file", "path": "a/x.tar", "size": len(CONTENT), "oid": "1" * 40}]
        if "missing" in self.path:
            self._answer(404, b"{}")
        elif "/tree/" in self.path:
            self._answer(200, json.dumps(listed).encode())
        elif self.path.startswith("/api/"):
            self._answer(200, json.dumps({"id": "u/r", "sha": "0" * 40, "siblings": []}).encode())
        else:
            first, _, last = (wanted or "bytes=0-25599").removeprefix("bytes=").partition("-")
            self._answer(206, CONTENT[int(first) : int(last) + 1])

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def asked() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server's address, and what it was asked for."""
    found: list[tuple[str, str | None]] = []
    handler = functools.partial(_Server, found)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "variable", "folder"),
    [
        ("gcsfs", "STORAGE_EMULATOR_HOST", "gs://bucket/a"),
        ("huggingface_hub", "HF_ENDPOINT", "hf://datasets/u/r/a"),
    ],
)
def test_a_part_is_read_and_no_more(
    asked: tuple[str, list[tuple[str, str | None]]],
    tmp_path: Path,
    package: str,
    variable: str,
    folder: str,
) -> None:
    pytest.importorskip(package)
    address, requests = asked
    environment = {**os.environ, variable: address, "GOOGLE_CLOUD_PROJECT": "p"}
    command = [sys.executable, "-c", _READ, str(tmp_path), folder]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, check=True
    )
    assert done.stdout.split() == [CONTENT[100:150].hex(), "GoneError"], done.stderr
    assert [one for path, one in requests if "x.tar" in path] == ["bytes=100-149"]
