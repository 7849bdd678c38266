"""What a recipe leaves open until the files that it names are read. Imports torch where there is some such."""

from __future__ import annotations

from collections.abc import Iterator

from asr.config.schema import Config
from asr.errors import UserError


def resolved(config: Config) -> Config:
    """The recipe with every setting in force. Raises UserError where what it names is not there.

    Whatever trains, checks or plans takes this first; on a recipe that is resolved it changes nothing.
    """
    if config.has_no_transcripts:
        _check_without_transcripts(config)
    if config.trainer.total_passes is not None or config.pseudo_label.start.passes is not None:
        config = _in_hours(config)
    starts_elsewhere = config.init_from is not None or config.fork_from is not None
    if starts_elsewhere or config.model.kind == "encoder_decoder":
        from asr.training.start.warm_start import with_its_average

        config = with_its_average(config)
    return config


def _check_without_transcripts(config: Config) -> None:
    """Raises UserError for what waits while transcripts are trained on, and would wait for ever."""
    policy = config.pseudo_label
    if policy.start.dev_wer_below is not None:
        raise UserError(
            f"pseudo_label.start.dev_wer_below {policy.start.dev_wer_below:g}: labels would wait while "
            "transcripts are trained on, and corpus.labelled is empty",
            "set it to null, or name a set with transcripts",
        )
    if policy.schedule == "cache":
        raise UserError(
            "pseudo_label.schedule cache: it fills while transcripts are trained on, and corpus.labelled is "
            "empty",
            "take online or rounds, or name a set with transcripts",
        )


def about_passes(given: Config, config: Config) -> Iterator[str]:
    """What the passes of a recipe as given have become, for people."""
    start, now = given.pseudo_label.start, config.pseudo_label.start
    if start.passes is not None and now.hours is not None:
        yield f"pseudo_label.start.passes {start.passes:g}: {now.hours:.4g} h of audio"
    if given.trainer.total_passes is not None:
        passes, hours = given.trainer.total_passes, config.trainer.total_hours
        yield f"trainer.total_passes {passes:g}: {hours:.4g} h of audio"


def _in_hours(config: Config) -> Config:
    """Passes over the labelled speech, as much of it as is trained on, as hours of audio.

    Without texts to train on: over all of it.
    """
    from asr.data.dataset import load_role
    from asr.data.segments import Kind
    from asr.data.set_weights import set_weights

    corpus = config.corpus
    kind = Kind.LABELLED if config.objective.has_texts else Kind.UNTRANSCRIBED
    speech = load_role(config, kind).within(corpus.min_seconds, corpus.max_seconds)
    weights = set_weights(config, kind, [speech])
    played = speech.seconds if weights is None else speech.seconds * weights.of_utterance
    hours = float(played.sum()) / 3600
    trainer, policy = config.trainer, config.pseudo_label
    if trainer.total_passes is not None:
        changes = {"total_hours": trainer.total_passes * hours, "total_passes": None}
        trainer = trainer.model_copy(update=changes)
    if policy.start.passes is not None:
        changes = {"hours": policy.start.passes * hours, "passes": None}
        policy = policy.model_copy(update={"start": policy.start.model_copy(update=changes)})
    return config.model_copy(update={"trainer": trainer, "pseudo_label": policy})
