"""The mechanisms that a recipe's `pseudo_label:` names, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asr.config.schema import Config
from asr.data.dataloader import TrainingData
from asr.data.dataset import SpeechSet
from asr.data.segments import Kind
from asr.errors import UserError
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.cache_policy import Replacement
from asr.pseudo_labels.decoders import Decision, Oracle, make_decision
from asr.pseudo_labels.pseudo_labeler import Features, Labelling
from asr.pseudo_labels.recovery import Remedy
from asr.pseudo_labels.schedules import Schedule, schedule_class
from asr.teacher.snapshots import Snapshots
from asr.teacher.teachers import Models, labeller_class


@dataclass(frozen=True)
class Mechanisms:
    """What there is before the audio and the networks are."""

    config: Config
    tokenizer: Tokenizer
    schedule: Schedule
    decision: Decision
    replacement: Replacement

    @property
    def of_the_data(self) -> dict[str, Any]:
        """How the stream plays untranscribed speech: arguments of TrainingData."""
        probability = self.replacement.probability if self.schedule.has_cache else None
        return {
            "labels_at_use": self.schedule.labels_at_use,
            "cache_probability": probability,
        }

    def labelling(
        self, models: Models, data: TrainingData, features: Features, say: Callable[[str], None]
    ) -> Labelling:
        """All of it. Raises UserError where references are wanted and lacking."""
        if isinstance(self.decision, Oracle):
            self._check_references(data.sets[Kind.UNTRANSCRIBED])
        labeller = labeller_class(self.config)(models)
        health = self.config.pseudo_label.health
        weights = labeller.weights_to_go_back()
        states = None
        if weights is not None and health.action == "rollback":
            states = Snapshots(weights, models.engine.shards, models.ranks)
        is_average = weights is models.average.average
        half_life_hours = self.config.teacher.half_life_hours if is_average else None
        return Labelling(
            self.config,
            self.tokenizer,
            data,
            models.ranks,
            labeller,
            self.decision,
            self.schedule,
            Remedy(health, models.average, states, half_life_hours),
            self.replacement,
            features,
            say,
        )

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


def make_mechanisms(config: Config, tokenizer: Tokenizer) -> Mechanisms | None:
    """None for a supervised run. Raises UserError for what is missing."""
    if config.pseudo_label.start_hours is None:
        return None
    return Mechanisms(
        config,
        tokenizer,
        schedule_class(config)(config),
        make_decision(config, tokenizer),
        Replacement(config.pseudo_label.cache),
    )
