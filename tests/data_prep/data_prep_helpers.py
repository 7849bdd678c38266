"""Small corpora made of noise, and readers of what a preparation wrote."""

from __future__ import annotations

import functools
import http.server
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
from lhotse import CutSet


def write_audio(
    path: Path,
    seconds: float = 0.4,
    rate_hz: int = 16_000,
    channels: int = 1,
    subtype: str | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).normal(
        0, 0.1, (round(seconds * rate_hz), channels)
    )
    soundfile.write(path, noise.astype("float32"), rate_hz, subtype=subtype)
    return path


def cut_short(path: Path, share: float = 0.5) -> Path:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def write_nan_wav(path: Path) -> Path:
    samples = np.zeros(8000, dtype="float32")
    samples[5000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    return path


def make_bad_files(folder: Path) -> dict[str, str]:
    """One file for each reason of rejection; returns reason by id."""
    cut_short(write_audio(folder / "cut.flac", seconds=2.0))
    (folder / "nothing.wav").touch()
    (folder / "letter.wav").write_text("This is not audio.\n" * 50)
    write_nan_wav(folder / "nan.wav")
    return {
        "cut": "truncated",
        "nothing": "empty",
        "letter": "unreadable",
        "nan": "non_finite",
    }


def make_librispeech(corpus: Path, parts: dict[str, list[str]]) -> None:
    """The official layout: utterance ids by part, with texts of random words."""
    words = random.Random(0)
    for part, names in parts.items():
        for name in names:
            speaker, chapter, _ = name.split("-")
            folder = corpus / part / speaker / chapter
            write_audio(folder / f"{name}.flac", seconds=0.2 + 0.01 * len(name))
            text = " ".join(words.choice(["IT", "DON'T", "MATTER"]) for _ in range(4))
            with (folder / f"{speaker}-{chapter}.trans.txt").open("a") as file:
                file.write(f"{name} {text}\n")


def make_voice(folder: Path, texts: list[str], below: str = "") -> Path:
    """A festvox voice with one wav a sentence; returns `folder`."""
    voice = folder / below / "msu_ru_nsh_clunits"
    (voice / "etc").mkdir(parents=True)
    lines = []
    for number, text in enumerate(texts, start=1):
        write_audio(voice / "wav" / f"ru_{number:04}.wav", seconds=0.3)
        lines.append(f'( ru_{number:04} "{text}" )\n')
    (voice / "etc" / "txt.done.data").write_text("".join(lines), encoding="utf-8")
    return folder


def cuts_of(output: Path, name: str) -> list[Any]:
    return list(CutSet.from_file(output / f"{name}.jsonl.gz"))


def rejects_of(output: Path) -> list[dict[str, str]]:
    lines = (output / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def summary_of(output: Path) -> dict[str, Any]:
    tree = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert isinstance(tree, dict)
    return tree


def published(output: Path) -> list[str]:
    """Everything a user would take for a finished manifest or summary."""
    patterns = ("*.jsonl.gz", "references/*.tsv", "summary.json")
    return sorted(path.name for pattern in patterns for path in output.glob(pattern))


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, byte ranges too; notes what it was asked for."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range")
        self.asked.append((path.name, wanted))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), int(last) + 1 if last else len(content)
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content[start:end])))
        self.end_headers()
        self.wfile.write(content[start:end])

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which `folder` is served."""
    Mirror.asked.clear()
    handler = functools.partial(Mirror, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
