"""What a web server may answer, and what of it is audio."""

from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr.config.store import StoreConfig
from asr.data.store.bringing import Part, bring
from asr.errors import StoreAwayError, UserError

CONTENT = bytes(range(200))


class _Server(http.server.BaseHTTPRequestHandler):
    def __init__(self, asked: list[str], *arguments: object) -> None:
        self._asked = asked
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._asked.append(f"{self.path} {self.headers.get('Authorization', '')}".strip())
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/there?signature=hunter2")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = {"/whole": 200, "/forbidden": 403, "/busy": 503}.get(self.path, 206)
        if self.path == "/later" and self._asked.count(self._asked[-1]) == 1:
            status = 429
            self.send_response(status)
            self.send_header("Retry-After", "2")
        else:
            self.send_response(status)
        self.send_header("Content-Length", "50")
        self.end_headers()
        self.wfile.write(CONTENT[100:150])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = functools.partial(_Server, asked)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_what_a_web_server_answers(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = server
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    config = StoreConfig(cache_directory=str(tmp_path / "cache"), patience_seconds=0)

    def part(name: str) -> Part:
        return Part(f"{address}/{name}", 100, 50, None)

    assert bring(part("there"), config).content == CONTENT[100:150]
    assert asked == ["/there Basic bWU6aHVudGVyMg=="], "credentials are those of ~/.netrc"
    assert bring(part("moved"), config).content == CONTENT[100:150]
    with pytest.raises(UserError, match="does not serve parts of files"):
        bring(part("whole"), config)
    with pytest.raises(StoreAwayError, match=r"the store refuses \(HTTP status 403\).*netrc"):
        bring(part("forbidden"), config)
    with pytest.raises(StoreAwayError, match=r"the store is away \(HTTP status 503"):
        bring(part("busy"), config)
    patient, begun = config.model_copy(update={"patience_seconds": 9}), time.monotonic()
    assert bring(part("later"), patient).content == CONTENT[100:150]
    assert time.monotonic() - begun >= 2.0, "as long as Retry-After says"
    with pytest.raises(StoreAwayError, match="the store is away") as raised:
        bring(Part("http://127.0.0.1:9/x", 0, 1, None), config)
    assert "hunter2" not in str(raised.value)
