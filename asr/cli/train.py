"""`asr train`: a recipe -> a run folder. Run it again and it goes on where it stopped."""

from __future__ import annotations

import os
from functools import partial

from asr.cli.arguments.common import add_device, add_recipe, make_parser
from asr.config.recipe import config_to_show, dump_config, load_config
from asr.errors import UserError
from asr.scaling.card import scaling_cards
from asr.training.start.resolved import resolved
from asr.utils.launcher import ranks_announced
from asr.utils.signals import ignore_signals
from asr.utils.streams import work_is_on_disk

_DESCRIPTION = """\
Train the recipe's student, with its EMA teacher, into the folder `output`. A run that was stopped or
killed goes on from its last checkpoint, exactly; a finished one says so and does nothing. Ctrl-C, SIGTERM and a
lost terminal (SIGHUP) save after the update at hand and end with status 75, so that what would come after a
whole run does not begin; ranks end with 0, which launchers expect. Nobody need read what is printed.

One process needs no launcher. For several GPUs, or CPU ranks:
  torchrun --nproc-per-node 8 -m asr train RECIPE.yaml
  deepspeed --module asr train RECIPE.yaml
torchrun gives ranks that it ends 30 seconds to save: --shutdown-timeout 120 where that is too little.
"""

STOPPED = os.EX_TEMPFAIL
"""Exit status of a run that was told to stop, and has saved: 75, as sysexits.h has it."""


def main(argv: list[str]) -> int:
    """Train a recipe."""
    parser = make_parser("train", _DESCRIPTION)
    add_recipe(parser)
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print every setting in force, documented, and stop (defaults for what is at fault)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print faults alone; RUN/train.log has the rest"
    )
    add_device(parser)
    arguments = parser.parse_intermixed_args(argv)
    ranks = ranks_announced()
    try:
        config = load_config(arguments.recipe, arguments.overrides)
        if arguments.print_config:
            print(dump_config(config, comments=True), end="")
            return 0
        # Before torch is imported, which takes seconds: what the rule cannot do, it refuses at once.
        scaling_cards(resolved(config), ranks)
    except UserError as error:
        if arguments.print_config:
            config = config_to_show(arguments.recipe, arguments.overrides)
            print(dump_config(config, comments=True), end="")
        if ranks > 1 and not arguments.print_config:
            _tell_the_others(error)
        raise
    from asr.training.run import train

    work_is_on_disk()
    if arguments.quiet:
        finished = train(config)
    else:
        finished = train(config, partial(print, flush=True), show_progress=True)
    ignore_signals()  # a launcher may send another when all is saved
    # A launcher would call a rank that ends with another status than 0 a failure.
    return 0 if finished or "RANK" in os.environ else STOPPED


def _tell_the_others(error: UserError) -> None:
    """Ranks that have no such fault would wait for this one. Raises UserError, as they do."""
    from asr.distributed.agreement import fail_together
    from asr.distributed.process_group import join

    fail_together(join("highest"), error)
