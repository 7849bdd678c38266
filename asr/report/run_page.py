"""`asr report`: one self-contained HTML page about a run, or several, and its results as results.json.

The page needs no network: charts are inline SVG, and jinja2 escapes transcripts. What a run lacks (a
baseline, pseudo-labels, a dev curve) is said in words on the page.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.evaluation.edit_distance import commonest_errors
from asr.evaluation.hypotheses import headline_model, is_stamp_of, read_decoded
from asr.evaluation.normalisers import Normaliser, run_normaliser
from asr.evaluation.results import BY_FIELDS, Pair, Sets, align_sets, build_results, main_set
from asr.report import curves, validity
from asr.report import tables as report_figures
from asr.report.audio_player import NoSoundError, player_source, read_sound, spectrogram
from asr.report.head import head_cards
from asr.report.probes import probes_of
from asr.report.render import drawn, write_pages
from asr.report.representations import half_life_chart, representation_charts
from asr.report.run_warnings import run_warnings
from asr.tracking.run_reader import Run, RunReader

AVERAGES_ON_DEV = Path("averages") / "dev.json"
"""What `asr average` has decoded."""
_SPECTROGRAMS = 5
_UNFOLDED = 5
"""Of the worst utterances."""


def write_report(
    exp: Path,
    baseline: Path | None = None,
    note: str | None = None,
    by_fields: Sequence[str] = BY_FIELDS,
    with_audio: bool = True,
    output: Path | None = None,
    command: Sequence[str] = (),
    normaliser: str | None = None,
    further: Sequence[Pair] = (),
    reload_seconds: float | None = None,
) -> Path:
    """Write index.html, report.md and results.json into `output`, or EXP/report; returns the page's path.

    `baseline` is the folder of a supervised run, for its curves; its decoded sets are those named
    supervised in EXP/decode. `note` becomes a banner. `with_audio` puts the worst utterances' sound into
    the page, where it can be read. `command` is shown as what made the page. Texts are compared under
    `normaliser`, by default the recipe's; `further` pairs of models are compared besides the usual ones; a
    browser loads the page again after `reload_seconds`. Raises UserError for a folder that is not there, a
    malformed hypotheses file, or a pair that is not there.
    """
    for folder in filter(None, (exp, baseline)):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder", "give the output folder of a run")
    chosen = run_normaliser(exp, normaliser)
    sets = align_sets(read_decoded(exp), chosen)
    results = build_results(sets, chosen, by_fields, further)
    worst = _worst(sets, chosen, with_audio)
    context = _context(exp, baseline, note, sets, results, worst, command)
    if context["probes"]:
        results = {**results, "probes": context["probes"]}
    if context["warnings"]:
        results = {**results, "warnings": context["warnings"]}
    context["reload_seconds"] = reload_seconds
    return write_pages(output or exp / "report", "page.html.j2", context, results)


def _context(
    exp: Path,
    baseline: Path | None,
    note: str | None,
    sets: Sets,
    results: Mapping[str, Any],
    worst: Sequence[Mapping[str, Any]],
    command: Sequence[str],
) -> dict[str, Any]:
    reader = RunReader()
    main_run = reader.read_run(exp)
    baseline_run = reader.read_run(baseline) if baseline else Run()
    environment = reader.read_json(exp / "environment.json")
    config_text, config = reader.read_config(exp / "config.yaml")
    start_hours, card = _start_hours(config, main_run), reader.read_card(exp)
    ended = reader.read_complete(exp)
    marks = curves.marks_of(config, card, start_hours, main_run, ended)
    models = sets.get((main := main_set(sets)) or "", {})
    worst_model = headline_model(models)
    return {
        "name": str(config.get("name") or exp.resolve().name),
        "note": note,
        "summary": [_unbroken(part) for part in report_figures.summary(results, main)],
        "cards": head_cards(results, main, main_run, environment),
        "main_set": main,
        "compared": report_figures.compared_under(results),
        "tables": {
            name: report_figures.result_rows(results["sets"][name])
            for name in sorted(sets, key=lambda name: name != main)
        },
        "pairs": list(map(report_figures.pair_row, results["paired"].values())),
        "baseline": str(baseline) if baseline else None,
        "learning": drawn(curves.learning_charts(main_run, baseline_run, marks)),
        "half_lives": drawn(curves.half_life_charts(reader.read_records(exp / AVERAGES_ON_DEV))),
        "evaluations": [("run", e) for e in main_run.evaluations]
        + [("supervised", e) for e in baseline_run.evaluations],
        "loss": drawn(curves.loss_chart(main_run, baseline_run, marks)),
        "start_hours": start_hours,
        "warnings": run_warnings(main_run, config),
        **_about_the_average(main_run, marks) | probes_of(exp, reader),
        "card": report_figures.scaling_card(card),
        "validity": drawn(validity.validity_charts(main_run)),
        "validity_rows": validity.validity_rows(main_run),
        "validity_outdated": validity.is_outdated(main_run),
        "worst_model": worst_model,
        "worst": worst,
        "folded": _UNFOLDED,
        "utterances": report_figures.utterance_rows(models[worst_model]) if worst_model else [],
        "all_utterances": len(models[worst_model]) if worst_model else 0,
        "silent": Counter(item["silent"] for item in worst if item["silent"]),
        "commonest": commonest_errors(models[worst_model], report_figures.WORST)
        if worst_model
        else {},
        "breakdowns": {name: report_figures.breakdown(by) for name, by in results["by"].items()},
        "environment": dict(report_figures.flat(environment)),
        "stamps": _stamps(exp, reader),
        "config": config_text,
        "command": shlex.join(command or ["asr", "report", str(exp)]),
        "faults": reader.faults,
    }


def _about_the_average(run: Run, marks: curves.Marks) -> dict[str, Any]:
    """What it is used for, labels or representations, and its half-life."""
    lines = run.with_pseudo_labels
    return {
        "representations": drawn(representation_charts(run, marks)),
        "half_life": drawn(half_life_chart(run, marks)),
        "labels": drawn(curves.pseudo_label_charts(run)),
        "labelled_lines": len(lines),
        "last_label": lines[-1] if lines else {},
        "dropped": run.dropped_labels,
    }


def _worst(sets: Sets, normaliser: Normaliser, with_audio: bool) -> list[dict[str, Any]]:
    """The main set's worst; where there is audio with a player, the very worst with a spectrogram."""
    models = sets.get(main_set(sets) or "", {})
    model = headline_model(models)
    items = report_figures.worst_utterances(models[model]) if model else []
    for number, item in enumerate(items):
        utterance = item["utterance"]
        item |= {"player": None, "spectrogram": None, "silent": None}
        if not with_audio:
            continue
        try:
            sound = read_sound(utterance)
        except NoSoundError as reason:
            item["silent"] = str(reason)
            continue
        item["player"] = player_source(sound)
        if number < _SPECTROGRAMS:
            item["spectrogram"] = spectrogram(
                sound, utterance, item["tokens"], f"sound-{number}", normaliser.apply
            )
    return items


