"""What a run's own figures say against it, in sentences: labels that are not usable, silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asr.evaluation.calibration.word_errors import UNFIT_WER
from asr.tracking.run_reader import Run
from asr.tracking.shapes import is_number

_LONG_PLATEAU_HOURS = 0.1
_REMEDY = (
    "Give it more transcripts or more hours first, begin with trained weights (init_from), or let labels wait "
    "(pseudo_label.start.dev_wer_below)."
)


def run_warnings(run: Run, config: Mapping[str, Any]) -> list[str]:
    """Labels by weights that were not fit to, or that never began; blanks alone at the end; lost audio.

    `config` as config.yaml has it.
    """
    return [
        *_about_the_start(run),
        *_about_the_wait(run, config),
        *_about_the_plateau(run),
        *_about_the_lost(run),
    ]


def _about_the_lost(run: Run) -> Iterator[str]:
    counts = [line["lost_utterances"] for line in run.training if line.get("lost_utterances")]
    if counts:
        yield (
            f"In {len(counts)} of {len(run.training)} updates some utterances could not be read, {sum(counts)} "
            "times in all: they were left out. train.log names them."
        )
    sets: dict[str, int] = {}
    for line in run.evaluations:
        if line.get("lost_utterances"):
            sets[line["set"]] = max(sets.get(line["set"], 0), line["lost_utterances"])
    for name, count in sets.items():
        yield (
            f"Of dev set '{name}' up to {count} utterances could not be read: its error rates are of the "
            "others."
        )


def _about_the_start(run: Run) -> Iterator[str]:
    lines = [line for line in run.training if is_number(line.get("labelling_dev_wer"))]
    labels = [line for line in lines if is_number(line.get("pseudo_label_confidence"))]
    if not labels or labels[0]["labelling_dev_wer"] <= UNFIT_WER:
        return
    first, last = labels[0], labels[-1]
    estimate = last.get("pseudo_label_wer_estimate")
    about = f", and about {estimate:.0f} % of their words are wrong" if is_number(estimate) else ""
    yield (
        f"The pseudo-labels were not usable when they began: at {first['hours']:.4g} hours what wrote them "
        f"had a dev WER of {first['labelling_dev_wer']:.1f} %, so most of their words were wrong. At the end "
        f"of the log its dev WER is {last['labelling_dev_wer']:.1f} %{about}. {_REMEDY}"
    )


def _about_the_wait(run: Run, config: Mapping[str, Any]) -> Iterator[str]:
    start = (config.get("pseudo_label") or {}).get("start") or {}
    limit, hours = start.get("dev_wer_below"), start.get("hours")
    if not is_number(limit) or not is_number(hours) or not run.training:
        return
    last = run.training[-1]
    if (
        last["hours"] < hours
        or run.with_pseudo_labels
        or not is_number(last.get("labelling_dev_wer"))
    ):
        return
    yield (
        "Pseudo-labelling has not begun: the dev WER of what would label is "
        f"{last['labelling_dev_wer']:.1f} %, and pseudo_label.start.dev_wer_below is {limit:g}."
    )


def _about_the_plateau(run: Run) -> Iterator[str]:
    last = run.training[-1] if run.training else {}
    hours, share = (
        last.get(name) or 0.0 for name in ("blank_plateau_hours", "student_blank_share")
    )
    if hours >= _LONG_PLATEAU_HOURS:
        yield (
            f"At the end of the log the student has written blanks alone for {hours:.3g} hours "
            f"({100 * share:.1f} % of the frames of transcribed speech). A longer warm-up, another learning "
            "rate, more audio an update or trained weights (init_from) help."
        )
