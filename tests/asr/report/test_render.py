"""A page is safe and self-contained."""

from __future__ import annotations

import json
import re
from pathlib import Path

from report_helpers import parsed, without_our_script, write_lines

from asr.report.run_page import write_report


def test_page_needs_no_network_and_no_script_but_its_own(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    tags = parsed(without_our_script(page))
    assert "@import" not in page
    assert tags.values("src") == []
    for address in [*tags.values("href"), *tags.values("xlink:href")]:
        assert address.startswith("#") or address == "results.json"
    assert all(address.startswith("(#") for address in re.findall(r"url(\([^)]*\))", page))


def test_what_others_wrote_is_escaped(run: Path) -> None:
    attack = "<script>alert(1)</script> \"'><img/onerror=x>"
    record = {"id": attack, "reference": attack, "hypothesis": "A", "seconds": 1, "speaker": attack}
    write_lines(run / "decode/test/teacher.jsonl", [record])
    for model in ("student", "supervised"):
        (run / f"decode/test/{model}.jsonl").unlink()
    (run / "environment.json").write_text(json.dumps({attack: attack}))
    (run / "config.yaml").write_text(json.dumps({"name": attack}))
    write_lines(
        run / "metrics.jsonl",
        [
            {"step": 1, "hours": h, "set": attack, "model": "teacher", "wer": 9, "cer": 9}
            for h in (1, 2)
        ],
    )
    page = write_report(run, note=attack).read_text(encoding="utf-8")
    parsed(without_our_script(page))
    assert "<img" not in page
    assert "&lt;script&gt;" in page
