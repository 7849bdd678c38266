"""What a recipe's own numbers say against it, before any audio is looked at. No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

from asr.config.schema import Config
from asr.errors import UserError
from asr.model.lineage import no_checkpoint
from asr.planning.checks.finding import Finding, note
from asr.planning.estimates import played_seconds
from asr.planning.rule_notes import rule_notes
from asr.scaling.card import off_grid, scaling_cards
from asr.scaling.rule import half_lives_in_run, in_force
from asr.tracking.run_log import logger_class

_FEWEST_HALF_LIVES = 1.0
_FEWEST_STEPS_A_HALF_LIFE = 2.0
_FEWEST_SECONDS_A_RANK = 10.0
_FEW_PASSES = 2
TRIAL_HOURS = 1.0
"""A shorter run only tries the path: a schedule that does not fit it is noted, and not a problem."""


def check_recipe(config: Config, ranks: int) -> Iterator[Finding]:
    """Schedule, rule, roles and files."""
    yield from _rule(config, ranks)
    yield from _schedule(config)
    yield from _teacher(config, ranks)
    yield from map(note, rule_notes(config))
    yield from _roles(config)
    yield from _files(config)


def _rule(config: Config, ranks: int) -> Iterator[Finding]:
    try:
        scaling_cards(config, ranks)
    except UserError as error:
        yield Finding.of(error, f"on {ranks} rank(s): ")
    for text in off_grid(config, ranks):
        yield note(text)
    seconds = config.global_batch_seconds(ranks) / ranks
    yield from _passes(config, seconds)
    if ranks > 1 and seconds < _FEWEST_SECONDS_A_RANK:
        yield note(
            f"a global batch gives each of {ranks} ranks {seconds:.2g} s of audio: they will wait for each "
            "other",
            "use fewer ranks, or a larger batch.batch_seconds",
        )


def _passes(config: Config, seconds: float) -> Iterator[Finding]:
    """A pass more in each update, for padding alone, where there are few. `seconds`: of a rank in an update."""
    limit = config.batch.max_seconds_per_micro_batch
    fewest = math.ceil(seconds * config.objective.views / limit)
    needed = played_seconds(config, seconds)
    if fewest <= _FEW_PASSES and needed > fewest * limit:
        heard = ", each heard twice" if config.objective.views > 1 else ""
        yield note(
            f"the {seconds:g} s of a rank{heard} come to about {needed:.4g} s, slowed down and padded: a pass "
            f"more in each update than batch.max_seconds_per_micro_batch {limit:g} seems to ask for",
            f"where memory allows, batch.max_seconds_per_micro_batch={math.ceil(needed / fewest / 10) * 10}",
        )


def _schedule(config: Config) -> Iterator[Finding]:
    total, optimizer = config.trainer.total_hours, config.optimizer
    start = config.pseudo_label.start_hours
    if start is not None and start >= total:
        yield Finding(
            f"pseudo_label.start_hours {start:g} is not before trainer.total_hours {total:g}: the run ends "
            "in its burn-in",
            "start earlier, train longer, or set start_hours to null for a supervised run",
        )
    if start is not None and config.pseudo_label.labelled_to_untranscribed[1] == 0:
        ratio = config.pseudo_label.labelled_to_untranscribed
        yield Finding(
            f"pseudo_label.labelled_to_untranscribed {list(ratio)} never draws untranscribed speech",
            "write a second number from 1 on, or set pseudo_label.start_hours to null",
        )
    if optimizer.warmup_hours >= total:
        yield Finding(
            f"optimizer.warmup_hours {optimizer.warmup_hours:g} is not before trainer.total_hours {total:g}: "
            "the learning rate never arrives",
            "warm up for less, or train longer",
            is_problem=total >= TRIAL_HOURS,
        )
    elif start and start < optimizer.warmup_hours:
        yield note(
            f"pseudo-labels begin at {start:g} h, in the middle of the warm-up of {optimizer.warmup_hours:g} h"
        )
    for name, patience in (
        ("optimizer.plateau", optimizer.plateau.patience_hours),
        ("trainer.early_stopping", config.trainer.early_stopping.patience_hours),
    ):
        if patience is not None and patience < config.trainer.evaluation_every_hours:
            yield note(
                f"{name}.patience_hours {patience:g} is less than trainer.evaluation_every_hours "
                f"{config.trainer.evaluation_every_hours:g}: a single evaluation without a lower WER is enough",
                "several times that distance is usual",
            )
    if optimizer.decay not in ("constant", "plateau"):
        yield from _decay(config)
    mask_start = config.augmentation.spec_augment.start_hours
    if mask_start >= total:
        yield note(f"SpecAugment would begin at {mask_start:g} h, after the end at {total:g} h")
    for name in ("evaluation_every_hours", "checkpoint_every_hours"):
        every = getattr(config.trainer, name)
        if every > total:
            yield note(
                f"trainer.{name} {every:g} is more than the run's {total:g} h: only the end is due",
                "lower it: a tenth of trainer.total_hours is usual",
            )
    for hours, _ in config.batch.pieces[1:]:
        if hours >= total:
            yield note(f"the batch schedule's piece from {hours:g} h on lies after the end")


def _decay(config: Config) -> Iterator[Finding]:
    optimizer, total = config.optimizer, config.trainer.total_hours
    start = (
        optimizer.warmup_hours
        if optimizer.decay_start_hours is None
        else optimizer.decay_start_hours
    )
    end = optimizer.decay_end_hours or total
    if start >= end:
        yield Finding(
            f"optimizer.decay_start_hours {start:g} is not before the decay's end at {end:g} h",
            "start earlier, or end later (optimizer.decay_end_hours, trainer.total_hours)",
            is_problem=total >= TRIAL_HOURS,
        )
    elif end > total:
        yield note(f"the decay ends at {end:g} h, after the end of training at {total:g} h")


def _teacher(config: Config, ranks: int) -> Iterator[Finding]:
    batch_seconds = config.global_batch_seconds(ranks)
    try:
        half_life = in_force(config, batch_seconds).half_life_hours
    except UserError:
        return  # said already
    total = config.trainer.total_hours
    if half_lives_in_run(config, batch_seconds) < _FEWEST_HALF_LIVES:
        yield Finding(
            f"the teacher's half-life ({config.teacher.half_life_hours} h) is longer than the run of "
            f"{total:g} h: "
            + (
                "the average never has it (teacher.warmup_share)"
                if config.teacher.warmup_share
                else "its first students, the worst, stay in the average to the end"
            ),
            "shorten teacher.half_life_hours to a tenth of the run or less, or train longer",
            is_problem=total >= TRIAL_HOURS,
        )
    steps = half_life * 3600 / batch_seconds
    if steps < _FEWEST_STEPS_A_HALF_LIFE:
        yield Finding(
            f"the teacher's half-life of {half_life:g} h is {steps:.2g} steps of {batch_seconds:g} s: hardly "
            "an average",
            "lengthen teacher.half_life_hours (the unit is hours of audio), or use a smaller batch",
            is_problem=total >= TRIAL_HOURS,
        )


def _roles(config: Config) -> Iterator[Finding]:
    corpus = config.corpus
    roles = {
        name: [str(Path(one)) for one in getattr(corpus, name)]  # ./train is train
        for name in ("labelled", "untranscribed", "dev", "test")
    }
    for (a, left), (b, right) in itertools.combinations(roles.items(), 2):
        # A recipe may look at its dev sets once more at the end.
        for shared in sorted(set(left) & set(right)) if {a, b} != {"dev", "test"} else []:
            yield Finding(
                f"set '{shared}' is in corpus.{a} and in corpus.{b}", "name it in one of them only"
            )
    for name, sets in roles.items():
        for twice in sorted({one for one in sets if sets.count(one) > 1}):
            yield Finding(f"corpus.{name} names set '{twice}' twice", "name it once")
    if config.has_no_transcripts and config.model.kind == "transformer":
        yield Finding(
            "corpus.labelled is empty, and the student begins with random weights: nothing can write labels",
            "name a set with transcripts, or a pretrained model (model.kind encoder_decoder)",
        )
    elif not config.objective.has_texts and not config.sets_of("untranscribed"):
        yield Finding(
            f"corpus.untranscribed is empty, and objective.kind {config.objective.kind} learns from its audio",
            "name at least one prepared set",
        )
    elif config.objective.has_texts and not corpus.labelled and not config.has_no_transcripts:
        yield Finding("corpus.labelled is empty", "name at least one prepared set with transcripts")
    if not corpus.dev:
        yield note(
            "corpus.dev is empty: nothing shows whether the run learns", "name a prepared set there"
        )
    if corpus.min_seconds >= corpus.max_seconds:
        yield Finding(
            f"corpus.min_seconds {corpus.min_seconds:g} is not below corpus.max_seconds "
            f"{corpus.max_seconds:g}: no utterance can be kept",
            "raise the one, or lower the other",
        )


def _files(config: Config) -> Iterator[Finding]:
    if config.fork_from is not None and not (Path(config.fork_from) / "state.json").is_file():
        yield Finding.of(no_checkpoint("fork_from", Path(config.fork_from)))
    for name in config.tracking.loggers:
        try:
            logger_class(name)
        except UserError as error:
            yield Finding.of(error)
    policy = config.pseudo_label
    if policy.start_hours is None or policy.decision != "beam":
        return
    model = policy.beam.language_model
    if model is not None and not Path(model).is_file():
        yield Finding(
            f"pseudo_label.beam.language_model: {model}: no such file",
            "`asr prepare lm --cuts SET.jsonl.gz --output lm.arpa` makes one",
        )
    import importlib.util

    missing = [name for name in ("flashlight", "kenlm") if importlib.util.find_spec(name) is None]
    if missing:
        yield Finding(
            f"pseudo_label.decision beam needs packages that are not installed: {', '.join(missing)}",
            "pip install 'asr-ema[beam]'",
        )
