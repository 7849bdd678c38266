"""What `asr check` says of what a run begins with."""

from __future__ import annotations

from collections.abc import Iterator

from asr.config.schema import Config
from asr.data.transcripts import training_tokenizer
from asr.errors import UserError
from asr.planning.checks.finding import Finding, note
from asr.planning.checks.recipe import TRIAL_HOURS
from asr.training.start.resolved import about_passes, resolved
from asr.training.start.small_corpus import about_small_corpus
from asr.training.start.warm_start import warm_start_of


def check_beginning(config: Config) -> tuple[Config, list[Finding]]:
    """The recipe with every setting in force, as far as it can be had; and what stands against it."""
    given = config
    try:
        config = resolved(config)
        warm_start = warm_start_of(config)
    except UserError as error:
        return _without_passes(config), [Finding.of(error)]
    found = [note(line) for line in about_passes(given, config)]
    if warm_start is None:
        return config, found
    try:
        keeps_head = warm_start.keeps_head(training_tokenizer(config))
    except UserError:  # said of the tokenizer itself
        return config, found
    same = warm_start.config.objective.kind == config.objective.kind
    why = "the tokenizer is another" if same else "that was trained for another objective"
    but = "" if keeps_head else f" but for the head, since {why}"
    return config, [
        *found,
        note(f"init_from: the run begins with {warm_start.weights}{but}"),
    ]


def _without_passes(config: Config) -> Config:
    """Where there is no corpus to say how long they are: as if labels began at once."""
    start = config.pseudo_label.start
    if start.passes is None:
        return config
    start = start.model_copy(update={"hours": 0.0, "passes": None})
    policy = config.pseudo_label.model_copy(update={"start": start})
    return config.model_copy(update={"pseudo_label": policy})


def check_hours(config: Config, labelled_hours: float) -> Iterator[Finding]:
    """What passes over a small corpus are in hours; whether labels can be usable when they begin."""
    for one in about_small_corpus(config, labelled_hours):
        is_problem = one.is_grave and config.trainer.total_hours >= TRIAL_HOURS
        yield Finding(one.what, one.remedy, is_problem)
