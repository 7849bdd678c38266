"""The parts that a recipe's `pseudo_label:` names, put together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asr.config.schema import Config
from asr.data.dataloader import TrainingData
from asr.data.dataset import SpeechSet
from asr.data.segments import Kind
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.evaluation.normalisers import make_normaliser
from asr.model.features import FeatureExtractor
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.cache_policy import CachePolicy
from asr.pseudo_labels.decoders import (
    GeneratedOracle,
    LabelDecoder,
    OracleDecoder,
    make_label_decoder,
)
from asr.pseudo_labels.maker import LabelMaker
from asr.pseudo_labels.outside.outside_labels import OutsideLabels, no_label_fits
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.pseudo_labels.recovery import Recovery
from asr.pseudo_labels.schedules import Schedule, schedule_class
from asr.scaling.rule import in_force
from asr.teacher.snapshots import Snapshots
from asr.teacher.teachers import TeacherContext, teacher_class


@dataclass(frozen=True)
class PseudoLabelerFactory:
    """What there is before the audio and the networks are."""

    config: Config
    tokenizer: Tokenizer
    schedule: Schedule
    decoder: LabelDecoder
    cache_policy: CachePolicy
    outside: OutsideLabels | None = None

    @property
    def data_options(self) -> dict[str, Any]:
        """How the stream plays untranscribed speech: arguments of TrainingData."""
        probability = self.cache_policy.probability if self.schedule.has_cache else None
        return {
            "labels_at_use": self.schedule.labels_at_use,
            "cache_probability": probability,
        }

    def make(
        self,
        models: TeacherContext,
        data: TrainingData,
        features: FeatureExtractor,
        say: Callable[[str], None],
    ) -> PseudoLabeler:
        """All of it. Raises UserError where references are wanted and lacking."""
        if isinstance(self.decoder, (OracleDecoder, GeneratedOracle)):
            self._check_references(data.sets[Kind.UNTRANSCRIBED])
        teacher = teacher_class(self.config)(models)
        health = self.config.pseudo_label.health
        weights = teacher.rollback_weights()
        states = None
        if weights is not None and health.action == "rollback":
            states = Snapshots(weights, models.engine.shards, models.ranks)
        is_average = weights is models.average.average
        half_life_hours = self._half_life_hours(models.ranks) if is_average else None
        teacher_from = self.config.pseudo_label.teacher_from_hours
        maker = LabelMaker(
            self.config,
            self.tokenizer,
            models.ranks,
            features,
            teacher,
            self.decoder,
            data.tokens_per_second,
            make_normaliser(self.config.corpus.scoring_normaliser).apply,
            self._outside(data),
        )
        return PseudoLabeler(
            self.config,
            data,
            models.ranks,
            maker,
            self.schedule,
            Recovery(
                health,
                models.averages,
                states,
                half_life_hours,
                self.schedule.has_cache,
                math.inf if teacher_from is None else teacher_from,
                has_transcripts=not self.config.has_no_transcripts,
            ),
            self.cache_policy,
            say,
        )

    def _outside(self, data: TrainingData) -> OutsideLabels | None:
        """Labels from files for the untranscribed speech. Raises UserError where they have none of it."""
        if self.outside is None:
            return None
        speech = data.sets[Kind.UNTRANSCRIBED]
        found = self.outside.of(speech)
        covered = found.covered(speech)
        if not covered:
            raise no_label_fits(found, speech)
        data.notes.append(f"labels from outside: of {covered:,} of {len(speech):,} utterances")
        return found

    def _half_life_hours(self, ranks: Ranks) -> float:
        """Of the average, where labelling begins."""
        config, start_hours = self.config, self.config.pseudo_label.teacher_from_hours or 0.0
        batch_seconds = config.global_batch_seconds(ranks.world, start_hours)
        return in_force(config, batch_seconds, start_hours).half_life_hours

    def _check_references(self, speech: SpeechSet) -> None:
        for name, reference in zip(speech.ids, speech.references, strict=True):
            if not reference:
                raise UserError(
                    f"pseudo_label.decision oracle: untranscribed utterance '{name}' has no reference",
                    "keep them in DIRECTORY/references/SET.tsv, or decide otherwise",
                )
            try:
                self.tokenizer.encode(reference)
            except UserError as error:
                raise error.at(f"pseudo_label.decision oracle: utterance '{name}'") from None


def make_factory(config: Config, tokenizer: Tokenizer) -> PseudoLabelerFactory | None:
    """None for a supervised run. Raises UserError for what is missing."""
    if config.pseudo_label.start_hours is None:
        return None
    return PseudoLabelerFactory(
        config,
        tokenizer,
        schedule_class(config)(config),
        make_label_decoder(config, tokenizer),
        CachePolicy(config.pseudo_label.cache),
        OutsideLabels.load(config, tokenizer),
    )
