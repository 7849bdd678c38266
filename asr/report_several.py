"""`asr report RUN RUN ...`: a page that sets runs side by side, each against the first."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr import curves, report_figures
from asr.errors import UserError
from asr.hypotheses import MODELS, read_decoded
from asr.report_render import drawn, write_pages
from asr.results import Sets, align_sets, main_set
from asr.run_folder import RunReader
from asr.significance import holm
from asr.statistics import SIGNIFICANT, compare_aligned, score_aligned, verdict


def write_comparison(
    folders: Sequence[Path], output: Path | None = None, note: str | None = None
) -> Path:
    """Write index.html, report.md and results.json into `output`, or `comparison` beside the runs.

    Returns the page's path. Raises UserError for a folder that is not there, or given twice, or a malformed
    hypotheses file.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give the output folder of a run")
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise UserError("the same run is given twice; name each once")
    common = Path(os.path.commonpath(resolved))
    names = _names(resolved, common)
    sets = {
        name: align_sets(read_decoded(folder)) for name, folder in zip(names, folders, strict=True)
    }
    results, faults = _results(sets)
    context = _context(dict(zip(names, folders, strict=True)), sets, results, note, faults)
    return write_pages(output or common / "comparison", "report_several.html.j2", context, results)


def _names(folders: Sequence[Path], common: Path) -> list[str]:
    """The shortest that tells them apart: the folders' names, or their paths from the common parent."""
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder.relative_to(common)) for folder in folders]
    return names


def _results(sets: Mapping[str, Sets]) -> tuple[dict[str, Any], list[str]]:
    """What results.json holds, as of one run, with models named 'RUN (MODEL)'; and what cannot be compared.

    Each run's best-named model (its teacher, where it has one) is compared with each other run's on the main
    set; p-values are Holm's, for the number of pairs.
    """
    found: dict[str, Any] = {"sets": {}, "paired": {}, "by": {}}
    for name in dict.fromkeys(name for run in sets.values() for name in run):
        found["sets"][name] = {
            _label(run, model): score_aligned(aligned).to_json()
            for run, its in sets.items()
            for model, aligned in its.get(name, {}).items()
        }
    main, faults = main_set(found["sets"]), []
    compared = {
        _label(run, _headline_model(its[main])): its[main][_headline_model(its[main])]
        for run, its in sets.items()
        if main is not None and main in its
    }
    pairs = {}
    for (a, left), (b, right) in itertools.combinations(compared.items(), 2):
        try:
            pairs[f"{b}_vs_{a}"] = compare_aligned(right, left).to_json()
        except UserError as error:
            faults.append(f"On {main}, {a} and {b} cannot be compared: {error}.")
    for unit in ("wer", "cer"):
        adjusted = holm({name: pair[f"p_{unit}"] for name, pair in pairs.items()})
        for name, pair in pairs.items():
            pair[f"p_{unit}"] = adjusted[name]
    found["paired"] = pairs
    return found, faults


def _label(run: str, model: str) -> str:
    return f"{run} ({model})"


def _headline_model(models: Mapping[str, object]) -> str:
    return next((model for model in reversed(MODELS) if model in models), next(iter(models)))


def _context(
    folders: Mapping[str, Path],
    sets: Mapping[str, Sets],
    results: Mapping[str, Any],
    note: str | None,
    faults: Sequence[str],
) -> dict[str, Any]:
    reader = RunReader()
    runs = {name: reader.read_run(folder) for name, folder in folders.items()}
    cards = {n: reader.read_json(f / "scaling.json") for n, f in folders.items()}
    configs = {n: reader.read_config(f / "config.yaml")[1] for n, f in folders.items()}
    environments = {n: reader.read_json(f / "environment.json") for n, f in folders.items()}
    main = main_set(results["sets"])
    return {
        "runs": [
            {"name": name, "title": str(configs[name].get("name") or ""), "folder": str(folder)}
            for name, folder in folders.items()
        ],
        "note": note,
        "summary": _summary(results, main),
        "main_set": main,
        "tables": {
            name: report_figures.result_rows(results["sets"][name])
            for name in sorted(results["sets"], key=lambda name: name != main)
        },
        "pairs": [report_figures.pair_row(name, pair) for name, pair in results["paired"].items()],
        "learning": drawn(curves.side_by_side(runs)),
        "card": side_by_side({n: card.get("in_force") or {} for n, card in cards.items()}),
        "config": _differing(side_by_side(configs)),
        "environment": _differing(side_by_side(environments)),
        "command": shlex.join(["asr", "report", *map(str, folders.values())]),
        "faults": [*faults, *reader.faults],
    }


def _summary(results: Mapping[str, Any], main: str | None) -> str:
    if main is None:
        return "Nothing has been decoded in these runs yet, so there are no final figures."
    best, figures = min(results["sets"][main].items(), key=lambda item: item[1]["wer"])
    opening = (
        f"On {main}, {best} has the lowest word error rate, {figures['wer']:.2f} % "
        f"(95 % interval {figures['wer_low']:.2f} to {figures['wer_high']:.2f})."
    )
    if not results["paired"]:
        return opening
    found = [
        _difference(name, pair)
        for name, pair in sorted(results["paired"].items(), key=lambda item: item[1]["p_wer"])
        if pair["p_wer"] < SIGNIFICANT
    ]
    return " ".join([opening, *(found[:3] or ["No difference in words is significant."])])


def _difference(name: str, pair: Mapping[str, float]) -> str:
    first, _, second = name.partition("_vs_")
    way = "lower" if pair["delta_wer"] < 0 else "higher"
    return (
        f"{first} is {abs(pair['delta_wer']):.2f} points {way} than {second}: "
        f"{verdict(pair['p_wer'])} ({report_figures.p_value(pair['p_wer'])})."
    )


def side_by_side(trees: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows {name, values, changed} of nested settings, a value for each tree."""
    flats = [dict(report_figures.flat(tree)) if tree else {} for tree in trees.values()]
    names = dict.fromkeys(name for flat in flats for name in flat)
    rows = []
    for name in names:
        values = [flat.get(name, "–") for flat in flats]
        rows.append({"name": name, "values": values, "changed": len(set(values)) > 1})
    return rows


def _differing(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["changed"] and row["name"] not in ("name", "output")]
