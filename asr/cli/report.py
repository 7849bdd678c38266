"""`asr report`: one run's page, or several runs side by side."""

from __future__ import annotations

import argparse
import json
import os
import time
import webbrowser
from pathlib import Path

from asr.cli.arguments.common import add_normaliser, add_pairs, pairs_of
from asr.errors import UserError
from asr.evaluation.results import BY_FIELDS
from asr.report.run_page import write_report
from asr.utils.options import positive
from asr.utils.streams import work_is_on_disk


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="asr report",
        description="Write one HTML page about a run: error rates with confidence intervals and "
        "significance, learning curves, pseudo-label quality, the scaling rule's values, the worst "
        "utterances with their sound. Of several runs, a page that sets them side by side. A page is "
        "self-contained: mail it, or open it in any browser.",
        epilog="Reads RUN/decode/SET/MODEL.jsonl, RUN/metrics.jsonl, scaling.json, environment.json "
        "and config.yaml; what is missing is named on the page. Writes index.html, report.md and "
        "results.json into RUN/report; of several runs into `comparison` in the folder that holds them all.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output folder of a run")
    parser.add_argument("--output", type=Path, help="folder of the page")
    add_normaliser(parser)
    parser.add_argument(
        "--open", action="store_true", help="show the page in this machine's browser"
    )
    parser.add_argument("--note", help="a sentence for a banner at the top, e.g. a warning")
    single = parser.add_argument_group("of one run")
    single.add_argument(
        "--baseline",
        type=Path,
        help="output folder of another run, e.g. a supervised one: its curves are drawn beside, and its "
        "average is compared with RUN's at equal hours of audio; what is not decoded yet is decoded first",
    )
    single.add_argument(
        "--watch",
        metavar="SECONDS",
        type=positive,
        help="write the page again so often until the run is complete; Ctrl-C ends it before",
    )
    add_pairs(single)
    single.add_argument(
        "--by",
        metavar="FIELD,...",
        default=",".join(BY_FIELDS),
        help="break the error rates down by these fields of the hypotheses files, which hold the "
        "manifest's (%(default)s)",
    )
    single.add_argument(
        "--no-audio",
        action="store_true",
        help="leave the sound of the worst utterances out of the page (it holds their speech otherwise)",
    )
    arguments = parser.parse_args(argv)
    # Whether the page will be written again, and so is to be loaded again.
    arguments.is_watched = (
        bool(arguments.watch) and not (arguments.runs[0] / "complete.json").exists()
    )
    return arguments


def main(argv: list[str]) -> int:
    """`asr report`."""
    arguments = _parse(argv)
    work_is_on_disk()
    command = ["asr", "report", *argv]
    write = _of_several if len(arguments.runs) > 1 else _of_one
    page = write(arguments, command)
    print(f"report: {page}{os.linesep}results: {page.with_name('results.json')}", flush=True)
    if arguments.open:
        webbrowser.open(page.resolve().as_uri())
    complete = arguments.runs[0] / "complete.json"
    while arguments.watch and arguments.is_watched:
        time.sleep(arguments.watch)
        arguments.is_watched = not complete.exists()
        write(arguments, command)
    return 0


def _of_one(arguments: argparse.Namespace, command: list[str]) -> Path:
    folders = arguments.runs[0], arguments.baseline
    if arguments.baseline and all(folder.is_dir() for folder in folders):
        from asr.cli.runs.baseline import decode_missing  # and torch with it

        decode_missing(*folders)
    page = write_report(
        arguments.runs[0],
        arguments.baseline,
        arguments.note,
        [name for name in arguments.by.split(",") if name],
        not arguments.no_audio,
        arguments.output,
        command,
        arguments.normaliser,
        pairs_of(arguments),
        arguments.watch if arguments.is_watched else None,
    )
    results = json.loads(page.with_name("results.json").read_text(encoding="utf-8"))
    for warning in results.get("warnings", []):
        print(f"warning: {warning}")
    if arguments.baseline:
        from asr.cli.runs.baseline import comparison_lines

        for line in comparison_lines(*folders, results):
            print(line)
    return page


def _of_several(arguments: argparse.Namespace, command: list[str]) -> Path:
    from asr.report.comparison_page import write_comparison

    if arguments.baseline:
        raise UserError("--baseline goes with one run", "of several, name it as one of them")
    if arguments.by != ",".join(BY_FIELDS) or arguments.no_audio or arguments.watch:
        raise UserError(
            "--by, --no-audio and --watch go with one run", "leave them out with several"
        )
    if pairs_of(arguments):
        raise UserError(
            "--compare goes with one run", "of several, each is compared with each other"
        )
    return write_comparison(
        arguments.runs, arguments.output, arguments.note, command, arguments.normaliser
    )
