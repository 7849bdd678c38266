"""What a run leaves behind while it trains: metrics.jsonl, utterances.jsonl, TensorBoard, a bar."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr.scaling.clock import AudioClock
from asr.tracking.jsonl import JsonLines


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
