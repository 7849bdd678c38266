"""What there is to know of little transcribed speech before hours are spent on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asr.config.schema import Config
from asr.evaluation.calibration.word_errors import UNFIT_WER

_PASSES = (30, 100, 300)
_SMALL_HOURS = 1.0
_FEWEST_HOURS = 1 / 3
_FEWEST_PASSES = 30.0
"""Below these, a network that begins with random weights does not read by the time it labels."""


@dataclass(frozen=True)
class Advice:
    """Something to know, and what to do about it."""

    what: str
    remedy: str = ""
    is_grave: bool = False
    """The run works, but hours of it will be lost."""


def about_small_corpus(config: Config, labelled_hours: float) -> Iterator[Advice]:
    """What passes over a small corpus are in hours; whether labels can be usable when they begin."""
    if not 0.0 < labelled_hours < _SMALL_HOURS:
        return
    passes = [f"{count * labelled_hours:.3g}" for count in _PASSES]
    total, start = config.trainer.total_hours, config.pseudo_label.start_hours
    minutes = f"{60 * labelled_hours:.3g} minutes of labelled speech"
    begin = "" if start is None else f", and labels begin after {start / labelled_hours:.3g}"
    yield Advice(
        f"{minutes}: {', '.join(map(str, _PASSES))} passes over it are {', '.join(passes)} hours of audio; "
        f"trainer.total_hours {total:.4g} is {total / labelled_hours:.3g} passes{begin}"
    )
    if start is not None and _begins_random(config):
        yield from _about_the_labels(config, labelled_hours, start, minutes)


def _about_the_labels(
    config: Config, labelled_hours: float, start: float, minutes: str
) -> Iterator[Advice]:
    passes = start / labelled_hours
    limit = config.pseudo_label.start.dev_wer_below
    what = (
        f"labels begin at {start:.4g} h, after {passes:.3g} passes over {minutes}, and the network begins with "
        "random weights: "
    )
    if limit is not None:
        yield Advice(
            f"{what}they wait until its dev WER is below {limit:g} % (pseudo_label.start.dev_wer_below), which "
            "may be never"
        )
        return
    enough = labelled_hours >= _FEWEST_HOURS and passes >= _FEWEST_PASSES
    later = f"from {_FEWEST_PASSES * labelled_hours:.3g} h on, "
    yield Advice(
        f"{what}most words of its labels may be wrong, and training on them make it worse"
        if enough
        else f"{what}its labels will not be usable, most of their words will be wrong",
        "begin with trained weights (init_from), transcribe more, begin later "
        f"({later if labelled_hours >= _FEWEST_HOURS else ''}by dev WER: "
        f"pseudo_label.start.dev_wer_below={UNFIT_WER:g})",
        is_grave=not enough,
    )


def _begins_random(config: Config) -> bool:
    is_ours = config.model.kind == "transformer"
    return is_ours and config.init_from is None and config.fork_from is None
