"""`asr check`: all that would stop or spoil a run, in one go, before any hour is spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from asr.cli.arguments.common import add_device, add_recipe, make_parser
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.planning.checks.recipe import check_recipe
from asr.utils.options import finite

if TYPE_CHECKING:
    from asr.planning.checks.corpora import Corpora

_DESCRIPTION = """\
Look for all that would stop or spoil a run of a recipe: paths, manifests and audio, characters that the
tokenizer lacks, transcripts longer than CTC can fit at the fastest speed, utterances in two roles, a schedule
or a half-life that does not fit the run, beta limits of the rule, memory. Every problem with its remedy.

Exit status 0 without problems (notes do not count), 2 with some.

  asr check recipes/librispeech/100h_860h.yaml --ranks 8 --memory-gb 80
"""


def main(argv: list[str]) -> int:
    """`asr check`."""
    parser = make_parser("check", _DESCRIPTION)
    add_recipe(parser)
    parser.add_argument("--ranks", type=int, default=1, help="on which it will train (%(default)s)")
    parser.add_argument(
        "--memory-gb",
        type=finite,
        help="of a rank (default: this machine's GPU, or its memory where it has none)",
    )
    add_device(parser)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.ranks < 1:
        raise UserError(f"--ranks {arguments.ranks} is too small", "it must be at least 1")
    memory_gb = arguments.memory_gb
    if memory_gb is not None and not memory_gb > 0:
        raise UserError(
            f"--memory-gb {memory_gb:g}: must be more than 0", "leave it out to take this machine's"
        )
    config = load_config(arguments.recipe, arguments.overrides)

    from asr.planning.checks.beginning import check_beginning, check_hours
    from asr.planning.checks.corpora import Corpora
    from asr.planning.checks.machine import (
        check_here,
        check_memory,
        check_output,
        memory_gb_of_a_rank,
    )
    from asr.planning.checks.pseudo_labels import check_method
    from asr.planning.checks.sound import check_sound

    config, found_first = check_beginning(config)
    corpora = Corpora(config)
    everything = [
        *found_first,
        *check_recipe(config, arguments.ranks),
        *corpora.check(),
        *check_hours(config, corpora.labelled_hours),
        *check_method(config, corpora.sets.get("untranscribed", [])),
        *check_here(config, arguments.ranks),
        *check_memory(config, arguments.ranks, memory_gb or memory_gb_of_a_rank(arguments.ranks)),
        *check_sound(config),
        *check_output(config),
    ]
    found = list(dict.fromkeys(everything))
    for line in _about(corpora):
        print(line)
    problems = [finding for finding in found if finding.is_problem]
    for number, problem in enumerate(problems, start=1):
        print(f"problem {number}: {problem.what}")
        if problem.remedy:
            print(f"  remedy: {problem.remedy}")
    for finding in found:
        if not finding.is_problem:
            print(f"note: {finding.what}" + (f"; {finding.remedy}" if finding.remedy else ""))
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    print(f"{arguments.recipe}: {count if problems else 'no problem found'}")
    return 2 if problems else 0


def _about(corpora: Corpora) -> Iterator[str]:
    for role, sets in corpora.sets.items():
        for speech in sets:
            hours = speech.seconds.sum() / 3600
            yield f"{role:<14} {speech.name:<24} {len(speech):>10,} utterances {hours:>10,.2f} h"
