"""What a stranger's run or corpus calls things is shown as text: in HTML, in its pictures, in Markdown."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from typing import Any

from report_helpers import make_run, without_our_script, write_lines

from asr.report.comparison_page import write_comparison
from asr.report.run_page import write_report

NAMES = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)<!script>',
    "[text](javascript:alert(1))",
    "![](x.png) <b>&amp;",
    "www.evil.example a@evil.example",
    "`code` | cell *bold* _it_ ~~no~~",
    "$\\frac{1$ $x$ \\",
    "# head\u202e\u0007",
)
"""Also names of files, so without a slash."""
TEXTS = (
    *NAMES,
    "https://evil.example/x",
    "]]></style></script>",
    "[a]: http://evil.example\n\n- x",
)
HALF = "half a character \ud800"
"""Of a damaged file; hypotheses with one are refused by their line."""


class Page(HTMLParser):
    """Tags with their attributes, and the text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.shown += data


def hostile_run(folder: Path) -> Path:
    """A run in which all that has a name has one of these."""
    make_run(folder)
    name, text = cycle(NAMES), cycle(TEXTS)
    for path in [*(folder / "decode/test").glob("*.jsonl"), folder / "metrics.jsonl"]:
        records: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
        for number, record in enumerate(records):
            one = TEXTS[number % len(TEXTS)]
            if "id" in record:
                record |= {"id": f"{one} {number}", "speaker": one, "language": one}
                record |= {"reference": f"{one} {number}", "hypothesis": f"{one} x{number % 3}"}
                record |= {"audio": one, "a`b<i>": one}
            if "set" in record:
                record |= {"set": next(text), "model": next(text)}
            if "pseudo_label_confidence_measure" in record:
                record |= {"pseudo_label_confidence_measure": TEXTS[0]}
            if record.get("pseudo_labels_dropped"):
                record["pseudo_labels_dropped"] = dict.fromkeys(TEXTS, 3)
        write_lines(path, records)
    test = folder / "decode/test"
    lines = (test / "supervised.jsonl").read_text(encoding="utf-8")
    for model in NAMES:
        (test / f"{model}.jsonl").write_text(lines, encoding="utf-8")
        (test / f"{model}.stamp.json").write_text(
            json.dumps({next(text): next(text), "checkpoint": HALF, "decoder": HALF})
        )
    for _ in NAMES:
        other = folder / "decode" / next(name)
        other.mkdir()
        (other / "teacher.jsonl").write_text(lines, encoding="utf-8")
    named = {one: one for one in TEXTS}
    card = {"kappa": 2.0, "rule": TEXTS[1], "reference": named, "in_force": {**named, TEXTS[0]: 1}}
    (folder / "scaling.json").write_text(json.dumps({**card, "rule": HALF, HALF: HALF}))
    (folder / "environment.json").write_text(json.dumps({**named, "python": HALF, HALF: HALF}))
    (folder / "config.yaml").write_text(json.dumps({"name": TEXTS[0], **named}))
    return folder


def check(report: Path, plain_tags: list[str]) -> None:
    page = Page(without_our_script((report / "index.html").read_text(encoding="utf-8")))
    tags = [tag for tag, _ in page.tags]
    assert set(tags) <= set(plain_tags) | {"details", "summary", "ul", "li", "h3", "div", "span"}
    assert "script" not in tags
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in ("href", "src", "xlink:href"):
            where = attributes.get(name) or "#"
            assert where.startswith(("#", "data:")) or where == "results.json", (tag, attributes)
    written = (report / "report.md").read_text(encoding="utf-8")
    for mark in ("](", "![", "`", "<", "://", "www.", "@", "**", "~~", "\u202e", "\u0007"):
        own = {"**": r"(?m)^\*\*.*\*\*$"}.get(mark)
        rest = re.sub(own, "", written) if own else written
        assert not re.search(rf"(?<!\\){re.escape(mark)}", rest), (mark, written)
    for line in written.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)
            assert len(cells) >= 4


def test_all_that_has_a_name_is_shown_as_text(tmp_path: Path) -> None:
    plain = make_run(tmp_path / "plain")
    write_report(plain)
    page = Page((plain / "report/index.html").read_text(encoding="utf-8"))
    run = hostile_run(tmp_path / NAMES[0])
    write_report(run, by_fields=("speaker", "language", "a`b<i>"))
    check(run / "report", [tag for tag, _ in page.tags])
    shown = Page((run / "report/index.html").read_text(encoding="utf-8")).shown
    for text in TEXTS:
        assert " ".join(text.split()) in " ".join(shown.split())


def test_runs_side_by_side_are_called_what_they_are_called(tmp_path: Path) -> None:
    runs = [hostile_run(tmp_path / NAMES[0]), tmp_path / NAMES[2], tmp_path / NAMES[6]]
    for other in runs[1:]:
        hostile_run(other)
    page = write_comparison(runs, tmp_path / "report")
    plain = write_comparison([make_run(tmp_path / "a"), make_run(tmp_path / "b")], tmp_path / "c")
    check(page.parent, [tag for tag, _ in Page(plain.read_text(encoding="utf-8")).tags])
