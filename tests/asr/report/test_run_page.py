"""A run's page is complete, and survives whatever a run lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_helpers import decode, parsed, train

from asr.__main__ import main
from asr.errors import UserError
from asr.evaluation import results
from asr.evaluation.hypotheses import read_decoded
from asr.evaluation.normalisers import make_normaliser
from asr.report.run_page import write_report


def test_whole_report(run: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "supervised"
    baseline.mkdir()
    train(baseline, labels=False)
    path = write_report(run, baseline, note="A quick run: its results prove nothing.")
    assert path == run / "report/index.html"
    page = path.read_text(encoding="utf-8")
    tags = parsed(page)
    assert tags.values("lang")[0] == "en"
    assert "A quick run: its results prove nothing." in page
    assert "my run" in page
    assert "supervised teacher" in page
    assert "pseudo-labels from here" in page
    assert "too short 40" in page
    assert "Confidence is measured by likelihood." in page
    assert "0.0014" in page
    assert "abababababab…" in page
    assert page.count("<svg") == page.count('role="img"') == 6
    identifiers = tags.values("id")
    assert len(identifiers) == len(set(identifiers))
    assert not list(path.parent.glob("*.tmp"))


def test_page_is_the_same_each_time(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_results_json_is_what_score_builds(run: Path) -> None:
    write_report(run)
    written = json.loads((run / "report/results.json").read_text())
    none = make_normaliser("none")
    assert written == results.build_results(results.align_sets(read_decoded(run), none), none)
    assert set(written["sets"]["test"]) == {"supervised", "student", "teacher"}
    pair = written["paired"]["teacher_vs_supervised"]
    of_pair = {"delta_wer", "p_wer", "delta_cer", "p_cer", "p_wer_holm", "p_cer_holm"}
    assert set(pair) == of_pair | {"first", "second"}
    assert pair["delta_wer"] < 0


def test_each_text_is_counted_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    align = results.align

    def counting(utterances: list[Any]) -> Any:
        counted.extend(one.id for one in utterances)
        return align(utterances)

    monkeypatch.setattr(results, "align", counting)
    write_report(run)
    assert len(counted) == 3 * 40


def test_page_says_which_weights_the_baseline_s_figure_is_of(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    assert "is that of its own average (EMA) weights" in page
    assert "<code>supervised_student</code> is the baseline's raw student" in page


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
    assert written == {"normaliser": "none/1", "sets": {}, "paired": {}, "by": {}}


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


def test_malformed_hypotheses_are_the_users_to_fix(run: Path) -> None:
    (run / "decode/test/student.jsonl").write_text("oops\n")
    with pytest.raises(UserError, match=r"student\.jsonl, line 1: not JSON"):
        write_report(run)
    with pytest.raises(UserError, match="no such folder"):
        write_report(run / "nowhere")


def test_commonest_errors_and_further_breakdowns(run: Path) -> None:
    page = write_report(run, by_fields=("duration", "speaking_rate")).read_text()
    assert 'id="errors"' in page
    assert "Substitutions" in page
    results = json.loads((run / "report" / "results.json").read_text())
    assert set(results["by"]) <= {"duration", "speaking_rate"}


def test_a_pretrained_model_is_compared_as_the_recipe_says(run: Path) -> None:
    for model, wrong in (("zero_shot", 3), ("student_beam", 1)):
        decode(run, model, wrong)
    (run / "decode/test/supervised.jsonl").unlink()
    (run / "config.yaml").write_text("name: my run\ncorpus: {scoring_normaliser: lower}\n")
    asked = ["report", str(run), "--no-audio", "--compare", "student_beam:zero_shot"]
    assert main(asked) == 0
    page = (run / "report/index.html").read_text(encoding="utf-8")
    parsed(page)
    assert "points lower than the pretrained model&#39;s" in page
    assert "Zero-shot (as pretrained)" in page
    assert "Texts are compared under the normaliser lower/1." in page
    assert "w0" in page, "the worst utterances are shown as they are compared"
    text = (run / "report/report.md").read_text(encoding="utf-8")
    assert "Texts are compared under the normaliser lower/1." in text
    assert "student_beam - Zero-shot (as pretrained)" in text
    written = json.loads((run / "report/results.json").read_text())
    assert written["normaliser"] == "lower/1"
    assert set(written["paired"]) == {
        *("teacher_vs_student", "teacher_vs_zero_shot", "student_beam_vs_zero_shot")
    }
    assert main([*asked, "--compare", "teacher:nobody"]) == 2
    assert main([*asked, "--normaliser", "none"]) == 0
    assert json.loads((run / "report/results.json").read_text())["normaliser"] == "none/1"
