"""`asr train`: a recipe -> a run folder. Run it again and it goes on where it stopped."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from asr.config.recipe import Config, dump_config, load_config
from asr.errors import UserError
from asr.scaling.rule import SECONDS_PER_HOUR, off_grid, render_card, scaling_card, scaling_cards
from asr.utils.files import write_json, write_text

if TYPE_CHECKING:
    from asr.training.trainer import Trainer

_DESCRIPTION = """\
Train the recipe's student, with its EMA teacher, into the folder `output`. A run that was stopped or
killed goes on from its last checkpoint, exactly; a finished one says so and does nothing.

One process needs no launcher. For several GPUs, or CPU ranks:
  torchrun --nproc-per-node 8 -m asr train RECIPE.yaml
  deepspeed --module asr train RECIPE.yaml
"""


def main(argv: list[str]) -> int:
    """Train a recipe."""
    parser = argparse.ArgumentParser(
        prog="asr train",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", help="recipe, YAML")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. model.layers=12")
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print every setting in force, documented, and stop",
    )
    arguments = parser.parse_intermixed_args(argv)
    config = load_config(arguments.recipe, arguments.overrides)
    if arguments.print_config:
        print(dump_config(config, comments=True), end="")
        return 0
    return _train(config)


def _train(config: Config) -> int:
    # Said before torch is imported, which takes seconds: what the rule cannot do, it refuses at once.
    world = int(os.environ.get("WORLD_SIZE", "1"))
    cards = scaling_cards(config, world)
    from asr.distributed.process_group import join, leave

    ranks = join(config.trainer.matmul_precision)
    run = Path(config.output)
    try:
        with _locked(run) if ranks.is_first else nullcontext():
            if ranks.is_first:
                print("\n\n".join(map(render_card, cards)), flush=True)
            from asr.training.trainer import Trainer

            trainer = Trainer(config, ranks)
            if ranks.is_first:
                _introduce(trainer)
                if not trainer.is_complete:
                    _describe_run(trainer, run)
            finished = trainer.train()
            if ranks.is_first:
                _conclude(trainer, finished)
        return 0
    finally:
        leave()


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """The run's folder, for this process alone. Raises UserError if another one trains there."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{run}: another process is training there; wait for it, stop it, or choose another output"
            ) from None
        yield


def _introduce(trainer: Trainer) -> None:
    hours, total = trainer.clock.hours, trainer.config.trainer.total_hours
    source = trainer.resumed_from
    if trainer.is_complete:
        print(f"nothing left to train: {source} stands at {hours:.2f} of {total:g} h")
    elif source is None:
        print(f"starting: {total:g} h of audio to {trainer.run}")
    else:
        print(f"resuming from {source} at {hours:.2f} of {total:g} h")
    for reason, count in trainer.data.left_out.items():
        if count:
            print(f"left out of training: {count} utterances ({reason})")
    for note in [*off_grid(trainer.config, trainer.ranks.world), *trainer.notes]:
        print(f"note: {note}")
    sys.stdout.flush()


def _describe_run(trainer: Trainer, run: Path) -> None:
    """What the run is, beside what it does; and a fork's curves begin with those that it left."""
    from asr.pseudo_labels.ledger import copy_ledger
    from asr.tracking.metric_logger import environment
    from asr.tracking.run_reader import note_card

    config = trainer.config
    drawn_hours = trainer.position.seconds / SECONDS_PER_HOUR
    card = scaling_card(config, trainer.ranks.world, drawn_hours)
    note_card(run, {**card, "from_hours": trainer.clock.hours})
    (run / "complete.json").unlink(missing_ok=True)
    write_text(run / "config.yaml", dump_config(config))
    write_json(run / "environment.json", environment())
    if config.fork_from is None or (run / "latest").exists():
        return
    parent = Path(config.fork_from).resolve().parent.parent
    for name in ("metrics.jsonl", "utterances.jsonl"):
        if (parent / name).is_file():
            write_text(run / name, (parent / name).read_text(encoding="utf-8"))
    copy_ledger(parent, run)


def _conclude(trainer: Trainer, finished: bool) -> None:
    hours, steps = trainer.clock.hours, trainer.clock.steps
    if finished:
        summary = {"hours": hours, "steps": steps, "dev_wer": trainer.dev_wer}
        write_json(trainer.run / "complete.json", summary)
        print(f"complete: {hours:.2f} h of audio in {steps} updates; {trainer.run}")
    else:
        print(f"stopped at {hours:.2f} h; the same command goes on from there")
