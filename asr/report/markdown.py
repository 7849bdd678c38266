"""The report's results as Markdown, for a pull request or a results page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from asr.evaluation.bootstrap import FEW_SPEAKERS
from asr.report.tables import MODEL_NAMES, compared_under, p_value


def render_markdown(results: Mapping[str, Any]) -> str:
    """What results.json holds: a table a set, the comparisons, the breakdowns."""
    parts = [f"**{_plain(warning)}**" for warning in results.get("warnings", [])]
    parts.append(_plain(compared_under(results)))
    rows: Iterable[tuple[str, ...]]
    for name, models in results["sets"].items():
        first = next(iter(models.values()))
        about = f"{first['utterances']:,} utterances, {first['words']:,} words"
        if 0 < first["speakers"] < FEW_SPEAKERS:
            about += (
                f", speakers: {first['speakers']} (intervals are of other utterances, not speakers)"
            )
        header: tuple[str, ...] = (
            "model",
            "WER % [95 %]",
            "CER % [95 %]",
            "SER %",
            "sub",
            "del",
            "ins",
        )
        rows = (
            (
                _name(model),
                f"{s['wer']:.2f} [{s['wer_low']:.2f}, {s['wer_high']:.2f}]",
                f"{s['cer']:.2f} [{s['cer_low']:.2f}, {s['cer_high']:.2f}]",
                f"{s['ser']:.1f}",
                *(f"{s[kind]:,}" for kind in ("substitutions", "deletions", "insertions")),
            )
            for model, s in models.items()
        )
        parts.append(f"### {_plain(name)}\n\n{about}\n\n{_table(header, rows)}")
    if results["paired"]:
        rows = (
            (
                f"{_name(pair['first'])} - {_name(pair['second'])}",
                f"{pair['delta_wer']:+.2f}",
                _plain(p_value(pair["p_wer_holm"])),
                f"{pair['delta_cer']:+.2f}",
                _plain(p_value(pair["p_cer_holm"])),
            )
            for pair in results["paired"].values()
        )
        header = ("paired bootstrap, p by Holm", "WER, points", "", "CER, points", "")
        parts.append(f"### Comparisons\n\n{_table(header, rows)}")
    for field, by in results["by"].items():
        values = list(dict.fromkeys(value for groups in by.values() for value in groups))
        rows = (
            (_plain(value), *(f"{g[value]['wer']:.2f}" if value in g else "-" for g in by.values()))
            for value in values
        )
        title = _plain(field.replace("_", " "))
        parts.append(f"### WER % by {title}\n\n{_table((title, *map(_name, by)), rows)}")
    return "\n\n".join(parts) + "\n"


def _name(model: str) -> str:
    return MODEL_NAMES.get(model) or _plain(model)


def _plain(text: str) -> str:
    """What a file, a set, a run or a speaker is called, as text alone: no link, image, tag, code or cell."""
    shown = "".join(c for c in " ".join(text.split()) if c.isprintable())
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _MARKS.sub(r"\\\g<0>", shown)
    return _ADDRESS.sub(lambda found: "".join(f"&#{ord(c)};" for c in found[0]), shown)


_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)|^[#+=-]")
"""What Markdown takes for more than a character, at the head of a text or within it."""
_ADDRESS = re.compile(r"://|(?<=www)\.|@")
"""By these it makes a link of an address or a name."""


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(header)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
