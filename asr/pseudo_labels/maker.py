"""A micro-batch of untranscribed speech -> its labels: the teacher's forward pass, a decoder, filters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.loading.micro_batch import MicroBatch
from asr.data.segments import Segment
from asr.distributed.precision import Precision
from asr.distributed.process_group import Ranks
from asr.evaluation.calibration.word_errors import Calibration
from asr.model.features import FeatureExtractor
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.decoders import LabelDecoder, LabelRequest
from asr.pseudo_labels.filters import NO_LABEL, Dropped, is_without_speech, judge, token_error_rate
from asr.pseudo_labels.label import OUTSIDE, Label, length_ratio, with_text
from asr.pseudo_labels.outside.outside_labels import OutsideLabels
from asr.pseudo_labels.records import Key, LabelRecord, measured
from asr.pseudo_labels.store import unpacked
from asr.teacher.teachers import Teacher


@dataclass
class Outlook:
    """What the dev sets, as they were last read, say of labels."""

    calibration: Calibration | None = None
    """None where they say nothing (yet)."""
    speech_blank_share: float | None = None
    """The most blank frames that speech has, by the weights that label; None where that is not known."""

    def wer(self, label: Label) -> float | None:
        """Expected of a label, in percent."""
        if self.calibration is None or label.source == OUTSIDE:
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
    """Of the transcripts; 0 where there are none."""
    normalise: Callable[[str], str]
    """Under which labels are compared with references."""
    outside: OutsideLabels | None = None
    """Labels from files, for teacher file."""
    outlook: Outlook = field(default_factory=Outlook)

    @property
    def stamp(self) -> dict[str, Any]:
        """What the labels depend on besides the teacher."""
        outside, weights = self.outside, self.config.pseudo_label.token_weights
        return {
            **self.decoder.stamp,
            **(outside.stamp if outside else {}),
            **({"token weights": weights} if weights != "none" else {}),
        }

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
            if place in micro_batch.lost:
                label = replace(label, tokens=[], text=None, confidences=(), dropped=Dropped.LOST)
            text = label.text or self.tokenizer.decode(label.tokens)
            label = with_text(label, text)
            before = former.get(segment.index)
            if label.dropped in NO_LABEL:
                before = None
            filters, rate = self.config.pseudo_label.filters, self.tokens_per_second
            change = former_ratio = None
            if before is not None:
                change = token_error_rate(label.tokens, unpacked(before))
                former_ratio = length_ratio(len(unpacked(before)), segment.seconds, rate)
            blank_share = self.outlook.speech_blank_share if label.source != OUTSIDE else None
            label = replace(
                label,
                hours=hours,
                teacher_age_hours=math.nan
                if label.source == OUTSIDE
                else hours - self.teacher.hours,
                dropped=judge(label, segment.seconds, rate, change, filters, blank_share),
            )
            errors = None
            if label.dropped not in NO_LABEL:
                errors = measured(
                    self.normalise(micro_batch.references[place]), self.normalise(text)
                )
            name, wer = micro_batch.ids[place], self.outlook.wer(label)
            record = LabelRecord(
                key(segment),
                name,
                segment.seconds,
                label,
                text,
                change,
                errors,
                is_without_speech=is_without_speech(label, change, former_ratio, blank_share),
                wer_estimate=wer,
            )
            records.append(record)
        return records

    @property
    def can_emit(self) -> Callable[[Sequence[int], int], bool]:
        """Whether the student can say tokens of an utterance of so many encoder frames."""
        return self.teacher.models.engine.student.criterion.can_emit

    @torch.no_grad()
    def _decide(self, micro_batch: MicroBatch, hours: float) -> list[Label]:
        request = LabelRequest(micro_batch.segments, micro_batch.references, hours)
        # A collective: before a rank without a share turns back.
        with self.teacher.labelling() as network:
            if not micro_batch.segments:
                if self.teacher.forward_is_collective:
                    network(*_cast(self.features.silence(), network.dtype))
                return []
            features = _cast(self.features(micro_batch.teacher_input), network.dtype)
            dtype = getattr(torch, Precision.of(self.config).activations)
            casts = network.dtype != dtype  # else it computes in that type as it is
            with torch.autocast(self.ranks.device.type, dtype, enabled=casts):
                return self.decoder.labels(network, *features, request)


def _cast(features: tuple[Tensor, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """In the type of the weights."""
    return features[0].to(dtype), features[1]
