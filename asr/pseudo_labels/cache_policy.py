"""How probably a group in the cache is replaced after a use: always alike, or by how much labels change.

Continuous Pseudo-Labeling from the Start (Berrebbi et al., ICLR 2023, arXiv 2210.08711): as long as labels
change quickly a kept one is soon outdated, and the cache turns over fast; later it may live. There a label
is compared with a new one whenever it is used; here each new label with the utterance's former one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asr.config.pseudo_label import CacheConfig
from asr.errors import UserError
from asr.pseudo_labels.label_counts import LabelCounts


class CachePolicy:
    """The probability in each pass over the cache.

    That of a pass is known when the pass before it begins, so that batches can be planned, and their audio
    read, ahead of the labels.
    """

    def __init__(self, policy: CacheConfig) -> None:
        self.policy = policy
        self._of_pass = {0: 1.0, 1: 1.0}

    def probability(self, cache_pass: int) -> float:
        """Raises UserError where the cache is smaller than what a batch and its reading ahead use."""
        if self.policy.change_for_replacement == 0:
            return self.policy.replacement_probability
        if cache_pass not in self._of_pass:
            raise UserError(
                f"pseudo_label.cache.capacity_utterances {self.policy.capacity_utterances}: batches that are "
                "read ahead use the whole cache, so change_for_replacement cannot follow",
                "enlarge it, or lower trainer.loader_workers",
            )
        return self._of_pass[cache_pass]

    def passed(self, cache_pass: int, counts: LabelCounts) -> None:
        """A batch ended in this pass over the cache, with these smoothed counts."""
        if cache_pass + 1 in self._of_pass:
            return
        change = counts.changed / counts.compared if counts.compared else 1.0
        followed = change / (self.policy.change_for_replacement or 1.0)
        least = self.policy.replacement_probability
        self._of_pass = {
            number: value for number, value in self._of_pass.items() if number >= cache_pass
        }
        self._of_pass[cache_pass + 1] = min(1.0, max(least, followed))

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        return {str(number): value for number, value in self._of_pass.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._of_pass = {int(number): value for number, value in state.items()}
