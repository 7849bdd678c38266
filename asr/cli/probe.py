"""`asr probe`: what are a run's frozen features good for? A linear CTC layer on them tells."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.arguments.common import (
    add_batch_seconds,
    add_device,
    add_model,
    add_normaliser,
    batch_seconds_of,
    make_parser,
)
from asr.errors import UserError
from asr.utils.options import finite
from asr.utils.streams import work_is_on_disk

if TYPE_CHECKING:
    from asr.training.probing.probe import ProbeSettings

_DESCRIPTION = """\
Train a linear CTC layer on the frozen features of a run's average (or student), on a labelled set, and say
what error rates it has on another. Of a run without texts (objective.kind latent, byol) it is the
first figure in characters; of two runs the one with the lower rate has the features that say more, linearly.

  asr probe EXP --labelled data/mine/labelled.jsonl.gz --set data/mine/dev.jsonl.gz
  asr probe EXP ... --block 6            the output of the sixth block, not the encoder's own
  asr compare EXP/decode/dev/probe_teacher.jsonl EXP2/decode/dev/probe_teacher.jsonl
"""
_EPILOG = """\
The budget is fixed: --updates of Adam over about a minute of audio each, a few minutes of a core, by a learning
rate that falls to 0; nothing is chosen by the set that is scored. Features are computed once, without
augmentation, and brought to mean 0 and variance 1 by channel. Tokens are the characters of the labelled
transcripts. The same seed gives the same layer on the same machine.

Writes RUN/probes/SET/NAME.json (settings, losses, rates), which `asr report` shows, and `asr audit` of its
cells; and the hypotheses into RUN/decode/SET/probe_NAME.jsonl, which `asr score` and `asr compare` read.
"""


def main(argv: list[str]) -> int:
    """`asr probe`."""
    arguments = _parse(argv)
    work_is_on_disk()
    from asr.evaluation.normalisers import run_normaliser
    from asr.evaluation.score import render_table
    from asr.model.model_folder import find_checkpoint, load_frozen
    from asr.training.probing.probe import run_probe

    run: Path = arguments.model_folder
    find_checkpoint(run, arguments.best)  # a misspelt folder is named at once
    normaliser = run_normaliser(run, arguments.normaliser)
    settings = _settings(arguments)
    model = load_frozen(run, arguments.model, best=arguments.best)
    say = partial(print, flush=True)
    found = run_probe(run, model, arguments.labelled, arguments.set, normaliser, settings, say)
    head, labelled = settings.head, found.labelled
    where = "the encoder's output" if settings.block is None else f"block {settings.block}'s output"
    print(
        f"linear CTC probe of {model.checkpoint} ({settings.model}, {where}): {head.updates:,} updates on "
        f"{labelled.seconds / 60:.1f} minutes ({len(labelled.targets):,} utterances), seed {head.seed}; loss "
        f"{found.head.first_loss:.3g} -> {found.head.last_loss:.3g} nats a token"
    )
    for reason, count in labelled.left_out.items():
        print(f"note: {count} utterances of {arguments.labelled} were not trained on: {reason}")
    print(render_table({f"probe_{settings.name}": found.score}))
    print(f"all: {found.path}; hypotheses: {found.hypotheses}")
    return 0


def _settings(arguments: argparse.Namespace) -> ProbeSettings:
    from asr.training.probing.head import HeadSettings
    from asr.training.probing.probe import ProbeSettings

    return ProbeSettings(
        arguments.model,
        arguments.block,
        arguments.labelled_minutes,
        arguments.memory_gb,
        batch_seconds_of(arguments),
        HeadSettings(arguments.updates, arguments.learning_rate, arguments.seed),
    )


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("probe", _DESCRIPTION, _EPILOG)
    add_model(parser)
    parser.add_argument(
        "--labelled", type=Path, required=True, help="prepared set with transcripts to train on"
    )
    parser.add_argument(
        "--set", type=Path, required=True, help="prepared set to score, of other speech"
    )
    parser.add_argument(
        "--labelled-minutes",
        type=finite,
        metavar="M",
        help="train on so much of the labelled set, drawn by the seed (default: all)",
    )
    parser.add_argument("--updates", type=int, default=2000, help="of the layer (%(default)s)")
    parser.add_argument(
        "--learning-rate", type=finite, default=0.01, help="of Adam, at first (%(default)s)"
    )
    parser.add_argument(
        "--block", type=int, metavar="N", help="whose output is probed (default: the encoder's own)"
    )
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument(
        "--memory-gb",
        type=finite,
        default=4.0,
        help="that the features may take, in memory (%(default)s)",
    )
    add_normaliser(parser)
    add_batch_seconds(parser)
    add_device(parser)
    arguments = parser.parse_args(argv)
    for name in ("updates", "block"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value} is too small", "it must be at least 1")
    for name in ("labelled_minutes", "learning_rate", "memory_gb"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            option = name.replace("_", "-")
            raise UserError(f"--{option} {value:g} is too small", "it must be above 0")
    return arguments
