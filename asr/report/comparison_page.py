"""`asr report RUN RUN ...`: a page that sets runs side by side, each against the first."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.evaluation.bootstrap import SIGNIFICANT, compare_aligned, score_aligned, verdict
from asr.evaluation.hypotheses import headline_model, read_decoded
from asr.evaluation.normalisers import run_normaliser
from asr.evaluation.results import Sets, align_sets, main_set, with_holm
from asr.report import curves
from asr.report import tables as report_metrics
from asr.report.render import drawn, write_pages
from asr.tracking.run_reader import RunReader


def write_comparison(
    folders: Sequence[Path],
    output: Path | None = None,
    note: str | None = None,
    command: Sequence[str] = (),
    normaliser: str | None = None,
) -> Path:
    """Write index.html, report.md and results.json into `output`; returns the page's path.

    By default that is `comparison` in the folder that holds all the runs. Texts are compared under
    `normaliser`, by default each run's as its recipe says; no rates are compared where these differ. Raises
    UserError for a folder that is not there, or given twice, or a malformed hypotheses file.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder", "give the output folder of a run")
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise UserError("the same run is given twice", "name each once")
    common = Path(os.path.commonpath(resolved))
    if output is None and common == Path(common.anchor):
        raise UserError(
            "the runs have no folder in common", "say where the page goes with --output"
        )
    names = _names(resolved, common)
    chosen = {
        name: run_normaliser(folder, normaliser)
        for name, folder in zip(names, folders, strict=True)
    }
    sets = {
        name: align_sets(read_decoded(folder), chosen[name])
        for name, folder in zip(names, folders, strict=True)
    }
    results, faults = _results(sets, {name: own.stamp for name, own in chosen.items()})
    context = _context(dict(zip(names, folders, strict=True)), sets, results, note, faults)
    context["command"] = shlex.join(command or ["asr", "report", *map(str, folders)])
    return write_pages(output or common / "comparison", "several.html.j2", context, results)


def _names(folders: Sequence[Path], common: Path) -> list[str]:
    """The shortest that tells them apart: the folders' names, or their paths from the common parent."""
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder.relative_to(common)) for folder in folders]
    return names


