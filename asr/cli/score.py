"""`asr score`: word and character error rates, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from asr.cli.arguments.common import add_pairs, add_texts, make_parser, pairs_of, source_of
from asr.errors import UserError
from asr.evaluation.bootstrap import mean_utterance_rate, score_aligned
from asr.evaluation.diagnosis.mismatch import about_mismatch
from asr.evaluation.edit_distance import Aligned
from asr.evaluation.hypotheses import read_decoded
from asr.evaluation.normalisers import Normaliser, advice, run_normaliser
from asr.evaluation.results import (
    BY_FIELDS,
    Pair,
    align_sets,
    breakdown,
    build_results,
    check_field,
    check_pairs,
    compare_models,
    pair_rows,
)
from asr.evaluation.score import describe, render_breakdown, render_table
from asr.evaluation.systems import System
from asr.evaluation.transcripts import guess_format

_DESCRIPTION = """\
Word (WER), character (CER) and sentence error rates (SER), in percent, with 95 % bootstrap intervals.

  asr score RUN          all that `asr decode` wrote into a run, and its comparisons
  asr score HYP.jsonl    one file of `asr decode`, with the references that stand in it
  asr score NEMO.json    NeMo's one file with text and pred_text
  asr score REF HYP      any two of: a Lhotse manifest, `asr decode`'s JSON lines, NeMo JSON lines, Kaldi
                         text, TSV, plain lines (--format lines), NIST trn, stm and ctm, a LibriSpeech folder

`asr compare` says whether two systems differ.
"""


_ALIASES = {"length": "duration"}

_EPILOG = """\
Rates are of the whole set: its errors over its reference words. A run's texts are
compared as its recipe says (corpus.scoring_normaliser), files' as they stand: case and punctuation count;
--normaliser says otherwise. An empty reference has no words, and all that was
recognised there is an insertion; a set without any reference word has the rate 100 x errors.

Where sclite differs: it aligns with the weights 4 (substitution), 3, 3 and so may count more errors than the
smallest number, which is counted here; it scores only utterances that have a hypothesis (--missing
left_out); optionally deletable words, (so), are plain words here, and alternatives, { a / b }, are refused.

Intervals say how much a rate depends on the choice of utterances, not on the seed of training. Utterances
of a speaker resemble each other: for other speakers take the interval by speaker (Student's t), which is
there where speakers are known. Of a run's models up to four pairs are compared, and those of
--compare; verdicts are by p-values that are corrected for their number (Holm).
"""


def main(argv: list[str]) -> int:
    """`asr score`."""
    parser = make_parser("score", _DESCRIPTION, _EPILOG)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="see above")
    add_texts(parser)
    add_pairs(parser)
    parser.add_argument(
        "--by",
        metavar="FIELD,...",
        help="a table for each of these: speaker, language, length (of the audio), speaking_rate, or "
        "any field that the manifest has",
    )
    parser.add_argument(
        "--utterance-mean",
        action="store_true",
        help="also the mean of the utterances' own WERs, which is not the set's WER",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args(argv)
    paths: list[Path] = arguments.paths
    pairs = pairs_of(arguments)
    by = [_ALIASES.get(name, name) for name in (arguments.by or "").split(",") if name]
    if len(paths) > 2:
        raise UserError(f"{len(paths)} files given", "give REF and HYP, or `asr compare` several")
    if len(paths) == 1 and paths[0].is_dir():
        if arguments.utterance_mean or arguments.format or arguments.reference_format:
            raise UserError(
                "--utterance-mean, --format and --reference-format are for files, not for a run",
                "leave them out, or name a file of the run",
            )
        normaliser = run_normaliser(paths[0], arguments.normaliser)
        return _score_run(paths[0], normaliser, pairs, arguments.json, by)
    if pairs:
        raise UserError("--compare is for a run", "`asr compare` compares files")
    source = source_of(arguments)
    guessed = not (arguments.reference_format or arguments.format)
    if guessed and [guess_format(path) for path in paths] == ["asr", "asr"]:
        raise UserError(
            f"{paths[0]}, {paths[1]}: both hold hypotheses",
            "`asr compare` compares them, and "
            "--reference-format asr takes the references of the first",
        )
    system = source.load(paths[-1], paths[0] if len(paths) == 2 else None)
    if arguments.normaliser is None:
        system = replace(system, notes=[*system.notes, *advice(paths[-1], source.normaliser)])
    _print_system(system, arguments.json, arguments.utterance_mean, by)
    return 0


def _print_system(system: System, as_json: bool, utterance_mean: bool, by: list[str]) -> None:
    alone = {system.name: system.aligned}
    for field in by:
        check_field(field, alone, system.name)
    scored = score_aligned(system.aligned)
    mean = mean_utterance_rate(system.aligned) if utterance_mean else None
    if as_json:
        row = {"path": system.name, **scored.to_json(), "stamp": asdict(system.stamp)}
        if mean is not None:
            row["mean_utterance_wer"] = mean
        if by:
            row["by"] = {field: breakdown(alone, field)[system.name] for field in by}
        print(json.dumps({"systems": [row], "notes": system.notes}, indent=2))
        return
    print(render_table({system.name: scored}))
    if mean is not None:
        print(f"mean of the utterances' own WERs: {mean:.2f} % (not the set's WER)")
    stamp = system.stamp
    print(f"normaliser {stamp.normaliser}; references sha256 {stamp.references_sha256[:12]}")
    for note in system.notes:
        print(f"note: {note}")
    _print_by(alone, by)


def _print_by(models: Mapping[str, Sequence[Aligned]], by: Sequence[str]) -> None:
    for field in by:
        print(f"\n{render_breakdown(field, breakdown(models, field))}")


def _score_run(
    run: Path, normaliser: Normaliser, further: list[Pair], as_json: bool, by: list[str]
) -> int:
    decoded = read_decoded(run)
    if not decoded:
        raise UserError(
            f"{run}: nothing decoded in it", f"run `asr decode {run} SET.jsonl.gz` first"
        )
    check_pairs(further, decoded)
    sets = align_sets(decoded, normaliser)
    if as_json:
        print(json.dumps(build_results(sets, normaliser, by or BY_FIELDS, further), indent=2))
        return 0
    everything = {f"{name}/{model}": a for name, its in sets.items() for model, a in its.items()}
    for field in by:
        check_field(field, everything, str(run))
    for name, models in sets.items():
        print(f"{name}: {render_table({model: score_aligned(a) for model, a in models.items()})}")
        pairs = compare_models(models, further)
        for (first, second), row in zip(pairs, pair_rows(pairs).values(), strict=True):
            adjusted = row["p_wer_holm"], row["p_cer_holm"]
            print(describe(pairs[first, second], first, second, adjusted))
        for first, second in further:
            if not {first, second} <= models.keys():
                print(f"note: {first} and {second} are not both in decode/{name}")
        for model, aligned in models.items():
            mismatch = about_mismatch(aligned)
            if mismatch is not None:
                print(f"note: {model}: {mismatch}")
        _print_by(models, by)
        print()
    print(f"normaliser {normaliser.stamp}")
    return 0
