"""The report's pages: templates filled in, and files written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.evaluation import bootstrap as statistics
from asr.report import plots
from asr.report.markdown import render_markdown
from asr.report.tables import MODEL_NAMES, p_value
from asr.utils.files import encodable, write_text


def write_pages(
    folder: Path, template: str, context: Mapping[str, Any], results: Mapping[str, Any]
) -> Path:
    """Write index.html, report.md and results.json into `folder`; returns the page's path."""
    page = _render(template, {**_ALWAYS, **context})
    write_text(folder / "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", encodable(render_markdown(results)))
    write_text(folder / "index.html", encodable(page))
    return folder / "index.html"


def drawn(charts: Sequence[plots.Chart]) -> list[dict[str, str]]:
    """Charts as the templates take them."""
    return [{"title": chart.title, "svg": plots.render(chart)} for chart in charts]


_ALWAYS = {
    "reload_seconds": None,
    "names": MODEL_NAMES,
    "few": statistics.FEW_UTTERANCES,
    "few_speakers": statistics.FEW_SPEAKERS,
    "fewest": 10,
    "interval_draws": statistics.INTERVAL_DRAWS,
    "paired_draws": statistics.PAIRED_DRAWS,
}


def _render(template: str, context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["p_value"] = p_value
    environment.filters["signed"] = lambda value: f"{value:+.2f}".replace("-", "−")
    return environment.get_template(template).render(context)
