"""Audio that cannot be read any more: named once, counted, and beyond a share the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asr.config.schema import Config
from asr.data.sampler import GlobalBatch
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.training.batch_stats import BatchStats

_MOST_NAMED = 10
"""At a time."""
_FEWEST_OF_A_BATCH = 8
"""A batch of so many utterances, of which nothing can be read, is no matter of single files."""


@dataclass(frozen=True)
class LostAudioGuard:
    """Counts the utterances of this process's time; one that is restored is trained on again."""

    config: Config
    ranks: Ranks
    utterances: int
    """That the run trains on."""
    say: Callable[[str], None]
    known: set[str] = field(default_factory=set)

    def count(self, own: BatchStats, stats: BatchStats, batch: GlobalBatch) -> None:
        """Name what is new, and beyond the limit stop, before a step is taken.

        `own` of this rank, `stats` over all. A collective. Raises UserError beyond the limit.
        """
        if not stats.lost_utterances:
            return
        found = dict(sorted(self.ranks.gather(list(own.lost.items()))))
        new = [why for name, why in found.items() if name not in self.known]
        self.known.update(found)
        for why in new[:_MOST_NAMED]:
            self.say(f"lost, left out of training: {why}")
        if len(new) > _MOST_NAMED:
            self.say(f"lost, left out of training: {len(new) - _MOST_NAMED} others")
        share, most = len(self.known) / max(1, self.utterances), self.config.corpus.max_lost_share
        is_all = len(found) >= max(
            _FEWEST_OF_A_BATCH, len({(s.kind, s.index) for s in batch.segments})
        )
        if share > most or (is_all and most < 1):
            first = next(iter(found.values()))
            raise UserError(
                f"{len(self.known):,} of {self.utterances:,} utterances cannot be read ({share:.1%}; "
                + ("all of this update" if share <= most else f"corpus.max_lost_share is {most:g}")
                + f"), such as {first}",
                "mount or restore the audio, or prepare its set again where files were converted; the same "
                "command then goes on from its last checkpoint",
            ).of_all(self.ranks.is_first)