def _start_hours(config: Mapping[str, Any], run: Run) -> float | None:
    """Where pseudo-labelling began: as configured, or else as first logged; None where it did not."""
    if not run.with_pseudo_labels:
        return None
    policy = config.get("pseudo_label") or {}
    start = policy.get("start") or {}  # older runs have start_hours alone
    configured = policy.get("start_hours", start.get("hours"))
    first_logged = float(run.with_pseudo_labels[0]["hours"])
    if start.get("dev_wer_below") is not None:
        return first_logged
    return min(float(configured), first_logged) if configured else first_logged


def _unbroken(sentence: str) -> str:
    """No line break between a number and its sign."""
    for sign in (" %", "p < ", "p = "):
        sentence = sentence.replace(sign, sign.replace(" ", "\N{NO-BREAK SPACE}"))
    return sentence


def _stamps(exp: Path, reader: RunReader) -> dict[str, Any]:
    """A row for each decoded file, a column for each field that any stamp has."""
    rows = []
    for path in sorted((exp / "decode").glob("*/*.stamp.json")):
        place = {"set": path.parent.name, "model": path.name.removesuffix(".stamp.json")}
        stamp = reader.read_json(path)
        hypotheses = path.with_name(f"{place['model']}.jsonl")
        if not is_stamp_of(hypotheses, stamp):
            reader.note(f"{path.name} is not of what {hypotheses} holds now; decode the set again.")
            stamp = {}
        rows.append({**dict(report_figures.flat(stamp)), **place})
    columns = dict.fromkeys(["set", "model", *(name for row in rows for name in row)])
    return {"columns": list(columns), "rows": rows}
