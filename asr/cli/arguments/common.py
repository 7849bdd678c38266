"""Parsers of command lines, and the options that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import UserError
from asr.utils.devices import CHOICE
from asr.utils.options import finite

if TYPE_CHECKING:
    from asr.evaluation.systems import Source


def make_parser(
    command: str, description: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """A parser of `asr COMMAND`, whose texts are shown with their own line breaks."""
    return argparse.ArgumentParser(
        prog=f"asr {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_recipe(parser: argparse.ArgumentParser, example: str = "e.g. model.layers=12") -> None:
    """A recipe and its overrides; the parser must parse intermixed."""
    parser.add_argument("recipe", help="recipe, YAML")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=example)


def add_device(parser: argparse.ArgumentParser) -> None:
    """What computes; the environment of this process and of those that it starts takes it from there."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        action=_ChooseDevice,
        help="what computes (default auto: the GPUs where there are any)",
    )


class _ChooseDevice(argparse.Action):
    def __call__(self, *given: Any) -> None:
        """parser, namespace, the choice, the option."""
        os.environ[CHOICE] = given[2]
        setattr(given[1], self.dest, given[2])


def add_batch_seconds(parser: argparse.ArgumentParser) -> None:
    """How much is heard together; `batch_seconds_of` takes it from there."""
    parser.add_argument(
        "--batch-seconds",
        type=finite,
        default=120.0,
        help="padded audio that is heard together; a kill loses one such batch (%(default)s)",
    )


def batch_seconds_of(arguments: argparse.Namespace) -> float:
    """What the option of `add_batch_seconds` says. Raises UserError for no time."""
    seconds: float = arguments.batch_seconds
    if not seconds > 0:
        raise UserError(f"--batch-seconds {seconds:g}", "it must be more than 0")
    return seconds


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which folder's weights to use."""
    parser.add_argument(
        "model_folder", type=Path, help="run folder (its latest checkpoint) or a checkpoint"
    )
    parser.add_argument("--model", choices=("teacher", "student"), default="teacher")
    parser.add_argument(
        "--best", action="store_true", help="of a run: the checkpoint with the best dev WER"
    )


def add_texts(parser: argparse.ArgumentParser) -> None:
    """How references and hypotheses are read and normalised; `source_of` takes it from there."""
    from asr.evaluation.transcripts import FORMATS

    add_normaliser(parser)
    parser.add_argument(
        "--format", choices=FORMATS, help="of the hypotheses (default: by name and first line)"
    )
    parser.add_argument(
        "--reference-format", choices=FORMATS, help="of the references (default: likewise)"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "deleted", "left_out"),
        default="error",
        help="an utterance without a hypothesis: refuse (default), count all its words as deleted, "
        "or leave it out",
    )


def add_normaliser(parser: argparse._ActionsContainer) -> None:
    """Under what references and hypotheses are compared; None where the run's recipe is to say."""
    from asr.evaluation.normalisers import NAMES

    parser.add_argument(
        "--normaliser",
        metavar="NAME",
        help=f"of references and hypotheses: {', '.join(NAMES)}, or PATH.py:FUNCTION (default: of a run, its "
        "recipe's corpus.scoring_normaliser; of files none, text is compared as it stands but for repeated "
        "spaces)",
    )


def add_pairs(parser: argparse._ActionsContainer) -> None:
    """Which of a run's files are compared, too; `pairs_of` takes it from there."""
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="FIRST:SECOND",
        help="of a run: compare these two as well, names of files in decode/SET without .jsonl; may be given "
        "several times, and all p-values are corrected for the number of pairs",
    )


def pairs_of(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """What the option of `add_pairs` says. Raises UserError for what are no two names."""
    found = []
    for text in arguments.compare:
        first, _, second = text.partition(":")
        if not first or not second or ":" in second or first == second:
            raise UserError(
                f"--compare '{text}'", "name two different files, as in --compare student:zero_shot"
            )
        found.append((first, second))
    return found


def source_of(arguments: argparse.Namespace) -> Source:
    """What the options of `add_texts` say. Raises UserError for a normaliser there is not."""
    from asr.evaluation.normalisers import make_normaliser
    from asr.evaluation.systems import Source

    return Source(
        make_normaliser(arguments.normaliser or "none"),
        arguments.reference_format,
        arguments.format,
        arguments.missing,
    )
