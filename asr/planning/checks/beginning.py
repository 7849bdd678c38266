"""What `asr check` says of what a run begins with."""

from __future__ import annotations

from collections.abc import Iterator

from asr.config.schema import Config
from asr.errors import UserError
from asr.evaluation.calibration.word_errors import UNFIT_WER
from asr.model.tokenizer import make_tokenizer
from asr.planning.checks.finding import Finding, note
from asr.planning.checks.recipe import TRIAL_HOURS
from asr.training.start.resolved import about_passes, resolved
from asr.training.start.warm_start import warm_start_of

_PASSES = (30, 100, 300)
_SMALL_HOURS = 1.0
_FEWEST_HOURS = 1 / 3
_FEWEST_PASSES = 30.0
"""Below these, a network that begins with random weights does not read by the time it labels."""


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
        keeps_head = warm_start.keeps_head(make_tokenizer(config.tokenizer))
    except UserError:  # said of the tokenizer itself
        return config, found
    but = "" if keeps_head else " but for the head, since the tokenizer is another"
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
    if not 0.0 < labelled_hours < _SMALL_HOURS:
        return
    passes = [f"{count * labelled_hours:.3g}" for count in _PASSES]
    total, start = config.trainer.total_hours, config.pseudo_label.start_hours
    minutes = f"{60 * labelled_hours:.3g} minutes of labelled speech"
    begin = "" if start is None else f", and labels begin after {start / labelled_hours:.3g}"
    yield note(
        f"{minutes}: {', '.join(map(str, _PASSES))} passes over it are {', '.join(passes)} hours of audio; "
        f"trainer.total_hours {total:.4g} is {total / labelled_hours:.3g} passes{begin}"
    )
    if start is not None and _begins_random(config):
        yield from _about_the_labels(config, labelled_hours, start, minutes)


def _about_the_labels(
    config: Config, labelled_hours: float, start: float, minutes: str
) -> Iterator[Finding]:
    passes = start / labelled_hours
    limit = config.pseudo_label.start.dev_wer_below
    what = (
        f"labels begin at {start:.4g} h, after {passes:.3g} passes over {minutes}, and the network begins with "
        "random weights: "
    )
    if limit is not None:
        yield note(
            f"{what}they wait until its dev WER is below {limit:g} % (pseudo_label.start.dev_wer_below), which "
            "may be never"
        )
        return
    enough = labelled_hours >= _FEWEST_HOURS and passes >= _FEWEST_PASSES
    later = f"from {_FEWEST_PASSES * labelled_hours:.3g} h on, "
    yield Finding(
        f"{what}most words of its labels may be wrong, and training on them make it worse"
        if enough
        else f"{what}its labels will not be usable, most of their words will be wrong",
        "begin with trained weights (init_from), transcribe more, begin later "
        f"({later if labelled_hours >= _FEWEST_HOURS else ''}by dev WER: "
        f"pseudo_label.start.dev_wer_below={UNFIT_WER:g})",
        is_problem=not enough and config.trainer.total_hours >= TRIAL_HOURS,
    )


def _begins_random(config: Config) -> bool:
    is_ours = getattr(config.model, "kind", "transformer") == "transformer"
    return is_ours and config.init_from is None and config.fork_from is None
