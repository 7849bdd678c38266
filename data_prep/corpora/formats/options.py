"""Command lines of the formats: `asr prepare lhotse`, `kaldi`, `nemo`, `huggingface`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from asr.errors import UserError

from ...pipeline import Settings

_LHOTSE = """\
Prepare what Lhotse has: manifests, or a corpus that one of its recipes (about a hundred) knows.

  asr prepare lhotse --recordings R.jsonl.gz --supervisions S.jsonl.gz --output data/mine
  asr prepare lhotse --cuts C.jsonl.gz --output data/mine --set-name dev
  asr prepare lhotse commonvoice --output data/cv -- --language pl CORPUS_DIR
  asr prepare lhotse NAME --output OUT -- --help          what a recipe takes

An utterance is a supervision; the audio is cut when it is read. With text it goes to OUT/labelled.jsonl.gz,
else to OUT/untranscribed.jsonl.gz; of a recipe's parts to PART and PART-untranscribed. A recording without a
supervision is untranscribed as a whole. A recipe's arguments are those of `lhotse prepare NAME` less the last
one, its output, which is OUT/lhotse."""

_KALDI = """\
Prepare a data folder of Kaldi: wav.scp with paths, and where they are there segments, text, utt2spk,
spk2gender, utt2lang. Durations are those of the audio: utt2dur and reco2dur are not read. Commands in wav.scp
are not run. With text an utterance goes to OUT/labelled.jsonl.gz, else to OUT/untranscribed.jsonl.gz."""

_NEMO = """\
Prepare a manifest of NeMo: a JSON object a line with audio_filepath, and where they are there text, duration,
offset, id, speaker, lang, gender; any more become custom fields. Paths are of this working directory or of the
manifest's folder. Without an id that is the file's name, with the offset in ms where a file has several
utterances. With text an utterance goes to OUT/labelled.jsonl.gz, else to OUT/untranscribed.jsonl.gz."""

_HUGGING_FACE = """\
Prepare a data set of Hugging Face's `datasets` on disk: what save_to_disk wrote, or a folder of Parquet files.
The package is not needed. Each split becomes a set, SPLIT and SPLIT-untranscribed."""

Add = Callable[[str, str, str], argparse.ArgumentParser]
Common = Callable[[argparse.ArgumentParser, str | None], None]


def add_formats(command: Add, add_common: Common) -> None:
    """Their parsers."""
    lhotse = command("lhotse", "Lhotse's manifests, and corpora that it has recipes for", _LHOTSE)
    lhotse.add_argument(
        "recipe", nargs="?", metavar="NAME", help="a recipe; its arguments behind --"
    )
    lhotse.add_argument("--recordings", type=Path, metavar="R")
    lhotse.add_argument("--supervisions", type=Path, metavar="S")
    lhotse.add_argument("--cuts", type=Path, metavar="C")
    kaldi = command("kaldi", "a data folder of Kaldi", _KALDI)
    kaldi.add_argument("folder", type=Path, metavar="DIR")
    nemo = command("nemo", "a manifest of NeMo", _NEMO)
    nemo.add_argument("manifest", type=Path, metavar="FILE")
    for parser in (lhotse, kaldi, nemo):
        parser.add_argument(
            "--reject-overlapping",
            action="store_true",
            help="leave out utterances that overlap others in time",
        )
    face = command("huggingface", "a data set of Hugging Face on disk", _HUGGING_FACE)
    face.add_argument("folder", type=Path, metavar="DIR")
    for name in ("audio", "text", "id"):
        face.add_argument(f"--{name}-column", metavar="NAME", help="default: the usual names")
    for parser in (lhotse, kaldi, nemo, face):
        parser.add_argument(
            "--set-name",
            metavar="NAME",
            help="write NAME and NAME-untranscribed instead of labelled and untranscribed",
        )
        add_common(parser, None)


def serve_lhotse(arguments: argparse.Namespace, settings: Settings) -> None:
    """`asr prepare lhotse`."""
    more = (arguments.set_name, arguments.reject_overlapping)
    manifests = (arguments.recordings, arguments.supervisions, arguments.cuts)
    if arguments.recipe is None:
        if arguments.rest:
            raise UserError(
                f"-- {' '.join(arguments.rest)}: arguments, and of no recipe",
                "name it before the --",
            )
        from .lhotse_manifests import prepare_manifests

        prepare_manifests(settings, *manifests, *more)
        return
    if any(manifests):
        raise UserError(
            f"recipe '{arguments.recipe}' and manifests", "a recipe makes its own: leave them out"
        )
    from .lhotse_recipes import prepare_recipe

    prepare_recipe(arguments.recipe, arguments.rest, settings, *more)


def serve_kaldi(arguments: argparse.Namespace, settings: Settings) -> None:
    """`asr prepare kaldi`."""
    from .kaldi import prepare_kaldi

    prepare_kaldi(arguments.folder, settings, arguments.set_name, arguments.reject_overlapping)


def serve_nemo(arguments: argparse.Namespace, settings: Settings) -> None:
    """`asr prepare nemo`."""
    from .nemo import prepare_nemo

    prepare_nemo(arguments.manifest, settings, arguments.set_name, arguments.reject_overlapping)


def serve_hugging_face(arguments: argparse.Namespace, settings: Settings) -> None:
    """`asr prepare huggingface`."""
    from .hugging_face import Columns, prepare_hugging_face

    columns = Columns(arguments.audio_column, arguments.text_column, arguments.id_column)
    prepare_hugging_face(arguments.folder, settings, columns, arguments.set_name)
