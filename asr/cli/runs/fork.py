"""`asr fork`: a new run from where another one stood."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asr.cli import train
from asr.cli.arguments.common import add_device, make_parser
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.utils.options import finite

_DESCRIPTION = """\
Train on in another folder, from a checkpoint of RUN: weights, optimizer, average, labels and place in the data.
The recipe is RUN's at that time, under what KEY=VALUE says otherwise; RUN is left as it is.

  asr fork exp/mine --at 8 --output exp/mine_faster optimizer.learning_rate=2e-3

is `asr train` with RUN's recipe, fork_from=RUN/checkpoints/hours-000008.0000 and output=FOLDER. The same
command goes on where it was stopped, and so does `asr train FOLDER/config.yaml`. On several ranks: torchrun
--nproc-per-node 8 -m asr fork ...
"""
_SLACK_HOURS = 5e-5
"""Names of checkpoints have four decimals."""


def main(argv: list[str]) -> int:
    """`asr fork`."""
    parser = make_parser("fork", _DESCRIPTION)
    parser.add_argument("run", type=Path, metavar="RUN", help="output folder of a run")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="e.g. trainer.total_hours=20"
    )
    parser.add_argument(
        "--at",
        type=finite,
        metavar="HOURS",
        help="from the last checkpoint at or before so many hours of audio (default: RUN's latest)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="of the new run"
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print every setting in force, and stop"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print faults alone; FOLDER/train.log has the rest"
    )
    add_device(parser)
    arguments = parser.parse_intermixed_args(argv)
    return train.main(_as_train(arguments))


def _as_train(arguments: argparse.Namespace) -> list[str]:
    """The arguments of `asr train` that it stands for."""
    output: Path = arguments.output
    options = [
        f"--{name}" for name in ("print-config", "quiet") if vars(arguments)[name.replace("-", "_")]
    ]
    if output.resolve() == arguments.run.resolve():
        raise UserError(f"--output {output} is the run itself", "name another folder")
    if (output / "latest").is_file():  # begun before: it needs RUN no more
        _check_fork(output, arguments.run)
        return [
            str(output / "config.yaml"),
            *arguments.overrides,
            f"output={_quoted(output)}",
            *options,
        ]
    checkpoint = checkpoint_at(arguments.run, arguments.at)
    settings = [f"output={_quoted(output)}", f"fork_from={_quoted(checkpoint)}", "init_from=null"]
    name = (
        []
        if any(one.startswith("name=") for one in arguments.overrides)
        else [f"name={_quoted(Path(output.name))}"]
    )
    return [str(checkpoint / "config.yaml"), *name, *arguments.overrides, *settings, *options]


def _check_fork(output: Path, run: Path) -> None:
    """Raises UserError where `output` holds a run that was not forked from `run`."""
    source = load_config(output / "config.yaml").fork_from
    if source is None or run.resolve() not in Path(source).resolve().parents:
        raise UserError(
            f"--output {output}: holds a run that is no fork of {run}",
            f"name another folder; `asr train {output}/config.yaml` goes on with that run",
        )


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def checkpoint_at(run: Path, hours: float | None) -> Path:
    """The last checkpoint of a run at or before so many hours; at None its latest.

    Raises UserError where there is none, naming those that are there.
    """
    from asr.model.lineage import identity_of, line_of
    from asr.model.model_folder import find_checkpoint, pointed_at

    latest = pointed_at(run, "latest")
    if latest is None:
        latest = find_checkpoint(run)  # says what is wrong, but for a checkpoint's folder itself
        raise UserError(
            f"{run}: a checkpoint and no run", f"asr train {run}/config.yaml fork_from={run}"
        )
    if hours is None:
        return latest
    stand = {path: identity_of(path).seconds / 3600 for path in line_of(latest)}
    before = [path for path, its in stand.items() if its <= hours + _SLACK_HOURS]
    if not before:
        there = ", ".join(f"{its:.4f}".rstrip("0").rstrip(".") for its in stand.values())
        raise UserError(
            f"--at {hours:g}: {run} has no checkpoint at or before that",
            f"its checkpoints stand at {there} h; trainer.keep_last keeps more",
        )
    return before[-1]
