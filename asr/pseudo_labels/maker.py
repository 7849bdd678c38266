"""A micro-batch of untranscribed speech -> its labels: the teacher's forward pass, a decoder, filters.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.dataloader import MicroBatch
from asr.data.segments import Segment
from asr.distributed.precision import Precision
from asr.distributed.process_group import Ranks
from asr.model.features import FeatureExtractor, frame_mask
from asr.model.tokenizer import BLANK, Tokenizer
from asr.pseudo_labels.decoders import LabelDecoder, LabelRequest
from asr.pseudo_labels.filters import NO_LABEL, judge, token_error_rate
from asr.pseudo_labels.label import OUTSIDE, Label
from asr.pseudo_labels.outside.outside_labels import OutsideLabels
from asr.pseudo_labels.records import Key, LabelRecord, measured
from asr.pseudo_labels.store import unpacked
from asr.teacher.teachers import Teacher


@dataclass(frozen=True)
class LabelMaker:
    """Labels by one teacher and one decoder, on clean speech."""

    config: Config
    tokenizer: Tokenizer
    ranks: Ranks
    features: FeatureExtractor
    teacher: Teacher
    decoder: LabelDecoder
    tokens_per_second: float
    """Of the transcripts."""
    outside: OutsideLabels | None = None
    """Labels from files, for teacher file."""

    @property
    def stamp(self) -> dict[str, Any]:
        """What the labels depend on besides the teacher."""
        return {**self.decoder.stamp, **(self.outside.stamp if self.outside else {})}

    def make(
        self,
        micro_batch: MicroBatch,
        hours: float,
        key: Callable[[Segment], Key],
        former: Mapping[int, bytes],
    ) -> list[LabelRecord]:
        """A label for each utterance, judged by the recipe's filters. A collective under ZeRO 1 to 3.

        `hours` of audio by the clock, `key` of a segment's label, `former` labels by utterance, packed.
        """
        records = []
        if self.outside is None:
            decided = self._decide(micro_batch, hours)
        else:
            ask = partial(self._decide, micro_batch, hours)
            decided = self.outside.choose(micro_batch.ids, hours, ask)
        for place, (segment, label) in enumerate(zip(micro_batch.segments, decided, strict=True)):
            before = former.get(segment.index)
            if label.dropped in NO_LABEL:
                before = None
            change = None if before is None else token_error_rate(label.tokens, unpacked(before))
            filters, rate = self.config.pseudo_label.filters, self.tokens_per_second
            label = replace(
                label,
                hours=hours,
                teacher_age_hours=math.nan
                if label.source == OUTSIDE
                else hours - self.teacher.hours,
                dropped=label.dropped or judge(label, segment.seconds, rate, change, filters),
            )
            name, text = micro_batch.ids[place], label.text or self.tokenizer.decode(label.tokens)
            is_label = label.dropped not in NO_LABEL
            errors = measured(micro_batch.references[place], text) if is_label else None
            record = LabelRecord(key(segment), name, segment.seconds, label, text, change, errors)
            records.append(record)
        return records

    @torch.no_grad()
    def _decide(self, micro_batch: MicroBatch, hours: float) -> list[Label]:
        forward = self.teacher.forward()  # a collective: before a rank without a share turns back
        if not micro_batch.segments:
            if self.teacher.forward_is_collective:
                forward(*self.features.silence())
            return []
        features = self.features(micro_batch.teacher_input)
        precision = Precision.of(self.config)
        dtype = getattr(torch, precision.activations)
        with torch.autocast(self.ranks.device.type, dtype, enabled=precision.is_low):
            logits_BSV, lengths_B = forward(*features)
        logits_BSV = _blank_where_not_finite(logits_BSV, lengths_B)
        request = LabelRequest(micro_batch.segments, micro_batch.references, hours)
        return self.decoder(logits_BSV, lengths_B, request)


def _blank_where_not_finite(logits_BSV: Tensor, lengths_B: Tensor) -> Tensor:
    """An utterance of which the teacher makes NaN or infinity says nothing: its label is empty."""
    is_padding_BS = ~frame_mask(lengths_B, logits_BSV.shape[1])
    is_sound_B = (logits_BSV.isfinite().all(dim=-1) | is_padding_BS).all(dim=-1)
    if bool(is_sound_B.all()):
        return logits_BSV
    silence_V = torch.zeros_like(logits_BSV[0, 0])
    silence_V[BLANK] = 100.0
    return torch.where(is_sound_B[:, None, None], logits_BSV, silence_V)
