"""`asr score`: word and character error rates, as a table or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from asr.cli.options import add_texts, make_parser, source_of
from asr.errors import UserError
from asr.evaluation.bootstrap import mean_utterance_rate, score_aligned
from asr.evaluation.hypotheses import read_decoded
from asr.evaluation.normalisers import Normaliser
from asr.evaluation.results import build_results, compare_models, with_holm
from asr.evaluation.score import describe, render_table
from asr.evaluation.systems import System, make_system
from asr.evaluation.transcripts import guess_format

_DESCRIPTION = """\
Word (WER), character (CER) and sentence error rates (SER), in percent, with 95 % bootstrap intervals.

  asr score RUN          all that `asr decode` wrote into a run, and its comparisons
  asr score HYP.jsonl    one file of `asr decode`, with the references that stand in it
  asr score REF HYP      any two of: a Lhotse manifest, `asr decode`'s JSON lines, NeMo JSON lines, Kaldi
                         text, TSV, NIST trn, stm and ctm, a LibriSpeech folder

`asr compare` says whether two systems differ.
"""


_EPILOG = """\
Rates are of the whole set: its errors over its reference words. Text is compared as it stands unless
--normaliser says otherwise; case and punctuation count. An empty reference has no words, and all that was
recognised there is an insertion; a set without any reference word has the rate 100 x errors.

Where sclite differs: it aligns with the weights 4 (substitution), 3, 3 and so may count more errors than the
smallest number, which is counted here; it scores only utterances that have a hypothesis (--missing
left_out); optionally deletable words, (so), are plain words here, and alternatives, { a / b }, are refused.

Intervals say how much a rate depends on the choice of utterances, not on the seed of training. Utterances
of a speaker resemble each other: for other speakers take the interval by speaker (Student's t), which is
there where speakers are known. Of a run's models up to three pairs are compared; verdicts are by p-values
that are corrected for their number (Holm).
"""


def main(argv: list[str]) -> int:
    """`asr score`."""
    parser = make_parser("score", _DESCRIPTION, _EPILOG)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="see above")
    add_texts(parser)
    parser.add_argument(
        "--utterance-mean",
        action="store_true",
        help="also the mean of the utterances' own WERs, which is not the set's WER",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args(argv)
    paths: list[Path] = arguments.paths
    source = source_of(arguments)
    if len(paths) > 2:
        raise UserError(f"{len(paths)} files given", "give REF and HYP, or `asr compare` several")
    if len(paths) == 1 and paths[0].is_dir():
        if arguments.utterance_mean or arguments.format or arguments.reference_format:
            raise UserError(
                "--utterance-mean, --format and --reference-format are for files, not for a run",
                "leave them out, or name a file of the run",
            )
        return _score_run(paths[0], source.normaliser, arguments.json)
    guessed = not (arguments.reference_format or arguments.format)
    if guessed and [guess_format(path) for path in paths] == ["asr", "asr"]:
        raise UserError(
            f"{paths[0]}, {paths[1]}: both hold hypotheses",
            "`asr compare` compares them, and "
            "--reference-format asr takes the references of the first",
        )
    system = source.load(paths[-1], paths[0] if len(paths) == 2 else None)
    _print_system(system, arguments.json, arguments.utterance_mean)
    return 0


def _print_system(system: System, as_json: bool, utterance_mean: bool) -> None:
    scored = score_aligned(system.aligned)
    mean = mean_utterance_rate(system.aligned) if utterance_mean else None
    if as_json:
        row = {"path": system.name, **scored.to_json(), "stamp": asdict(system.stamp)}
        if mean is not None:
            row["mean_utterance_wer"] = mean
        print(json.dumps({"systems": [row], "notes": system.notes}, indent=2))
        return
    print(render_table({system.name: scored}))
    if mean is not None:
        print(f"mean of the utterances' own WERs: {mean:.2f} % (not the set's WER)")
    stamp = system.stamp
    print(f"normaliser {stamp.normaliser}; references sha256 {stamp.references_sha256[:12]}")
    for note in system.notes:
        print(f"note: {note}")


def _score_run(run: Path, normaliser: Normaliser, as_json: bool) -> int:
    decoded = read_decoded(run)
    if not decoded:
        raise UserError(
            f"{run}: nothing decoded in it", f"run `asr decode {run} SET.jsonl.gz` first"
        )
    systems = {
        name: {model: make_system(model, lines, normaliser) for model, lines in models.items()}
        for name, models in decoded.items()
    }
    sets = {
        name: {model: system.aligned for model, system in models.items()}
        for name, models in systems.items()
    }
    if as_json:
        print(json.dumps(build_results(sets), indent=2))
        return 0
    for name, models in sets.items():
        print(f"{name}: {render_table({model: score_aligned(a) for model, a in models.items()})}")
        pairs = compare_models(models)
        rows = with_holm({pair: found.to_json() for pair, found in pairs.items()})
        for pair, row in rows.items():
            adjusted = row["p_wer_holm"], row["p_cer_holm"]
            first, second = pair.split("_vs_")
            print(describe(pairs[pair], first, second, adjusted))
        for system in systems[name].values():
            for note in system.notes:
                print(f"note: {system.name}: {note}")
        print()
    print(f"normaliser {normaliser.stamp}")
    return 0
