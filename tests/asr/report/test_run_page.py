"""The page is complete, safe and self-contained, and survives whatever a run lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_helpers import decode, parsed, train, write_lines

from asr.cli import report
from asr.errors import UserError
from asr.evaluation import edit_distance as edits
from asr.evaluation import results
from asr.evaluation.hypotheses import read_decoded
from asr.report.run_page import write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with everything."""
    folder = tmp_path / "run"
    for model, wrong in (("supervised", 3), ("student", 2), ("teacher", 1)):
        decode(folder, model, wrong)
    train(folder, labels=True)
    card = {
        "kappa": 2.0,
        "reference": {"learning_rate": 0.001},
        "in_force": {"learning_rate": 0.0014},
    }
    (folder / "scaling.json").write_text(json.dumps(card))
    (folder / "environment.json").write_text(json.dumps({"torch": "2.9", "gpus": 8}))
    (folder / "config.yaml").write_text("name: my run\npseudo_label:\n  start_hours: 1.0\n")
    (folder / "decode/test/teacher.stamp.json").write_text(
        json.dumps({"weights_sha256": "ab" * 32})
    )
    return folder


def test_whole_report(run: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "supervised"
    baseline.mkdir()
    train(baseline, labels=False)
    path = write_report(run, baseline, note="A quick run: its figures prove nothing.")
    assert path == run / "report/index.html"
    page = path.read_text(encoding="utf-8")
    tags = parsed(page)
    assert tags.values("lang")[0] == "en"
    assert "A quick run: its figures prove nothing." in page
    assert "my run" in page
    assert "supervised teacher" in page
    assert "pseudo-labels from here" in page
    assert "too short 40" in page
    assert "0.0014" in page
    assert "abababababab…" in page
    assert page.count("<svg") == page.count('role="img"') == 6
    identifiers = tags.values("id")
    assert len(identifiers) == len(set(identifiers))
    assert not list(path.parent.glob("*.tmp"))


def test_page_needs_no_network_and_no_script(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    tags = parsed(page)
    assert "<script" not in page
    assert "@import" not in page
    assert tags.values("src") == []
    for address in [*tags.values("href"), *tags.values("xlink:href")]:
        assert address.startswith("#") or address == "results.json"
    assert all(address.startswith("(#") for address in re.findall(r"url(\([^)]*\))", page))


def test_page_is_the_same_each_time(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_results_json_is_what_score_builds(run: Path) -> None:
    write_report(run)
    written = json.loads((run / "report/results.json").read_text())
    assert written == results.build_results(results.align_sets(read_decoded(run)))
    assert set(written["sets"]["test"]) == {"supervised", "student", "teacher"}
    pair = written["paired"]["teacher_vs_supervised"]
    assert set(pair) == {"delta_wer", "p_wer", "delta_cer", "p_cer"}
    assert pair["delta_wer"] < 0


def test_each_text_is_aligned_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    jiwer_outputs = edits.jiwer_outputs

    def counting(references: list[str], hypotheses: list[str]) -> Any:
        counted.extend(references)
        return jiwer_outputs(references, hypotheses)

    monkeypatch.setattr(edits, "jiwer_outputs", counting)
    write_report(run)
    assert len(counted) == 3 * 40


def test_page_says_which_weights_the_baseline_s_figure_is_of(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    assert "is that of its own average (EMA) weights" in page
    assert "<code>supervised_student</code> is the baseline's raw student" in page


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
    parsed(page)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_empty_run(tmp_path: Path) -> None:
    page = write_report(tmp_path).read_text(encoding="utf-8")
    parsed(page)
    for words in (
        "Nothing has been decoded yet",
        "no evaluation in metrics.jsonl",
        "No loss was logged",
        "No pseudo-labels were used",
        "no scaling.json",
        "no environment.json",
    ):
        assert words in page
    written = json.loads((tmp_path / "report/results.json").read_text())
    assert written == {"sets": {}, "paired": {}, "by": {}}


@pytest.mark.parametrize(
    "missing", ["scaling.json", "environment.json", "config.yaml", "metrics.jsonl"]
)
def test_any_part_may_be_missing(run: Path, missing: str) -> None:
    (run / missing).unlink()
    parsed(write_report(run).read_text(encoding="utf-8"))


@pytest.mark.parametrize("missing", ["supervised", "student", "teacher"])
def test_any_model_may_be_missing(run: Path, missing: str) -> None:
    (run / f"decode/test/{missing}.jsonl").unlink()
    page = write_report(run).read_text(encoding="utf-8")
    parsed(page)
    assert ("here to compare with" in page) == (missing != "student")


def test_run_without_pseudo_labels_says_so(tmp_path: Path) -> None:
    train(tmp_path, labels=False)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "No pseudo-labels were used in this run." in page
    assert "No supervised run was given" in page
    assert "pseudo-labels from here" not in page


def test_broken_files_are_named_on_the_page(run: Path) -> None:
    (run / "scaling.json").write_text("{")
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 31, "hou')
    page = write_report(run).read_text(encoding="utf-8")
    assert "scaling.json is not readable as JSON" in page
    assert "1 unreadable lines" in page


def test_malformed_hypotheses_are_the_users_to_mend(run: Path) -> None:
    (run / "decode/test/student.jsonl").write_text("oops\n")
    with pytest.raises(UserError, match=r"student\.jsonl, line 1: not JSON"):
        write_report(run)
    with pytest.raises(UserError, match="no such folder"):
        write_report(run / "nowhere")


def test_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(run), "--note", "only a test"]) == 0
    assert "index.html" in capsys.readouterr().out
    assert "only a test" in (run / "report/index.html").read_text(encoding="utf-8")


def test_commonest_errors_and_further_breakdowns(run: Path) -> None:
    page = write_report(run, by_fields=("duration", "speaking_rate")).read_text()
    assert 'id="errors"' in page
    assert "Substitutions" in page
    results = json.loads((run / "report" / "results.json").read_text())
    assert set(results["by"]) <= {"duration", "speaking_rate"}


def test_markdown_says_what_the_json_says(run: Path) -> None:
    write_report(run)
    text = (run / "report" / "report.md").read_text()
    results = json.loads((run / "report" / "results.json").read_text())
    for models in results["sets"].values():
        for figures in models.values():
            assert f"{figures['wer']:.2f} [{figures['wer_low']:.2f}" in text
    assert "Teacher (EMA) - Supervised baseline" in text
    assert all(line.count("|") >= 3 for line in text.splitlines() if line.startswith("|"))
