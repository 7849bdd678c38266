"""What `asr check` says of a recipe's method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.errors import UserError
from asr.planning.checks.finding import Finding, note
from asr.planning.checks.outside import check_outside
from asr.pseudo_labels.decoders import label_decoder_class
from asr.pseudo_labels.schedules import schedule_class
from asr.teacher.teachers import BestAverageTeacher, teacher_class


def check_method(config: Config, untranscribed: Sequence[SpeechSet]) -> Iterator[Finding]:
    """Classes that cannot be had, and numbers that do not fit the corpus or the run's hours."""
    if config.pseudo_label.start_hours is None:
        return
    for find in (label_decoder_class, schedule_class, teacher_class):
        try:
            found = find(config)
        except UserError as error:
            yield Finding.of(error)
            continue
        if found is BestAverageTeacher and not config.corpus.dev:
            yield Finding(
                "pseudo_label.teacher average_of_best: corpus.dev is empty, so no student is best",
                "name a dev set there",
            )
    yield from _numbers(config, config.pseudo_label.start_hours)
    yield from check_outside(config, untranscribed)
    if untranscribed:
        yield from _corpus(config, untranscribed)


def _numbers(config: Config, start: float) -> Iterator[Finding]:
    policy, total = config.pseudo_label, config.trainer.total_hours
    filters = policy.filters
    if filters.min_confidence and "confidence" not in filters.model_fields_set:
        yield note(
            f"pseudo_label.filters.min_confidence {filters.min_confidence:g} is by {filters.confidence}; name "
            "the measure (confidence: frames is what 0.1.0 meant)"
        )
    if filters.min_ctc_score and config.has_no_transcripts and config.init_from is None:
        yield Finding(
            f"pseudo_label.filters.min_ctc_score {filters.min_ctc_score:g}: the CTC head is new, and without "
            "transcripts nothing teaches it: every label would be dropped",
            "set it to 0, or begin with a run that has trained the head (init_from)",
        )
    if policy.schedule == "rounds" and start + policy.rounds.every_hours >= total:
        yield note(
            f"pseudo_label.rounds.every_hours {policy.rounds.every_hours:g}: the run ends before a second round"
        )
    if policy.decision == "sample" and start + policy.sample.anneal_hours > total:
        yield note(
            f"pseudo_label.sample.anneal_hours {policy.sample.anneal_hours:g}: the run ends before its labels "
            "are the greedy path"
        )
    if policy.health.action == "rollback" and policy.teacher in ("frozen", "average_of_best"):
        yield note(
            f"pseudo_label.health.action rollback: teacher {policy.teacher} has no former state, so a collapse "
            "only pauses the labels"
        )


def _corpus(config: Config, untranscribed: Sequence[SpeechSet]) -> Iterator[Finding]:
    policy, count = config.pseudo_label, sum(map(len, untranscribed))
    capacity = policy.cache.capacity_utterances
    if policy.schedule == "cache" and capacity > count:
        yield Finding(
            f"pseudo_label.cache.capacity_utterances {capacity} is more than the {count} untranscribed "
            "utterances, so that nothing is trained on until they have been labelled several times",
            "lower it; a tenth of the corpus is usual",
        )
    without = sum(len(speech.without_text()) for speech in untranscribed)
    if policy.decision == "oracle" and without:
        yield Finding(
            f"pseudo_label.decision oracle: {without} untranscribed utterances have no reference",
            "keep them in DIRECTORY/references/SET.tsv, or decide otherwise",
        )
