"""What a person reads while a run trains: messages and a line a minute, which train.log keeps, and a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr.utils.files import naming
from asr.utils.text_files import refuse_own_pipe

_SECONDS_BETWEEN_LINES = 60.0


class Console:
    """RUN/train.log, and where it `shows` them, standard error; a terminal has a bar there."""

    def __init__(
        self,
        run: Path,
        hours: float,
        total_hours: float,
        shows: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: in seconds."""
        self.shows, self.total_hours, self.clock = shows, total_hours, clock
        self._begin = clock(), hours
        self._said_at = clock()
        self.path = run / "train.log"
        refuse_own_pipe(self.path)
        self._text = self.path.open("a", encoding="utf-8", errors="backslashreplace")
        self._bar = tqdm(
            total=round(total_hours, 2),
            initial=hours,
            unit="h",
            desc="audio",
            file=sys.stderr,
            disable=None if shows else True,  # None: where there is no terminal
            bar_format="{desc} {n:.2f}/{total:.2f} h |{bar:20}| {elapsed}<{remaining}{postfix}",
        )
        self._score: dict[str, str] = {}
        """Of student and teacher, when they were last evaluated."""

    def say(self, message: str) -> None:
        """On standard error and in train.log."""
        self._keep(message)
        if self.shows:
            tqdm.write(message, file=sys.stderr)

    def _keep(self, message: str) -> None:
        with naming(self.path):
            self._text.write(message + "\n")
            self._text.flush()

    def update(self, record: Mapping[str, Any], real_time: float) -> None:
        """One update, trained at so many times real time: moves the bar; each minute a line says the same."""
        postfix = {
            "loss": f"{record['loss']:.3f}",
            **self._score,
            "x real time": f"{real_time:.0f}",
            "wait": f"{record['data_wait_share']:.0%}",
            "padding": f"{record['padding_share']:.0%}",
        }
        self._bar.n = record["hours"]
        self._bar.set_postfix(postfix, refresh=False)
        self._bar.update(0)
        now = self.clock()
        if now - self._said_at >= _SECONDS_BETWEEN_LINES:
            self._said_at = now
            line = self._line(record, now)
            if self._bar.disable:
                self.say(line)
            else:
                self._keep(line)

    def _line(self, record: Mapping[str, Any], now: float) -> str:
        """Speed and time left are over all that this process has trained, evaluations included."""
        began, first_hours = self._begin
        hours, seconds = record["hours"], now - began
        speed = 3600.0 * (hours - first_hours) / seconds
        minutes = 60.0 * (self.total_hours - hours) / speed if speed > 0 else 0.0
        loss = f"loss {record['loss']:.3f}"
        labelled, pseudo = record.get("loss_labelled"), record.get("loss_pseudo_labelled")
        if labelled is not None and pseudo is not None:
            loss += f" (transcripts {labelled:.3f}, labels {pseudo:.3f})"
        confidence = record.get("pseudo_label_confidence")
        parts = [
            f"{hours:8.2f} h  of {self.total_hours:g} h",
            loss,
            *([] if confidence is None else [f"confidence {confidence:.2f}"]),
            f"{speed:.3g} x real time",
            f"wait {record['data_wait_share']:.0%}",
            f"padding {record['padding_share']:.0%}",
            f"{max(0.0, minutes):.0f} min left",
        ]
        return "  ".join(parts)

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """One model on one dev set: a message."""
        model, wer = record["model"], record.get("wer")
        if wer is None:
            self._score[f"dev loss {model}"] = f"{record['dev_loss']:.3f}"
            found = (
                f"dev loss {record['dev_loss']:.4f}  effective rank {record['effective_rank']:.1f}  variance "
                f"{record['target_variance']:.3f}, predicted {record['prediction_variance']:.3f}"
            )
        else:
            self._score[f"WER {model}"] = f"{wer:.1f}"
            found = f"WER {wer:6.2f} %  CER {record['cer']:6.2f} %"
        count = record.get("lost_utterances")
        lost = f"  without {count} utterances that cannot be read" if count else ""
        self.say(f"{record['hours']:8.2f} h  {record['set']:<12} {model:<8} {found}{lost}")

    def close(self) -> None:
        self._bar.close()
        with suppress(OSError):  # of a full disk, which has been said
            self._text.close()
