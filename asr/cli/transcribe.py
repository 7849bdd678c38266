"""`asr transcribe`: audio files of any length -> text, with a trained model's folder alone."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from asr.cli.options import add_device, add_model, make_parser
from asr.decoding.captions import FORMATS, TIMED, ctm_name
from asr.decoding.transcribe import CONTEXT_SECONDS, WINDOW_SECONDS, transcribe
from asr.decoding.words import TIMES_NEED_A_HEAD, Transcription
from asr.errors import UserError
from asr.utils.faults import of_the_machine, reason_of
from asr.utils.files import write_text
from asr.utils.options import finite
from asr.utils.streams import STDOUT, readable

_DESCRIPTION = """\
Print the text of audio files (wav, flac, mp3, ogg; any length, sample rate and number of channels), one line a
file: path, TAB, text. `-` is audio on the standard input. Long files are decoded in windows that overlap, in
bounded memory. Exit status 2 if a file could not be read; the others are still done.

  asr transcribe EXP talk.mp3 --format srt --output-dir captions    captions/talk.srt
  ffmpeg -i film.mkv -f wav - | asr transcribe EXP - --format vtt
"""


def main(argv: list[str]) -> int:
    """Transcribe files; a bad one is reported and the others still done."""
    arguments = _parse(argv)

    from tqdm import tqdm

    from asr.model.model_folder import load_model

    model = load_model(arguments.model_folder, arguments.model, best=arguments.best)
    if arguments.format in TIMED and not model.network.has_times:
        print(f"asr transcribe: times are rough: {TIMES_NEED_A_HEAD}", file=sys.stderr)
    failed = 0
    for path in tqdm(arguments.files, unit="file", disable=None if arguments.output_dir else True):
        try:
            found = transcribe(model, path, arguments.window_seconds, arguments.context_seconds)
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
