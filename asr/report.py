"""`asr report`: one self-contained HTML page about a run, and its figures as results.json.

The page needs no network: charts are inline SVG, and jinja2 escapes transcripts. What a run lacks (a
baseline, pseudo-labels, a dev curve) is said in words on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr import plots, score
from asr.errors import UserError

WORST = 15
MODEL_NAMES = {
    "supervised": "Supervised baseline",
    "supervised_student": "Supervised, student weights",
    "student": "Student",
    "teacher": "Teacher (EMA)",
}
SIGNIFICANT = 0.05


@dataclass
class _Faults:
    """What could not be read: said on the page, never passed over."""

    messages: list[str] = field(default_factory=list)

    def read_json(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.messages.append(f"{path.name} is not readable as JSON ({error}); left out.")
            return {}
        return content if isinstance(content, dict) else {"content": content}

    def read_run(self, folder: Path) -> plots.Run:
        run = plots.read_run(folder)
        if run.unreadable_lines:
            path = folder / "metrics.jsonl"
            self.messages.append(f"{run.unreadable_lines} unreadable lines of {path} left out.")
        return run

    def read_config(self, path: Path) -> tuple[str, dict[str, Any]]:
        """The text and the tree of config.yaml; empty where there is none."""
        import yaml

        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError:
            self.messages.append(f"{path.name} is not readable as YAML.")
            tree = None
        return text, tree if isinstance(tree, dict) else {}


def write_report(exp: Path, baseline: Path | None = None, note: str | None = None) -> Path:
    """Write EXP/report/index.html and EXP/report/results.json; returns the page's path.

    `baseline` is the folder of a supervised run, for its curves; its decoded sets are those named
    supervised in EXP/decode. `note` becomes a banner. Raises UserError for a folder that is not there
    or a malformed hypotheses file.
    """
    for folder in filter(None, (exp, baseline)):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give the output folder of a run")
    decoded = score.read_decoded(exp)
    results = score.build_results(decoded)
    page = _render(_context(exp, baseline, note, decoded, results))
    report = exp / "report"
    report.mkdir(exist_ok=True)
    _write(report / "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
    _write(report / "index.html", page)
    return report / "index.html"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _context(
    exp: Path,
    baseline: Path | None,
    note: str | None,
    decoded: score.Decoded,
    results: Mapping[str, Any],
) -> dict[str, Any]:
    faults = _Faults()
    main_run = faults.read_run(exp)
    baseline_run = faults.read_run(baseline) if baseline else plots.Run()
    config_text, config = faults.read_config(exp / "config.yaml")
    start_hours = _start_hours(config, main_run)
    main_set = score.main_set(decoded)
    worst_model = next(
        (m for m in reversed(score.MODELS) if m in decoded.get(main_set or "", {})), None
    )
    command = ["asr", "report", str(exp), *(["--baseline", str(baseline)] if baseline else [])]
    command += ["--note", note] if note else []
    return {
        "name": str(config.get("name") or exp.resolve().name),
        "note": note,
        "summary": _unbroken(summary(results, main_set)),
        "main_set": main_set,
        "tables": {name: result_rows(results["sets"][name]) for name in _main_first(decoded)},
        "pairs": [_pair_row(name, figures) for name, figures in results["paired"].items()],
        "baseline": str(baseline) if baseline else None,
        "learning": _figures(plots.learning_charts(main_run, baseline_run, start_hours)),
        "evaluations": [("run", e) for e in main_run.evaluations]
        + [("supervised", e) for e in baseline_run.evaluations],
        "loss": _figures(plots.loss_chart(main_run, baseline_run, start_hours)),
        "start_hours": start_hours,
        "labels": _figures(plots.pseudo_label_charts(main_run)),
        "labelled_lines": len(main_run.labelling),
        "last_label": main_run.labelling[-1] if main_run.labelling else {},
        "dropped": plots.dropped_labels(main_run),
        "card": scaling_card(faults.read_json(exp / "scaling.json")),
        "worst_model": worst_model,
        "worst": worst_utterances(decoded[main_set][worst_model])
        if main_set and worst_model
        else [],
        "breakdowns": {name: _breakdown(models) for name, models in results["by"].items()},
        "environment": dict(_flat(faults.read_json(exp / "environment.json"))),
        "stamps": _stamps(exp, faults),
        "config": config_text,
        "command": shlex.join(command),
        "faults": faults.messages,
        "names": MODEL_NAMES,
        "few": score.FEW_UTTERANCES,
        "fewest": 10,
        "interval_draws": score.INTERVAL_DRAWS,
        "paired_draws": score.PAIRED_DRAWS,
    }


def _main_first(decoded: score.Decoded) -> list[str]:
    main_set = score.main_set(decoded)
    return sorted(decoded, key=lambda name: name != main_set)


def _start_hours(config: Mapping[str, Any], run: plots.Run) -> float | None:
    """Where pseudo-labelling began: as configured, or else as first logged; None where it did not."""
    if not run.labelling:
        return None
    configured = (config.get("pseudo_label") or {}).get("start_hours")
    first_logged = float(run.labelling[0]["hours"])
    return min(float(configured), first_logged) if configured else first_logged


def _figures(charts: Sequence[plots.Chart]) -> list[dict[str, str]]:
    return [{"title": chart.title, "svg": plots.render(chart)} for chart in charts]


def summary(results: Mapping[str, Any], main_set: str | None) -> str:
    """In one or two sentences: who is better, by how much, and whether that may be chance."""
    if main_set is None:
        return "Nothing has been decoded yet, so there are no final figures."
    models = results["sets"][main_set]
    teacher, supervised = models.get("teacher"), models.get("supervised")
    if teacher is None or supervised is None:
        found = " and ".join(
            f"the {MODEL_NAMES.get(name, name).lower().replace('ema', 'EMA')} has a word error rate of "
            f"{s['wer']:.2f} % (95 % interval {s['wer_low']:.2f} to {s['wer_high']:.2f})"
            for name, s in models.items()
        )
        missing = "supervised baseline" if supervised is None else "teacher"
        return f"On {main_set}, {found}. There is no {missing} here to compare with."
    paired = results["paired"]["teacher_vs_supervised"]
    delta, p = paired["delta_wer"], paired["p_wer"]
    opening = f"On {main_set}, the teacher's word error rate is {teacher['wer']:.2f} %"
    chance = f"{p_value(p)}, paired bootstrap over {teacher['utterances']:,} utterances"
    if teacher["utterances"] < score.FEW_UTTERANCES:
        chance += ", which are too few to rely on it"
    if delta == 0:
        return f"{opening}, the same as the supervised baseline's ({chance})."
    compared = f"{abs(delta):.2f} points {'lower' if delta < 0 else 'higher'} than"
    share = 100 * abs(delta) / supervised["wer"] if supervised["wer"] else 0.0
    relative = f", {share:.0f} % {'fewer' if delta < 0 else 'more'} errors" if share else ""
    verdict = (
        "The difference is significant at the 5 % level"
        if p < SIGNIFICANT
        else "The difference is not significant: it may be chance"
    )
    return (
        f"{opening}, {compared} the supervised baseline's {supervised['wer']:.2f} %{relative}. "
        f"{verdict} ({chance})."
    )


def _unbroken(sentence: str) -> str:
    """No line break between a number and its sign."""
    for sign in (" %", "p < ", "p = "):
        sentence = sentence.replace(sign, sign.replace(" ", "\N{NO-BREAK SPACE}"))
    return sentence


def p_value(p: float) -> str:
    """A p-value as text; the smallest ones only bounded."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def result_rows(models: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Rows of a set's table, with the ends of the inline bars in percent of the bar's width."""
    widest = max((s["wer_high"] for s in models.values()), default=0.0) * 1.06 or 1.0
    best = min((s["wer"] for s in models.values()), default=0.0)
    return [
        {
            **s,
            "model": model,
            "best": s["wer"] == best and len(models) > 1,
            "bar": [round(100 * s[key] / widest, 2) for key in ("wer_low", "wer", "wer_high")],
        }
        for model, s in models.items()
    ]


