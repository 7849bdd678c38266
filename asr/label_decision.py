"""From the teacher's logits to hard labels: the greedy path, or a beam search with an n-gram language model.

The search is IPL's (Xu et al., arXiv 2005.09267), made anew for every label. It sees one utterance at a
time, so a label does not depend on the batch or on the ranks.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

    @classmethod
    def of(cls, policy: PseudoLabelConfig, tokenizer: Tokenizer) -> LabelDecision:
        """What `pseudo_label.decision` names.

        Raises UserError where the search lacks its packages or its language model.
        """
        if policy.decision == "greedy" or policy.start_hours is None:
            return cls()
        from asr.beam import BeamDecoder

        return cls(BeamDecoder(tokenizer, _settings(policy.beam)))

    @property
    def language_model_sha256(self) -> str | None:
        """Of its file, if there is one."""
        if self.search is None:
            return None
        return self.search.settings.stamp().get("language_model_sha256")

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
