"""What a run leaves behind while it trains: metrics.jsonl, utterances.jsonl, TensorBoard, a bar."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr.scaling.rule import AudioClock
from asr.utils.files import replacing


class JsonLines:
    """An append-only file of JSON objects, cut back to a global batch on resume."""

    def __init__(self, path: Path, batches: int) -> None:
        """Open for appending after dropping lines of later batches, and any broken last line."""
        with replacing(path) as kept:
            kept.writelines(_lines_until(path, batches))
        self._stream = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._stream.flush()

    def flush_to_disk(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()


def batch_of(record: dict[str, Any]) -> int:
    """The global batch of a line, from 1: its step, unless a step was skipped before."""
    return int(record.get("batch", record["step"]))


def _lines_until(path: Path, batches: int) -> Iterable[str]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                if not line.endswith("\n") or batch_of(json.loads(line)) > batches:
                    return
            except (ValueError, KeyError, TypeError):
                return
            yield line


class RunLog:
    """All of a run's logs; silent on every rank but the first."""

    def __init__(
        self, run: Path, clock: AudioClock, batches: int, total_hours: float, ledger: bool
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.metrics = JsonLines(run / "metrics.jsonl", batches)
        self.utterances = JsonLines(run / "utterances.jsonl", batches) if ledger else None
        self.tensorboard = SummaryWriter(str(run / "tensorboard"), purge_step=clock.steps + 1)
        self._text = (run / "train.log").open("a", encoding="utf-8")
        self.bar = tqdm(
            total=round(total_hours, 2),
            initial=clock.hours,
            unit="h",
            desc="audio",
            file=sys.stderr,
            disable=None,
            bar_format="{desc} {n:.2f}/{total:.2f} h |{bar:20}| {elapsed}<{remaining}{postfix}",
        )
        self._wer: dict[str, float] = {}

    def say(self, text: str) -> None:
        """A line for people: on the terminal and in train.log."""
        self._text.write(text + "\n")
        self._text.flush()
        tqdm.write(text, file=sys.stderr)

    def training(self, record: dict[str, Any], ids: dict[str, list[str]], real_time: float) -> None:
        """One update."""
        self.metrics.write(record)
        if self.utterances is not None:
            self.utterances.write({"step": record["step"], "batch": record["batch"], **ids})
        self._scalars(record, "train")
        postfix = {
            "loss": f"{record['loss']:.3f}",
            **{f"WER {model}": f"{wer:.1f}" for model, wer in self._wer.items()},
            "x real time": f"{real_time:.0f}",
            "wait": f"{record['data_wait_share']:.0%}",
            "padding": f"{record['padding_share']:.0%}",
        }
        self.bar.n = record["hours"]
        self.bar.set_postfix(postfix, refresh=False)
        self.bar.update(0)

    def evaluation(self, record: dict[str, Any]) -> None:
        """One model on one dev set."""
        self.metrics.write(record)
        self._scalars(record, f"{record['set']}/{record['model']}")
        self._wer[record["model"]] = record["wer"]
        self.say(
            f"{record['hours']:8.2f} h  {record['set']:<12} {record['model']:<8} "
            f"WER {record['wer']:6.2f} %  CER {record['cer']:6.2f} %"
        )

    def _scalars(self, record: dict[str, Any], prefix: str) -> None:
        for name, value in record.items():
            if isinstance(value, (int, float)) and name not in ("step", "batch", "hours"):
                self.tensorboard.add_scalar(f"{prefix}/{name}", value, record["step"])

    def flush_to_disk(self) -> None:
        """So that no checkpoint is ever ahead of the lines that led to it."""
        self.metrics.flush_to_disk()
        if self.utterances is not None:
            self.utterances.flush_to_disk()

    def close(self) -> None:
        self.bar.close()
        self.metrics.close()
        if self.utterances is not None:
            self.utterances.close()
        self.tensorboard.close()
        self._text.close()


def environment() -> dict[str, str]:
    """Versions and machine, for environment.json."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "commit": _commit(),
    }
    for package in (
        "torch",
        "torchaudio",
        "deepspeed",
        "lhotse",
        "jiwer",
        "sentencepiece",
        "numpy",
    ):
        found[package] = metadata.version(package)
    return found


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return answer.stdout.strip() or "unknown"
