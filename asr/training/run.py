"""A whole run: join the ranks, train into its folder, note what it is beside what it does."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from asr.config.recipe import dump_config
from asr.config.schema import Config
from asr.data.segments import Kind
from asr.distributed.agreement import together
from asr.distributed.meeting import told_at_the_end
from asr.distributed.process_group import Ranks, join
from asr.errors import UserError
from asr.pseudo_labels.ledger import copy_ledger
from asr.scaling.card import off_grid, render_card, scaling_cards
from asr.scaling.rule import SECONDS_PER_HOUR
from asr.teacher.power_averages import copy_snapshots
from asr.tracking.environment import environment
from asr.training.checkpoints.publishing import recover
from asr.training.records import note_card_in_force
from asr.training.start.agreed import facts_at_the_start
from asr.training.start.resolved import about_passes, resolved
from asr.training.start.small_corpus import about_small_corpus
from asr.training.trainer import Trainer
from asr.utils.files import naming, write_json, write_text
from asr.utils.locks import LOCK, locked

Say = Callable[[str], None]


def train(config: Config, say: Say = lambda message: None, show_progress: bool = False) -> bool:
    """Train a recipe into its folder `output`, from its last checkpoint on where it has one.

    `say` receives, on the first rank, what a person wants to know before and after; `show_progress` shows on
    the terminal what train.log gets meanwhile, and a bar. Returns True at the end of the run, False
    where a signal (SIGTERM, SIGINT, SIGHUP) stopped it, saved. Raises UserError for what the user can fix.

    One process trains; for several ranks, start Python on each of them with torchrun. The process joins a
    process group, in which it stays, and takes the recipe's matrix precision and a share of the cores.

    >>> import asr
    >>> config = asr.load_config("recipe.yaml", {"trainer.total_hours": 0.01, "output": "exp/short"})
    >>> asr.train(config)
    True
    """
    if not isinstance(config, Config):
        raise UserError(
            f"a recipe was expected, not {config!r:.60}", "read it: asr.load_config(path)"
        )
    ranks = join(config.trainer.matmul_precision)
    run = Path(config.output)
    busy = UserError(
        f"{run}: another process is training there",
        "wait for it, stop it, or choose another folder (output=FOLDER)",
    )
    with told_at_the_end(), naming(run), ExitStack() as held:
        with together(ranks):
            if ranks.is_first:
                _make(run)
                held.enter_context(locked(run / LOCK, busy, signed=True))
                recover(run)
        with together(ranks) as stage:
            given, config = config, resolved(config)
            stage.facts = facts_at_the_start(config, ranks)
        say = say if ranks.is_first else lambda message: None
        for line in about_passes(given, config):
            say(line)
        return _train(config, ranks, say, show_progress)


def _make(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output: {run} cannot be made ({error.strerror})",
            "choose another folder (output=FOLDER), or fix its permissions",
        ) from None


def _train(config: Config, ranks: Ranks, say: Say, show_progress: bool) -> bool:
    say("\n\n".join(map(render_card, scaling_cards(config, ranks.world))))
    trainer = Trainer(config, ranks, show_progress)
    _introduce(trainer, say)
    if ranks.is_first and not trainer.is_complete:
        _describe_run(trainer, say)
    try:
        finished = trainer.train()
    except Exception as error:
        if getattr(error, "is_of_all_ranks", False):
            ranks.barrier()  # the first one has written its last checkpoint, before another one ends
        raise
    hours, steps = trainer.state.clock.hours, trainer.state.clock.steps
    patience = trainer.state.patience
    if not finished:
        say(f"stopped at {hours:.2f} h; the same command goes on from there")
        return False
    if ranks.is_first:
        trainer.store.tidy()
        score = {trainer.state.score_name: trainer.state.dev_score}
        summary: dict[str, Any] = {"hours": hours, "steps": steps, **score}
        if patience.stops(config):
            summary["stopped_early"] = patience.why_stopped(config)
        write_json(trainer.run / "complete.json", summary)
    if trainer.label_guard is not None and not trainer.label_guard.labeler.is_begun:
        say("note: pseudo-labelling never began: " + trainer.label_guard.why_not_begun())
    early = f", stopped early: {patience.why_stopped(config)}" if patience.stops(config) else ""
    say(f"complete: {hours:.2f} h of audio in {steps} updates{early}; {trainer.run}")
    return True


def _introduce(trainer: Trainer, say: Say) -> None:
    hours, total = trainer.state.clock.hours, trainer.config.trainer.total_hours
    source = trainer.resumed_from
    if trainer.is_complete:
        say(f"nothing left to train: {source} stands at {hours:.2f} of {total:g} h")
        if trainer.state.patience.stops(trainer.config):
            why = trainer.state.patience.why_stopped(trainer.config)
            say(f"it was stopped early: {why}; with more patience it goes on")
    elif source is None:
        say(f"starting: {total:g} h of audio to {trainer.run}")
        labelled = trainer.data.sets.get(Kind.LABELLED)  # None where labels are all there is
        labelled_hours = (
            0.0 if labelled is None else float(labelled.seconds.sum()) / SECONDS_PER_HOUR
        )
        for advice in about_small_corpus(trainer.config, labelled_hours):
            grave = "warning" if advice.is_grave else "note"
            say(f"{grave}: {advice.what}" + (f"; {advice.remedy}" if advice.remedy else ""))
    else:
        verb = "resuming" if trainer.store.is_own else "forking"
        say(f"{verb} from {source} at {hours:.2f} of {total:g} h")
    for reason, count in trainer.data.left_out.items():
        if count:
            say(f"left out of training: {count} utterances ({reason})")
    for note in [*off_grid(trainer.config, trainer.ranks.world), *trainer.notes]:
        say(f"note: {note}")


def _describe_run(trainer: Trainer, say: Say) -> None:
    """What the run is, beside what it does; and a fork's curves begin with those that it left."""
    config, run = trainer.config, trainer.run
    damage = note_card_in_force(run, config, trainer.ranks.world, trainer.state)
    if damage:
        say(f"warning: {damage}")
    (run / "complete.json").unlink(missing_ok=True)
    write_text(run / "config.yaml", dump_config(config))
    weights = trainer.engine.student.named_weights()
    parameters = sum(math.prod(getattr(w, "ds_shape", w.shape)) for _, w in weights)
    about = {"parameters": parameters, "ranks": trainer.ranks.world}
    write_json(run / "environment.json", {**environment(), **about})
    if config.fork_from is None or trainer.resumed_from is None or trainer.store.is_own:
        return
    parent = trainer.resumed_from.resolve().parent.parent
    for name in ("metrics.jsonl", "utterances.jsonl"):
        if (parent / name).is_file():
            write_text(run / name, (parent / name).read_text(encoding="utf-8"))
    copy_ledger(parent, run)
    if config.teacher.keep_for_average:
        copy_snapshots(parent, run)