def _pair_row(name: str, figures: Mapping[str, float]) -> dict[str, Any]:
    first, _, second = name.partition("_vs_")
    return {"first": first, "second": second, **figures}


def _breakdown(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Rows by value; the counts are those of the first model that has the value."""
    values = list(dict.fromkeys(value for groups in models.values() for value in groups))
    rows = []
    for value in values:
        cells = {model: groups.get(value) for model, groups in models.items()}
        counts = next(cell for cell in cells.values() if cell)
        rows.append({"value": value, "counts": counts, "cells": cells})
    return {"models": list(models), "rows": rows}


def worst_utterances(
    utterances: Sequence[score.Utterance], most: int = WORST
) -> list[dict[str, Any]]:
    """Those with most word errors (ties: the higher rate, then the id), with their alignments."""
    words, _ = score.count_edits(
        [u.reference for u in utterances], [u.hypothesis for u in utterances]
    )
    ranked = sorted(
        ((u, c) for u, c in zip(utterances, words, strict=True) if c.errors),
        key=lambda pair: (-pair[1].errors, -pair[1].rate, pair[0].id),
    )
    return [
        {"utterance": u, "counts": c, "tokens": aligned_words(u.reference, u.hypothesis)}
        for u, c in ranked[:most]
    ]


def aligned_words(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    """(kind, reference word, hypothesis word); kinds equal, substitute, delete, insert."""
    import jiwer

    output = jiwer.process_words(reference, hypothesis)
    expected, recognised = output.references[0], output.hypotheses[0]
    tokens: list[tuple[str, str, str]] = []
    for chunk in output.alignments[0]:
        left = expected[chunk.ref_start_idx : chunk.ref_end_idx]
        right = recognised[chunk.hyp_start_idx : chunk.hyp_end_idx]
        length = max(len(left), len(right))  # one side is empty at a deletion or insertion
        left, right = left or [""] * length, right or [""] * length
        tokens += [(chunk.type, a, b) for a, b in zip(left, right, strict=True)]
    return tokens


def scaling_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """Rows (name, reference, in force, changed), and whatever else scaling.json says."""
    rest = {key: value for key, value in card.items() if key not in ("reference", "in_force")}
    left, right = (dict(_flat(card.get(key) or {})) for key in ("reference", "in_force"))
    names = dict.fromkeys([*left, *right])
    rows = [(n, left.get(n, "–"), right.get(n, "–"), left.get(n) != right.get(n)) for n in names]
    return {"rows": rows, "rest": list(_flat(rest))}


def _flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of a nested dict as (dotted name, text)."""
    if not isinstance(tree, Mapping):
        return [(prefix.rstrip("."), _scalar(tree))]
    return [leaf for key, value in tree.items() for leaf in _flat(value, f"{prefix}{key}.")]


def _scalar(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_scalar(item) for item in value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.8g}" if isinstance(value, float) else str(value)


def _stamps(exp: Path, faults: _Faults) -> dict[str, Any]:
    """A row for each decoded file, a column for each field that any stamp has."""
    rows = []
    for path in sorted((exp / "decode").glob("*/*.stamp.json")):
        place = {"set": path.parent.name, "model": path.name.removesuffix(".stamp.json")}
        rows.append({**dict(_flat(faults.read_json(path))), **place})
    columns = dict.fromkeys(["set", "model", *(name for row in rows for name in row)])
    return {"columns": list(columns), "rows": rows}


def _render(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["p_value"] = p_value
    environment.filters["signed"] = lambda value: f"{value:+.2f}".replace("-", "−")
    return environment.get_template("report_page.html.j2").render(context)


def main(argv: list[str]) -> int:
    """`asr report`."""
    parser = argparse.ArgumentParser(
        prog="asr report",
        description="Write one HTML page about a run: error rates with confidence intervals and "
        "significance, learning curves, pseudo-label quality, the scaling rule's values, the worst "
        "utterances. The page is self-contained: mail it, or open it in any browser.",
        epilog="Reads RUN/decode/SET/MODEL.jsonl, RUN/metrics.jsonl, scaling.json, environment.json "
        "and config.yaml; what is missing is said on the page. Writes RUN/report/index.html and "
        "RUN/report/results.json.",
    )
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument(
        "--baseline", type=Path, help="output folder of a supervised run, for its curves"
    )
    parser.add_argument("--note", help="a sentence for a banner at the top, e.g. a warning")
    arguments = parser.parse_args(argv)
    page = write_report(arguments.run, arguments.baseline, arguments.note)
    print(f"report: {page}{os.linesep}figures: {page.with_name('results.json')}")
    return 0
