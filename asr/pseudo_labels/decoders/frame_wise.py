"""From the teacher's logits of frames to hard labels: greedy, sampled, searched, or looked up.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from asr.config.pseudo_label import LabelSearchConfig
from asr.config.schema import Config
from asr.errors import UserError
from asr.model.ctc import best_paths, collapse
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.decoders.decoder import LabelDecoder, LabelRequest
from asr.utils.devices import fetched
from asr.utils.seeds import SeedTag, hash_seed

if TYPE_CHECKING:
    from asr.data.segments import Segment
    from asr.decoding.beam import BeamSettings


class GreedyDecoder(LabelDecoder):
    """The best token of each frame; repeats merged, then blanks dropped."""

    def tokens(
        self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[list[int]]:
        return best_paths(logits_BSV, lengths_B)

    def takes_best_path(self, hours: float) -> bool:
        return True


class SamplingDecoder(LabelDecoder):
    """A path drawn frame by frame from softmax(logits / temperature), whose temperature falls to 0.

    Continuous Pseudo-Labeling from the Start (Berrebbi et al., ICLR 2023, arXiv 2210.08711): a weak teacher's
    best path is mostly blank, and its samples are not. The draw is the segment's own, whatever the batch.
    """

    def temperature(self, hours: float) -> float | None:
        policy = self.config.pseudo_label
        since, span = hours - (policy.start_hours or 0.0), policy.sample.anneal_hours
        share = max(0.0, 1.0 - max(0.0, since) / span) if span else 1.0
        return policy.sample.temperature * share or None

    def takes_best_path(self, hours: float) -> bool:
        return self.temperature(hours) is None

    @property
    def stamp(self) -> Mapping[str, Any]:
        return {**super().stamp, **self.config.pseudo_label.sample.model_dump()}

    def tokens(
        self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[list[int]]:
        temperature = self.temperature(request.hours)
        if temperature is None:
            return best_paths(logits_BSV, lengths_B)
        cumulated_BSV = (logits_BSV.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
        cumulated_BSV, lengths_B = fetched(cumulated_BSV, lengths_B)
        return [
            collapse(self._path(cumulated_SV[:frames], segment))
            for cumulated_SV, frames, segment in zip(
                cumulated_BSV, lengths_B.tolist(), request.segments, strict=True
            )
        ]

    def _path(self, cumulated_SV: Tensor, segment: Segment) -> Tensor:
        seed = hash_seed(*segment.seed(self.config.seed), SeedTag.SAMPLED_LABELS)
        drawn_S1 = torch.rand(
            len(cumulated_SV), 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        return torch.searchsorted(cumulated_SV.contiguous(), drawn_S1)[:, 0].clamp(
            max=cumulated_SV.shape[1] - 1
        )


class BeamSearchDecoder(LabelDecoder):
    """A beam search with an n-gram language model: IPL's (Xu et al., arXiv 2005.09267)."""

    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        from asr.decoding.beam import BeamDecoder

        self.settings = _settings(config.pseudo_label.beam)
        try:
            self.search = BeamDecoder(tokenizer, self.settings)
        except UserError as error:
            raise error.at("pseudo_label.beam") from None

    def tokens(
        self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[list[int]]:
        return [nbest[0].tokens for nbest in self.search(logits_BSV, lengths_B)]

    @property
    def stamp(self) -> Mapping[str, Any]:
        return self.settings.stamp()


class OracleDecoder(LabelDecoder):
    """The reference: the upper end of a comparison, which no teacher's labels can pass."""

    def tokens(
        self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[list[int]]:
        return [self.tokenizer.encode(reference) for reference in request.references]


def _settings(config: LabelSearchConfig) -> BeamSettings:
    from asr.decoding.beam import MAKES_ONE, BeamSettings

    model = Path(config.language_model) if config.language_model else None
    if model is not None and not model.is_file():
        raise UserError(f"pseudo_label.beam.language_model: {model}: no such file", MAKES_ONE)
    options = config.model_dump(exclude={"language_model"})
    return BeamSettings(language_model=model, **options)
