"""Manifests of invented utterances."""

from __future__ import annotations

import gzip
import json
from pathlib import Path


def line(name: str, seconds: float = 1.5, text: str | None = "a b", rate: int = 16_000) -> str:
    supervision = {"id": name, "recording_id": name, "start": 0.0, "duration": seconds}
    record = {
        "id": name,
        "start": 0.0,
        "duration": seconds,
        "channel": 0,
        "supervisions": [] if text is None else [{**supervision, "channel": 0, "text": text}],
        "recording": {
            "id": name,
            "sources": [{"type": "file", "channels": [0], "source": f"/{name}.wav"}],
            "sampling_rate": rate,
            "num_samples": round(seconds * rate),
            "duration": seconds,
            "channel_ids": [0],
        },
        "type": "MonoCut",
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def write(path: Path, lines: list[str]) -> Path:
    content = "".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
