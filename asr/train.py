"""`asr train`: a recipe -> a run folder. Run it again and it goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from asr.config import Config, dump_config, load_config
from asr.scaling import render_card, scaling_card

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
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(argv)
    config = load_config(arguments.recipe, arguments.overrides)
    if arguments.print_config:
        print(dump_config(config, comments=True), end="")
        return 0
    return _train(config)


def _train(config: Config) -> int:
    # Said before torch is imported, which takes seconds: what the rule cannot do, it refuses at once.
    card = scaling_card(config, int(os.environ.get("WORLD_SIZE", "1")))
    from asr.distributed import join, leave
    from asr.metrics import environment

    ranks = join(config.trainer.matmul_precision)
    run = Path(config.output)
    try:
        if ranks.is_first:
            run.mkdir(parents=True, exist_ok=True)
            print(render_card(card), flush=True)
            _inherit_metrics(config, run)
        ranks.barrier()

        from asr.trainer import Trainer

        trainer = Trainer(config, ranks)
        if ranks.is_first:
            _introduce(trainer.clock.hours, trainer.resumed_from, trainer.is_complete, config)
            for reason, count in trainer.data.left_out.items():
                if count:
                    print(f"left out of training: {count} utterances ({reason})")
            (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
            (run / "scaling.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            (run / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
        finished = trainer.train()
        if ranks.is_first:
            hours = trainer.clock.hours
            if finished:
                summary = {"hours": hours, "steps": trainer.clock.steps, "dev_wer": trainer.dev_wer}
                (run / "complete.json").write_text(json.dumps(summary) + "\n")
                print(f"complete: {hours:.2f} h of audio in {trainer.clock.steps} updates; {run}")
            else:
                print(f"stopped at {hours:.2f} h; the same command goes on from there")
        return 0
    finally:
        leave()


def _introduce(hours: float, source: Path | None, complete: bool, config: Config) -> None:
    total = config.trainer.total_hours
    if complete:
        print(f"nothing left to train: {source} stands at {hours:.2f} of {total:g} h")
    elif source is None:
        print(f"starting: {total:g} h of audio to {config.output}")
    else:
        print(f"resuming from {source} at {hours:.2f} of {total:g} h")
    sys.stdout.flush()


def _inherit_metrics(config: Config, run: Path) -> None:
    """A fork's curves begin with those of the run that it left."""
    if config.fork_from is None or (run / "metrics.jsonl").exists() or (run / "latest").exists():
        return
    parent = Path(config.fork_from).resolve().parent.parent
    for name in ("metrics.jsonl", "utterances.jsonl"):
        if (parent / name).is_file():
            shutil.copyfile(parent / name, run / name)
