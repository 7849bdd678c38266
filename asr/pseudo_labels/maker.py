"""A micro-batch of untranscribed speech -> its labels: the teacher's forward pass, a decoder, filters.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.dataloader import MicroBatch
from asr.data.segments import Segment
from asr.distributed.precision import Precision
from asr.distributed.process_group import Ranks
from asr.evaluation.calibration.word_errors import Calibration
from asr.model.features import FeatureExtractor, frame_mask
from asr.model.tokenizer import BLANK, Tokenizer
from asr.pseudo_labels.decoders import LabelDecoder, LabelRequest
from asr.pseudo_labels.filters import judge, token_error_rate
from asr.pseudo_labels.label import Label
from asr.pseudo_labels.records import Key, LabelRecord, measured
from asr.pseudo_labels.store import unpacked
from asr.teacher.teachers import Teacher


@dataclass
class Outlook:
    """What the dev sets, as they were last read, say of labels."""

    calibration: Calibration | None = None
    """None where they say nothing (yet)."""

    def wer(self, label: Label) -> float | None:
        """Expected of a label, in percent."""
        if self.calibration is None:
            return None
        return self.calibration.wer(label.metrics.confidence)


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
    outlook: Outlook = field(default_factory=Outlook)

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
        decided = self._decide(micro_batch, hours)
        for place, (segment, label) in enumerate(zip(micro_batch.segments, decided, strict=True)):
            before = former.get(segment.index)
            change = None if before is None else token_error_rate(label.tokens, unpacked(before))
            filters, rate = self.config.pseudo_label.filters, self.tokens_per_second
            label = replace(
                label,
                hours=hours,
                teacher_age_hours=hours - self.teacher.hours,
                dropped=judge(label, segment.seconds, rate, change, filters),
            )
            name, text = micro_batch.ids[place], self.tokenizer.decode(label.tokens)
            errors = measured(micro_batch.references[place], text)
            wer = self.outlook.wer(label)
            record = LabelRecord(
                key(segment), name, segment.seconds, label, text, change, errors, wer_estimate=wer
            )
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
