"""`asr transcribe`: audio files of any length -> text, with a trained model's folder alone."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.arguments.common import add_device, add_model, make_parser
from asr.cli.arguments.search import SEARCH_OPTIONS, add_search, settings_of, tuned_settings
from asr.decoding.captions.formats import FORMATS, TIMED, ctm_name
from asr.decoding.transcribe import CONTEXT_SECONDS, WINDOW_SECONDS, transcribe
from asr.decoding.words import TIMES_NEED_A_HEAD, Transcription
from asr.errors import UserError
from asr.utils.faults import of_the_machine, reason_of
from asr.utils.files import write_text
from asr.utils.launcher import refuse_several
from asr.utils.options import finite
from asr.utils.streams import STDOUT, readable

if TYPE_CHECKING:
    from asr.decoding.greedy import Decoder
    from asr.model.loaded_model import LoadedModel

_DESCRIPTION = """\
Print the text of audio files (wav, flac, mp3, ogg; any length, sample rate and number of channels), one line a
file: path, TAB, text. `-` is audio on the standard input. Long files are decoded in windows that overlap, in
bounded memory. Exit status 2 if a file could not be read; the others are still done.

  asr transcribe EXP talk.mp3 --format srt --output-dir captions    captions/talk.srt
  ffmpeg -i film.mkv -f wav - | asr transcribe EXP - --format vtt
  asr transcribe EXP talk.mp3 --tuned EXP/decode/test/teacher_beam.tuning.json

One process: under torchrun it refuses to begin, since each would write the same files.
"""


def main(argv: list[str]) -> int:
    """Transcribe files; a bad one is reported and the others still done."""
    arguments = _parse(argv)
    refuse_several(
        "asr transcribe", ", e.g. once for each GPU (CUDA_VISIBLE_DEVICES=0), on its files"
    )

    from tqdm import tqdm

    from asr.model.model_folder import load_model

    model = load_model(arguments.model_folder, arguments.model, best=arguments.best)
    decoder = _decoder(arguments, model)
    if arguments.format in TIMED and not model.network.has_times:
        print(f"asr transcribe: times are rough: {TIMES_NEED_A_HEAD}", file=sys.stderr)
    failed = 0
    for path in tqdm(arguments.files, unit="file", disable=None if arguments.output_dir else True):
        try:
            found = transcribe(
                model, path, arguments.window_seconds, arguments.context_seconds, decoder
            )
            found = replace(found, file=readable(found.file))
            _deliver(found, path, arguments.format, arguments.output_dir)
        except Exception as error:
            failed += 1
            tqdm.write(f"asr transcribe: {_about(error, path)}", file=sys.stderr)
            continue
        if found.incomplete:
            failed += 1
            tqdm.write(
                f"asr transcribe: {path}: {found.incomplete}; what can be read of it is transcribed: "
                "copy it again, or let ffmpeg write it anew",
                file=sys.stderr,
            )
    if failed:
        total = len(arguments.files)
        print(
            f"asr transcribe: {failed} of {total} file(s) could not be transcribed whole",
            file=sys.stderr,
        )
    return 2 if failed else 0


def _decoder(arguments: argparse.Namespace, model: LoadedModel) -> Decoder | None:
    """The search that the options describe, if they do. Raises UserError for what it cannot be made of."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("tuned", *SEARCH_OPTIONS)
        if getattr(arguments, name) is not None
    ]
    if not given:
        return None
    if model.network.is_read_in_steps:
        raise UserError(
            f"{given[0]}: an encoder-decoder is its own language model",
            "leave it out, or take a CTC model",
        )
    from asr.decoding.beam import BeamDecoder

    if arguments.tuned is not None:
        settings, weights = tuned_settings(arguments)
        if weights != model.weights_sha256:
            print(
                f"asr transcribe: {arguments.tuned} was tuned for other weights than those of "
                f"{model.checkpoint}",
                file=sys.stderr,
            )
    else:
        settings = settings_of(arguments)
    return BeamDecoder(model.tokenizer, settings)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("transcribe", _DESCRIPTION)
    add_model(parser)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        help="text alone, one JSON object with times, captions, or NIST's ctm",
    )
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="short for --format json"
    )
    parser.add_argument(
        "--output-dir", type=Path, help="write NAME.FORMAT there instead of printing (default: txt)"
    )
    parser.add_argument(
        "--window-seconds",
        type=finite,
        default=WINDOW_SECONDS,
        help=f"longer files are decoded in windows of this length ({WINDOW_SECONDS:g})",
    )
    parser.add_argument(
        "--context-seconds",
        type=finite,
        default=CONTEXT_SECONDS,
        help=f"of a window on both sides that is only context ({CONTEXT_SECONDS:g})",
    )
    search = parser.add_argument_group(
        "beam search, of a CTC model (pip install 'asr-ema[beam]'); greedy without any of these"
    )
    add_search(search)
    search.add_argument(
        "--tuned",
        type=Path,
        metavar="FILE",
        help="language model, lexicon and weights as `asr decode --tune` chose them: "
        "RUN/decode/SET/MODEL_beam.tuning.json; what else is said here goes before",
    )
    add_device(parser)
    arguments = parser.parse_args(argv)
    if arguments.output_dir is None:
        _check_stream(arguments.files, arguments.format)
    else:
        names = [_output_name(path) for path in arguments.files]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(
                f"--output-dir {arguments.output_dir}: two files would be written to '{twice}'",
                "give them different names, or transcribe them one at a time",
            )
    return arguments


def _about(error: Exception, path: Path) -> str:
    """What to say of a file that failed; raises what is not the file's affair."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename != STDOUT:
        where = "" if error.filename in (None, str(path)) else f"{error.filename}: "
        return f"{path}: {where}{reason_of(error)}"
    known = of_the_machine(error)
    if known is None:
        raise error
    return str(known.at(str(path)))


def _check_stream(files: list[Path], kind: str | None) -> None:
    """Raises UserError where several files cannot be told apart in what is printed."""
    if kind in ("srt", "vtt") and len(files) > 1:
        raise UserError(
            f"--format {kind} of {len(files)} files would be one run of captions whose times begin again",
            "give --output-dir for a file each, or transcribe them one at a time",
        )
    names = [ctm_name(str(path)) for path in files] if kind == "ctm" else []
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"--format ctm: two files would be called '{twice}' in what is printed",
            "give --output-dir for a file each, or call them differently",
        )


def _output_name(path: Path) -> str:
    return "stdin" if str(path) == "-" else path.stem


def _deliver(found: Transcription, path: Path, kind: str | None, folder: Path | None) -> None:
    if folder is not None:
        write_text(folder / f"{_output_name(path)}.{kind or 'txt'}", found.to(kind or "txt"))
    elif kind is None:
        print(f"{path}\t{found.text}", flush=True)
    else:
        print(found.to(kind), end="", flush=True)
