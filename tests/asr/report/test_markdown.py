"""The Markdown says what the JSON says."""

from __future__ import annotations

import json
from pathlib import Path

from asr.report.run_page import write_report


def test_markdown_says_what_the_json_says(run: Path) -> None:
    write_report(run)
    text = (run / "report" / "report.md").read_text()
    results = json.loads((run / "report" / "results.json").read_text())
    for models in results["sets"].values():
        for metrics in models.values():
            assert f"{metrics['wer']:.2f} [{metrics['wer_low']:.2f}" in text
    assert "Teacher (EMA) - Supervised baseline" in text
    assert all(line.count("|") >= 3 for line in text.splitlines() if line.startswith("|"))
