"""`asr report`: one run's page, or several runs side by side."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from asr.cli.options import add_normaliser, add_pairs, pairs_of
from asr.errors import UserError
from asr.evaluation.results import BY_FIELDS
from asr.report.run_page import write_report
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
    parser.add_argument("--note", help="a sentence for a banner at the top, e.g. a warning")
    single = parser.add_argument_group("of one run")
    single.add_argument(
        "--baseline", type=Path, help="output folder of a supervised run, for its curves"
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
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """`asr report`."""
    arguments = _parse(argv)
    work_is_on_disk()
    pairs = pairs_of(arguments)
    if len(arguments.runs) > 1:
        from asr.report.comparison_page import write_comparison

        if arguments.baseline:
            raise UserError("--baseline goes with one run", "of several, name it as one of them")
        if arguments.by != ",".join(BY_FIELDS) or arguments.no_audio:
            raise UserError("--by and --no-audio go with one run", "leave them out with several")
        if pairs:
            raise UserError(
                "--compare goes with one run", "of several, each is compared with each other"
            )
        command = ["asr", "report", *argv]
        page = write_comparison(
            arguments.runs, arguments.output, arguments.note, command, arguments.normaliser
        )
    else:
        page = write_report(
            arguments.runs[0],
            arguments.baseline,
            arguments.note,
            [name for name in arguments.by.split(",") if name],
            not arguments.no_audio,
            arguments.output,
            ["asr", "report", *argv],
            arguments.normaliser,
            pairs,
        )
        results = json.loads(page.with_name("results.json").read_text(encoding="utf-8"))
        for warning in results.get("warnings", []):
            print(f"warning: {warning}")
    print(f"report: {page}{os.linesep}results: {page.with_name('results.json')}")
    return 0
