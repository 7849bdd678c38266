"""Losses and gradients that are not finite: named, counted, and beyond a limit the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr.config.schema import Config
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.training.batch_stats import BatchStats
from asr.training.state import TrainingState


@dataclass(frozen=True)
class NonFinite:
    """Counts them in the run's state."""

    config: Config
    state: TrainingState
    ranks: Ranks
    checkpoints: Path
    say: Callable[[str], None]

    def count_losses(self, own: BatchStats, stats: BatchStats) -> None:
        """Name, count, and beyond the limit stop, before a step is spoilt.

        `own` of this rank, `stats` over all. A collective. Raises UserError beyond the limit.
        """
        if not stats.non_finite:
            return
        names, state = ", ".join(self.ranks.gather(own.non_finite_ids)), self.state
        self.say(f"NaN or infinite loss, left out of update {state.batches_drawn + 1}: {names}")
        state.non_finite += int(stats.non_finite)
        self._stop_beyond_limit(
            state.non_finite,
            f"utterances had a NaN or infinite loss (last: {names})",
            "lower optimizer.learning_rate or look at that audio",
        )

    def count_skipped(self) -> None:
        """A step that the engine did not apply: nothing moves, neither clock nor teacher.

        Raises UserError beyond the limit.
        """
        self.state.skipped_updates += 1
        self.say(f"update {self.state.batches_drawn + 1} skipped: its gradient is not finite")
        self._stop_beyond_limit(
            self.state.skipped_updates,
            "updates had a gradient that is not finite",
            "lower optimizer.learning_rate, or clip gradients (optimizer.max_gradient_norm)",
        )

    def _stop_beyond_limit(self, count: int, what: str, remedy: str) -> None:
        limit = self.config.trainer.non_finite_limit
        if count > limit:
            raise UserError(
                f"{count} {what}, more than trainer.non_finite_limit={limit}, at "
                f"{self.state.clock.hours:.2f} h",
                f"{remedy}; the last checkpoint in {self.checkpoints} is untouched",
            ).of_all(self.ranks.is_first)
