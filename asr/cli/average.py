"""`asr average`: weights of another half-life, after the run."""

from __future__ import annotations

from pathlib import Path

from asr.cli.arguments.common import add_device, add_normaliser, make_parser
from asr.errors import UserError
from asr.utils.launcher import refuse_several
from asr.utils.streams import work_is_on_disk

_DESCRIPTION = """\
Make the average of a run's weights that another half-life would have given, without training again: of two
averages that a run keeps on its way with teacher.keep_for_average=true, and snapshots of them (Karras et al.
2024, arXiv 2312.02696). From a quarter of the recipe's half-life to four times it, with the recipe's warm-up
(teacher.warmup_share). What the labels were is not changed: they were those of the recipe's own average.

Writes RUN/averages/half-life-H, a folder that asr transcribe, asr decode and asr.load_model take; decodes the
recipe's dev sets with it; asr report RUN then shows dev WER against half-life.

  asr average exp/run --half-life 0.5,1,2,4,8
"""
_RELIABLE = 0.02


def main(argv: list[str]) -> int:
    """`asr average`."""
    parser = make_parser("average", _DESCRIPTION)
    parser.add_argument("run", type=Path, metavar="RUN", help="output folder of a run")
    parser.add_argument(
        "--half-life", required=True, metavar="H,...", help="in hours of audio; one or several"
    )
    parser.add_argument("--no-dev", action="store_true", help="do not decode the dev sets")
    add_normaliser(parser)
    add_device(parser)
    arguments = parser.parse_args(argv)
    refuse_several("asr average")
    work_is_on_disk()
    wanted = [_hours(text) for text in arguments.half_life.split(",")]
    if not arguments.run.is_dir():
        raise UserError(f"{arguments.run}: no such folder", "give the output folder of a run")

    from asr.training.post_hoc import evaluate_average, make_average

    for half_life_hours in wanted:
        made = make_average(arguments.run, half_life_hours)
        print(f"half-life {half_life_hours:g} h: {made.folder}")
        if made.expected_error > _RELIABLE:
            print(
                f"  warning: only within about {made.expected_error:.0%} of such an average: the "
                "snapshots do not hold it; ask for a half-life nearer to the recipe's"
            )
        if not arguments.no_dev:
            found = evaluate_average(arguments.run, made, arguments.normaliser)
            if not found:
                print("  no dev set is decoded: there is none, or this model says no text")
            for record in found:
                print(f"  {record['set']}: WER {record['wer']:.2f} %, CER {record['cer']:.2f} %")
    return 0


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = float("nan")
    if not 0.0 < hours < float("inf"):
        raise UserError(f"--half-life '{text}'", "give hours of audio above 0, as in 0.5,1,2")
    return hours