def _results(
    sets: Mapping[str, Sets], normalisers: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """What results.json holds, as of one run, with models named 'RUN (MODEL)'; and what cannot be compared.

    Each run's headline model (its teacher, where it has one) is compared with each other run's on the main set;
    `p_wer_holm` and `p_cer_holm` are corrected for the number of pairs. Where `normalisers` of the runs differ
    nothing is compared.
    """
    found: dict[str, Any] = {"normalisers": dict(normalisers), "sets": {}, "paired": {}, "by": {}}
    faults: list[str] = []
    for name in dict.fromkeys(name for run in sets.values() for name in run):
        found["sets"][name] = {
            _label(run, model): score_aligned(aligned).to_json()
            for run, its in sets.items()
            for model, aligned in its.get(name, {}).items()
        }
        absent = [run for run, its in sets.items() if name not in its]
        if absent:
            faults.append(f"Nothing of {name} has been decoded in {', '.join(absent)}.")
        if not _is_one(found["sets"][name].values()):
            faults.append(f"On {name} the runs have different utterances or references.")
    main = main_set(found["sets"])
    compared = {
        _label(run, model): its[main][model]
        for run, its in sets.items()
        if main is not None and main in its
        for model in [headline_model(its[main])]
        if model is not None
    }
    pairs: dict[str, dict[str, Any]] = {}
    for (a, left), (b, right) in itertools.combinations(
        compared.items() if _is_normalised_alike(found) else (), 2
    ):
        try:
            metrics = compare_aligned(right, left).to_json()
        except UserError as error:
            faults.append(f"On {main}, {a} and {b} cannot be compared: {error}.")
        else:
            pairs[f"{b}_vs_{a}"] = {"first": b, "second": a, **metrics}
    found["paired"] = with_holm(pairs)
    return found, faults


def _is_one(scores: Iterable[Mapping[str, Any]]) -> bool:
    """Whether metrics are of sets of one size: rates of unlike sets must not be ranked."""
    return len({(s["utterances"], s["words"]) for s in scores}) <= 1


def _is_normalised_alike(results: Mapping[str, Any]) -> bool:
    return len(set(results["normalisers"].values())) <= 1


def _is_ranked(results: Mapping[str, Any], name: str) -> bool:
    """Whether the rates of a set compare."""
    return _is_normalised_alike(results) and _is_one(results["sets"][name].values())


def _label(run: str, model: str) -> str:
    return f"{run} ({model})"


def _context(
    folders: Mapping[str, Path],
    sets: Mapping[str, Sets],
    results: Mapping[str, Any],
    note: str | None,
    faults: Sequence[str],
) -> dict[str, Any]:
    readers = {name: RunReader(name) for name in folders}
    runs = {n: readers[n].read_run(f) for n, f in folders.items()}
    cards = {n: readers[n].read_card(f) for n, f in folders.items()}
    configs = {n: readers[n].read_config(f / "config.yaml")[1] for n, f in folders.items()}
    environments = {n: readers[n].read_json(f / "environment.json") for n, f in folders.items()}
    main = main_set(results["sets"])
    return {
        "runs": [
            {"name": name, "title": str(configs[name].get("name") or ""), "folder": str(folder)}
            for name, folder in folders.items()
        ],
        "note": note,
        "summary": _summary(results, main),
        "main_set": main,
        "compared": report_metrics.compared_under(results),
        "tables": {
            name: report_metrics.result_rows(results["sets"][name], _is_ranked(results, name))
            for name in sorted(results["sets"], key=lambda name: name != main)
        },
        "pairs": list(map(report_metrics.pair_row, results["paired"].values())),
        "learning": drawn(curves.side_by_side(runs)),
        "card": side_by_side({n: card.get("in_force") or {} for n, card in cards.items()}),
        "config": _differing(side_by_side(configs)),
        "environment": _differing(side_by_side(environments)),
        "faults": [*faults, *(fault for reader in readers.values() for fault in reader.faults)],
    }


def _summary(results: Mapping[str, Any], main: str | None) -> str:
    if main is None:
        return "Nothing has been decoded in these runs yet, so there are no final results."
    models = results["sets"][main]
    if not _is_normalised_alike(results):
        return "The runs' texts are compared under different normalisers: no rate is compared."
    if not _is_one(models.values()):
        return (
            f"The runs were decoded on different data under the name {main}: no rate is compared."
        )
    best, metrics = min(models.items(), key=lambda item: item[1]["wer"])
    opening = (
        f"On {main}, {best} has the lowest word error rate, {metrics['wer']:.2f} % "
        f"(95 % interval {metrics['wer_low']:.2f} to {metrics['wer_high']:.2f})."
    )
    pairs = sorted(results["paired"].values(), key=lambda pair: pair["p_wer_holm"])
    found = [_difference(pair) for pair in pairs if pair["p_wer_holm"] < SIGNIFICANT]
    if pairs and not found:
        found = ["No difference in words is significant."]
    return " ".join([opening, *found[:3]])


def _difference(pair: Mapping[str, Any]) -> str:
    way, p = ("lower" if pair["delta_wer"] < 0 else "higher"), pair["p_wer_holm"]
    return (
        f"{pair['first']} is {abs(pair['delta_wer']):.2f} points {way} than {pair['second']}: "
        f"{verdict(p)} ({report_metrics.p_value(p)})."
    )


def side_by_side(trees: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows {name, values, changed} of nested settings, a value for each tree."""
    flats = [dict(report_metrics.flat(tree)) if tree else {} for tree in trees.values()]
    names = dict.fromkeys(name for flat in flats for name in flat)
    rows = []
    for name in names:
        values = [flat.get(name, "–") for flat in flats]
        rows.append({"name": name, "values": values, "changed": len(set(values)) > 1})
    return rows


def _differing(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["changed"] and row["name"] not in ("name", "output")]
