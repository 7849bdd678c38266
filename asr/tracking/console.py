"""What a person reads while a run trains: messages, which train.log keeps, and a bar."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr.utils.files import naming


class Console:
    """RUN/train.log, and where it `shows` them, the terminal's standard error."""

    def __init__(self, run: Path, hours: float, total_hours: float, shows: bool) -> None:
        self.shows = shows
        self.path = run / "train.log"
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
        self._wer: dict[str, float] = {}

    def say(self, message: str) -> None:
        """On the terminal and in train.log."""
        with naming(self.path):
            self._text.write(message + "\n")
            self._text.flush()
        if self.shows:
            tqdm.write(message, file=sys.stderr)

    def update(self, record: Mapping[str, Any], real_time: float) -> None:
        """One update, trained at so many times real time: moves the bar."""
        postfix = {
            "loss": f"{record['loss']:.3f}",
            **{f"WER {model}": f"{wer:.1f}" for model, wer in self._wer.items()},
            "x real time": f"{real_time:.0f}",
            "wait": f"{record['data_wait_share']:.0%}",
            "padding": f"{record['padding_share']:.0%}",
        }
        self._bar.n = record["hours"]
        self._bar.set_postfix(postfix, refresh=False)
        self._bar.update(0)

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """One model on one dev set: a message."""
        self._wer[record["model"]] = record["wer"]
        count = record.get("lost_utterances")
        lost = f"  without {count} utterances that cannot be read" if count else ""
        self.say(
            f"{record['hours']:8.2f} h  {record['set']:<12} {record['model']:<8} "
            f"WER {record['wer']:6.2f} %  CER {record['cer']:6.2f} %{lost}"
        )

    def close(self) -> None:
        self._bar.close()
        with suppress(OSError):  # of a full disk, which has been said
            self._text.close()
