"""How long the dev WER has not fallen, in hours of audio: for a decay on a plateau, and an early end.

Without texts it is the dev loss.

All is decided at evaluations, from numbers that ranks share and checkpoints hold. An evaluation comes up to a
batch after the hour at which it is due; so a batch is added to what was waited, and a patience that is a
multiple of the evaluations' distance runs out at the same one whatever the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asr.config.schema import Config


@dataclass
class Waiting:
    """For a dev WER that is lower than the best so far."""

    best_wer: float | None = None
    """In percent."""
    best_hours: float = 0.0
    since_hours: float = 0.0
    """From when on patience counts."""
    waited_hours: float = 0.0
    """Up to the last evaluation."""

    def observe(self, hours: float, batch_hours: float, wer: float, min_delta: float) -> None:
        """An evaluation at `hours`."""
        if self.best_wer is None or wer < self.best_wer - min_delta:
            self.best_wer, self.best_hours, self.since_hours = wer, hours, hours
        self.waited_hours = (
            0.0 if self.since_hours >= hours else hours - self.since_hours + batch_hours
        )

    def begin_again(self, hours: float) -> None:
        """All of its patience is before it."""
        self.since_hours, self.waited_hours = hours, 0.0

    def is_out_of(self, patience_hours: float | None) -> bool:
        """Whether it has waited as long as that."""
        return patience_hours is not None and self.waited_hours >= patience_hours


@dataclass
class Patience:
    """Of a run. Plain numbers: a checkpoint holds `asdict(self)`."""

    decaying: Waiting = field(default_factory=Waiting)
    stopping: Waiting = field(default_factory=Waiting)
    decays: int = 0
    """Times that the learning rate fell."""

    @classmethod
    def from_state(cls, saved: Mapping[str, Any]) -> Patience:
        """Of a checkpoint; of an older one that has none, all patience is to come."""
        decaying, stopping = (Waiting(**saved.get(name, {})) for name in ("decaying", "stopping"))
        return cls(decaying, stopping, int(saved.get("decays", 0)))

    def observe(
        self, config: Config, hours: float, batch_hours: float, wer: float | None, waits: bool
    ) -> list[str]:
        """An evaluation at `hours`; with `waits` patience does not count yet. Lines for people."""
        if wer is None:
            return []
        plateau, early = config.optimizer.plateau, config.trainer.early_stopping
        self.decaying.observe(hours, batch_hours, wer, plateau.min_delta)
        self.stopping.observe(hours, batch_hours, wer, early.min_delta)
        start = config.optimizer.decay_start_hours
        if waits or hours <= (config.optimizer.warmup_hours if start is None else start):
            self.decaying.begin_again(hours)
        if waits:
            self.stopping.begin_again(hours)
        said = []
        if config.optimizer.decay == "plateau" and self.decaying.is_out_of(plateau.patience_hours):
            self.decays += 1
            self.decaying.begin_again(hours)
            said.append(
                f"{hours:8.2f} h  {_why(self.decaying, config)} for {plateau.patience_hours:g} h: learning "
                f"rate x {plateau.factor:g} (optimizer.plateau)"
            )
        if self.stops(config):
            said.append(f"{hours:8.2f} h  stopping early: {self.why_stopped(config)}")
        return said

    def stops(self, config: Config) -> bool:
        """Whether training is at its end."""
        return self.stopping.is_out_of(config.trainer.early_stopping.patience_hours)

    def why_stopped(self, config: Config) -> str:
        """Where it `stops`."""
        return (
            f"{_why(self.stopping, config)} for {config.trainer.early_stopping.patience_hours:g} h "
            "(trainer.early_stopping.patience_hours)"
        )

    def metrics(self, config: Config) -> dict[str, int]:
        """Of a metrics line."""
        return {"plateau_decays": self.decays} if config.optimizer.decay == "plateau" else {}


def _why(waiting: Waiting, config: Config) -> str:
    best = f"WER below {waiting.best_wer:.2f} %"
    if not config.objective.has_texts:
        best = f"loss below {waiting.best_wer:.4g}"
    return f"no dev {best}, that of {waiting.best_hours:.2f} h,"
