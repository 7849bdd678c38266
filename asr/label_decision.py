"""From the teacher's logits to hard labels: the greedy path, or a beam search with an n-gram language model.

The search is IPL's (Xu et al., arXiv 2005.09267), made anew for every label. It sees one utterance at a
time, so a label does not depend on the batch or on the ranks.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from asr.config import LabelSearchConfig, PseudoLabelConfig
from asr.decode import Hypothesis, greedy
from asr.errors import UserError
from asr.tokenizer import Tokenizer

if TYPE_CHECKING:
    from asr.beam import BeamDecoder, BeamSettings


@dataclass(frozen=True)
class LabelDecision:
    """Logits (B, S, V) and lengths (B,) -> a label for each utterance."""

    search: BeamDecoder | None = None
    """None for the greedy path."""
    stamp: Mapping[str, Any] = field(default_factory=lambda: {"decoder": "greedy"})
    """Of the decision, as it was when the run began; with the hash of the language model's file."""

    @classmethod
    def of(cls, policy: PseudoLabelConfig, tokenizer: Tokenizer) -> LabelDecision:
        """What `pseudo_label.decision` names.

        Raises UserError where the search lacks its packages or its language model.
        """
        if policy.decision == "greedy" or policy.start_hours is None:
            return cls()
        from asr.beam import BeamDecoder

        settings = _settings(policy.beam)
        try:
            return cls(BeamDecoder(tokenizer, settings), settings.stamp())
        except UserError as error:
            raise UserError(f"pseudo_label.beam: {error}") from None

    def __call__(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        """The confidence is the greedy path's either way, so that a filter means the same."""
        paths = greedy(logits_BSV, lengths_B)
        if self.search is None:
            return paths
        found = self.search(logits_BSV, lengths_B)
        return [
            Hypothesis(nbest[0].tokens, path.confidence)
            for nbest, path in zip(found, paths, strict=True)
        ]


def _settings(config: LabelSearchConfig) -> BeamSettings:
    from asr.beam import BeamSettings

    model = Path(config.language_model) if config.language_model else None
    if model is not None and not model.is_file():
        raise UserError(
            f"pseudo_label.beam.language_model: {model}: no such file; `asr prepare lm` makes one"
        )
    options = config.model_dump(exclude={"language_model"})
    return BeamSettings(language_model=model, **options)
