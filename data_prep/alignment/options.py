"""Command line of `asr prepare align`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..pipeline import Settings
from ..segmentation.options import Add, add_limits, limits_of

_ALIGN = """\
Align long recordings with rough transcripts of them, and keep what a CTC model agrees with.

Beside talk.mp3 stands its transcript: talk.txt with the text, or talk.srt or talk.vtt, whose times say in
which order lines are and no more. Words may lack, be wrong or too many, chapters too. Pieces that the model
hears as the text has them go to OUT/labelled.jsonl.gz, the rest of the speech to OUT/untranscribed.jsonl.gz, as
cuts that refer to the files (nothing is copied), each with a confidence (custom field `confidence`). What is
left out, and why, is in OUT/labelled.left_out.tsv. [laughter], and in captions (laughs), markup and the names
of those who speak are not read. The text needs neither the model's case nor its punctuation; numbers that it
cannot spell become words by --number-words.

MODEL is a run or a checkpoint of ours (CTC, or an encoder-decoder with model.ctc_weight), or a Hugging Face CTC
model's folder (pip install 'asr-ema[pretrained]'). A bad one will do: it costs pieces.

  asr prepare align --root lectures --model exp/run --output data/lectures"""


def add_align(command: Add, add_common: Callable[..., None]) -> None:
    """Its parser."""
    parser = command("align", "long recordings with rough transcripts", _ALIGN)
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="recordings and their transcripts"
    )
    parser.add_argument("--model", required=True, metavar="MODEL", help="a CTC model")
    parser.add_argument(
        "--weights",
        choices=["teacher", "student"],
        default="teacher",
        help="of a run of ours (default %(default)s)",
    )
    parser.add_argument(
        "--best", action="store_true", help="of a run: its best checkpoint, not its last one"
    )
    parser.add_argument(
        "--set-name",
        metavar="NAME",
        help="write NAME and NAME-untranscribed instead of labelled and untranscribed",
    )
    add_limits(parser)
    add_common(parser, None)


def serve_align(arguments: argparse.Namespace, settings: Settings) -> None:
    """`asr prepare align`."""
    from .prepare import prepare_aligned  # imports torch
    from .recording import ModelChoice

    model = ModelChoice(arguments.model, arguments.weights, arguments.best)
    prepare_aligned(
        arguments.root,
        settings,
        limits_of(arguments),
        model,
        arguments.vad,
        arguments.set_name,
    )
