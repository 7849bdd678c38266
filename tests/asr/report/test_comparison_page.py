"""Several runs on one page: metrics as of each, compared, and what differs between them."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from report_helpers import decode, parsed, train, write_lines

from asr.cli import report
from asr.errors import UserError
from asr.evaluation.significance import holm
from asr.report.run_page import write_report


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three runs: a and b differ, b and c are the same but for their recipes."""
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, wrong, rate in zip(folders, (3, 1, 1), (0.001, 0.002, 0.002), strict=True):
        decode(folder, "teacher", wrong)
        decode(folder, "student", wrong)
        train(folder, labels=True)
        card = {"in_force": {"learning_rate": rate, "eps": 1e-8}}
        (folder / "scaling.json").write_text(json.dumps(card))
        (folder / "config.yaml").write_text(
            f"name: {folder.name}\nseed: 1\noptimizer: {{learning_rate: {rate}}}\n"
        )
    return folders


def test_runs_side_by_side(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([*map(str, runs), "--note", "only a test"]) == 0
    path = runs[0].parent / "comparison" / "index.html"
    assert str(path) in capsys.readouterr().out
    page = path.read_text(encoding="utf-8")
    tags = parsed(page)
    assert "only a test" in page
    assert len(tags.values("id")) == len(set(tags.values("id")))
    assert "<code>optimizer.learning_rate</code>" in page
    assert "<code>seed</code>" not in page, "what is the same in all is no difference"
    assert (
        '<tr class="differs"><th scope="row"><span title="differs">≠</span> <code>learning_rate</code>'
        in page
    )
    assert '<tr><th scope="row"><code>eps</code>' in page
    assert re.search(
        r"b \(teacher\) is \d+\.\d\d points lower than a \(teacher\): significant", page
    )

    found = json.loads(path.with_name("results.json").read_text())
    assert set(found["sets"]["test"]) == {
        f"{run} ({model})" for run in "abc" for model in ("student", "teacher")
    }
    alone = write_report(runs[1]).with_name("results.json")
    assert (
        found["sets"]["test"]["b (teacher)"]
        == json.loads(alone.read_text())["sets"]["test"]["teacher"]
    )
    pair = found["paired"]["c (teacher)_vs_b (teacher)"]
    assert (pair["delta_wer"], pair["p_wer"]) == (0.0, 1.0)
    two = report.main([*map(str, runs[:2]), "--output", str(runs[0].parent / "two")])
    assert two == 0
    [raw] = json.loads((runs[0].parent / "two/results.json").read_text())["paired"].values()
    p = raw["p_wer"]
    adjusted = holm({"b-a": p, "c-a": p, "c-b": 1.0})
    pair = found["paired"]["b (teacher)_vs_a (teacher)"]
    assert (pair["p_wer"], pair["p_wer_holm"]) == (p, adjusted["b-a"])
    assert "b (teacher) - a (teacher)" in path.with_name("report.md").read_text()


def test_what_cannot_be_compared_is_said(runs: list[Path], tmp_path: Path) -> None:
    record = {"id": "other", "reference": "<script>", "hypothesis": "A", "seconds": 1}
    write_lines(runs[2] / "decode/test/teacher.jsonl", [record])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert report.main([*map(str, runs), str(empty)]) == 0
    page = (tmp_path / "comparison/index.html").read_text(encoding="utf-8")
    parsed(page)
    assert "a (teacher) and c (teacher) cannot be compared" in page
    assert "On test the runs have different utterances or references" in page
    assert "Nothing of test has been decoded in empty" in page
    assert "no rate is compared" in page
    assert 'class="best"' not in page


def test_misuse(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="given twice"):
        report.main([str(runs[0]), str(runs[1].parent / "b" / ".." / "a")])
    with pytest.raises(UserError, match="no such folder"):
        report.main([str(runs[0]), str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="go with one run"):
        report.main([*map(str, runs), "--no-audio"])
    with pytest.raises(UserError, match="name it as one of them"):
        report.main([*map(str, runs), "--baseline", str(runs[0])])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for parent in ("x", "y"):
        decode(tmp_path / parent / "run", "teacher", 1)
    assert report.main([str(tmp_path / "x/run"), str(tmp_path / "y/run")]) == 0
    found = json.loads((tmp_path / "comparison/results.json").read_text())
    assert set(found["sets"]["test"]) == {"x/run (teacher)", "y/run (teacher)"}


@pytest.mark.parametrize("name", ["a_vs_b", "_hidden", r"m$\frac{a$", "<b>", "long " * 20, "语音"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    for run in (name, "plain"):
        decode(tmp_path / run, "teacher", 1)
        train(tmp_path / run, labels=True)
    assert report.main([str(tmp_path / name), str(tmp_path / "plain")]) == 0
    page = (tmp_path / "comparison/index.html").read_text(encoding="utf-8")
    parsed(page)
    assert "<b>" not in page.replace("<b style", "")
    text = (tmp_path / "comparison/report.md").read_text(encoding="utf-8")
    assert "<b>" not in text
    shown = html.unescape(re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", text))  # as Markdown's readers do
    assert f"plain (teacher) - {' '.join(name.split())} (teacher)" in " ".join(shown.split())


def test_runs_under_different_normalisers_are_not_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        decode(tmp_path / name, "teacher", 1)
    (tmp_path / "b/config.yaml").write_text("corpus: {scoring_normaliser: lower}\n")
    both = [str(tmp_path / name) for name in ("a", "b")]
    assert report.main(both) == 0
    found = json.loads((tmp_path / "comparison/results.json").read_text())
    assert found["normalisers"] == {"a": "none/1", "b": "lower/1"}
    assert found["paired"] == {}
    for file in ("index.html", "report.md"):
        said = (tmp_path / "comparison" / file).read_text(encoding="utf-8")
        assert "different normalisers (a: none/1, b: lower/1)" in said
        assert 'class="best"' not in said
    assert report.main([*both, "--normaliser", "lower"]) == 0
    found = json.loads((tmp_path / "comparison/results.json").read_text())
    assert found["normalisers"] == {"a": "lower/1", "b": "lower/1"}
    assert found["paired"]
    with pytest.raises(UserError, match="--compare goes with one run"):
        report.main([*both, "--compare", "a:b"])
