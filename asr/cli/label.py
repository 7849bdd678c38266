"""`asr label`: label prepared sets with a model of ours or of others, for a run or for other toolkits."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.arguments.common import (
    add_batch_seconds,
    add_device,
    add_model,
    batch_seconds_of,
    make_parser,
)
from asr.errors import UserError
from asr.pseudo_labels.outside.label_files import EXPORTS
from asr.utils.launcher import said_once
from asr.utils.options import finite
from asr.utils.streams import work_is_on_disk

if TYPE_CHECKING:
    from asr.pseudo_labels.labelling.label_sets import SetLabeller

_DESCRIPTION = """\
Label prepared sets with a model: a run or a checkpoint of ours, a Hugging Face recogniser's folder or name (CTC
or Whisper; pip install 'asr-ema[pretrained]'), or faster-whisper's (a folder with model.bin, or
faster-whisper:NAME; pip install 'asr-ema[faster-whisper]').

  asr label EXP untranscribed --data data/mine --output labels
  torchrun --nproc-per-node 8 -m asr label EXP data/mine/untranscribed.jsonl.gz --output labels --export nemo

Writes the ledger's columns, a row an utterance (`asr labels stats labels`; pandas.read_parquet(
"labels/pseudo_labels/labels")), and with --export the same for other toolkits. A recipe trains on them with
pseudo_label.teacher=file and pseudo_label.outside.files=[labels]. Run it again after an interruption and it
goes on: a process that is killed loses the micro-batch that it is at (of other CTC models and of
faster-whisper, the utterance).
"""


def main(argv: list[str]) -> int:
    """`asr label`."""
    with said_once():
        arguments = _parse(argv)
        labeller = _labeller(arguments)
    done, utterances = labeller.run(arguments.export), len(labeller.speech)
    if done.files:
        print(f"labelled {utterances - done.lost:,} utterances: {', '.join(map(str, done.files))}")
    if done.lost:
        raise UserError(
            f"{done.lost:,} of {utterances:,} utterances cannot be read, and have no label",
            "restore their audio, and run the same command: it labels what lacks",
        )
    return 0


def _labeller(arguments: argparse.Namespace) -> SetLabeller:
    work_is_on_disk()

    from asr.data.dataset import SpeechSet, first_duplicate
    from asr.data.manifest.index import MANIFEST_SUFFIX
    from asr.decoding.sharing.processes import Processes
    from asr.evaluation.normalisers import make_normaliser, run_normaliser
    from asr.pseudo_labels.labelling.label_sets import SetLabeller
    from asr.pseudo_labels.labelling.recogniser import Choice, load_recogniser

    paths = [_manifest(name, arguments.data, MANIFEST_SUFFIX) for name in arguments.sets]
    speech = SpeechSet.joined([SpeechSet.load(path) for path in paths])
    twice = first_duplicate(speech)
    if twice is not None:
        raise UserError(
            f"{' '.join(arguments.sets)}: utterance id '{twice}' occurs twice",
            "name each set once, and label sets that share names into folders of their own",
        )
    normaliser = make_normaliser(arguments.normaliser or "none")
    try:
        scoring = run_normaliser(arguments.model_folder, arguments.normaliser)
    except UserError as fault:  # labels do not need it
        print(f"note: errors of labels are counted as the texts stand ({fault.what})")
        scoring = make_normaliser("none")
    processes = Processes.here()
    choice = Choice(
        str(arguments.model_folder),
        arguments.model,
        arguments.best,
        arguments.language,
        arguments.window_seconds,
    )
    recogniser = load_recogniser(choice, processes.device)
    speech.at_rate(recogniser.sample_rate_hz)
    say = partial(print, flush=True)
    return SetLabeller(
        recogniser,
        speech,
        normaliser,
        arguments.output,
        arguments.batch_seconds,
        processes,
        say,
        scoring,
        arguments.max_lost_share,
    )


def _manifest(name: str, data: Path | None, suffix: str) -> Path:
    """A manifest's path, or the name of a prepared set in a folder."""
    if data is None or Path(name).is_file():
        return Path(name)
    return data / f"{name}{suffix}"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("label", _DESCRIPTION)
    add_model(parser)
    parser.add_argument(
        "sets", nargs="+", metavar="SET", help="a manifest that `asr prepare` wrote, or its name"
    )
    parser.add_argument("--data", type=Path, help="folder of the sets, where SET is a name")
    parser.add_argument("--output", type=Path, required=True, help="folder of the labels")
    parser.add_argument(
        "--export",
        action="append",
        default=[],
        choices=EXPORTS,
        help="write the labels in this format, too; may be given several times, and later",
    )
    parser.add_argument(
        "--normaliser",
        metavar="NAME",
        help="of the texts, as `asr score` has them: none, lower, librispeech, whisper-english, "
        "PATH.py:FUNCTION (default: none; a run's labels are then written as they stand, and their errors "
        "counted as its recipe says)",
    )
    parser.add_argument(
        "--language", help="of a recogniser of several, e.g. en (default: it guesses)"
    )
    parser.add_argument(
        "--window-seconds",
        type=finite,
        metavar="S",
        help="the least window of an encoder-decoder: one that was trained in short windows labels as well in "
        "them, and faster (default: that in which it decodes; 30 of a Whisper as it was)",
    )
    add_batch_seconds(parser)
    parser.add_argument(
        "--max-lost-share",
        type=finite,
        default=0.05,
        help="of the utterances: recordings that are lost or damaged are named and left out, up to so many; "
        "the status is 2 then, and the same command labels them once they are restored (%(default)s)",
    )
    add_device(parser)
    arguments = parser.parse_args(argv)
    batch_seconds_of(arguments)
    if not 0 <= arguments.max_lost_share <= 1:
        raise UserError(
            f"--max-lost-share {arguments.max_lost_share:g}", "it must be from 0 to 1, as in 0.05"
        )
    return arguments
