"""Labels from outside in a run: found, spelt, filtered, counted as ours; the hand-over to the average."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from check_helpers import check
from conftest import Train, read_lines, without_wall_time
from ledger_helpers import make_ledger
from method_helpers import CACHE, ledger

from asr.__main__ import main
from asr.config.pseudo_label import FilterConfig, HealthConfig
from asr.config.recipe import parse_config
from asr.data.dataset import SpeechSet
from asr.errors import UserError
from asr.model.tokenizer import CharacterTokenizer
from asr.planning.rule_notes import rule_notes
from asr.pseudo_labels.filters import Dropped, judge
from asr.pseudo_labels.health import shown_metrics
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.label_counts import LabelCounts
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.ledger_report import by_hours_of
from asr.pseudo_labels.outside.outside_labels import OutsideLabels
from asr.pseudo_labels.records import LabelRecord

TSV = "a\tAB CD\t0.9\nb\tA.\t0.9\nc\tab\t0.2\nd\t\t0.9\ne\tabcd\t\n"


def outside(folder: Path, tsv: str = TSV, **policy: Any) -> OutsideLabels:
    (folder / "x.tsv").write_text(tsv, encoding="utf-8")
    labels = {"start_hours": 1, "teacher": "file"}
    tree = {
        "corpus": {"untranscribed": ["some"]},
        "pseudo_label": {**labels, "outside": {"files": [str(folder / "x.tsv")], **policy}},
    }
    found = OutsideLabels.load(parse_config(tree, "test"), CharacterTokenizer("abcd"))
    assert found is not None
    return found


def chosen(labels: OutsideLabels, ids: str, *teacher: tuple[str, float], hours: float = 1.0) -> str:
    """Source, text and reason of each label, beside a teacher's texts and confidences."""
    spell = labels.tokenizer.encode
    found = labels.choose(
        list(ids),
        hours,
        lambda: [Label(spell(text), LabelMetrics(sure, 0, 0)) for text, sure in teacher],
    )
    return " ".join(
        f"{one.source[0]}:{labels.tokenizer.decode(one.tokens).replace(' ', '_')}"
        + (f":{one.dropped}" if one.dropped else "")
        for one in found
    )


def test_outside_labels_alone_ask_no_teacher(tmp_path: Path) -> None:
    labels = outside(tmp_path)
    found = labels.choose(list("abdz"), 1.0, lambda: pytest.fail("asked"))
    assert [labels.tokenizer.decode(one.tokens) for one in found] == ["ab cd", "", "", ""]
    assert [one.dropped for one in found] == [None, "unspellable", None, "unlabelled"]
    assert found[1].text == "A.", "the ledger shows what could not be spelt"
    assert found[0].metrics.confidence == 0.9
    assert math.isnan(found[0].metrics.entropy)
    assert all(one.source == "outside" for one in found)
    stripped = outside(tmp_path, normaliser="librispeech")
    assert chosen(stripped, "b") == "o:a", (
        "the normaliser takes the full stop, and its capitals are folded"
    )


def test_until_an_hour_outside_labels_and_the_average_s_from_then_on(tmp_path: Path) -> None:
    labels = outside(tmp_path, until_hours=2)
    assert chosen(labels, "ac", hours=1.99) == "o:ab_cd o:ab"
    assert chosen(labels, "az", ("d", 0.1), ("c", 0.1), hours=2.0) == "t:d t:c"


def test_the_more_confident_label_of_each_utterance(tmp_path: Path) -> None:
    labels = outside(tmp_path, choose="more_confident")
    teacher = [("d", 0.5)] * 5
    # a is surer outside; b cannot be spelt, c is surer here, e has no confidence, z no outside label.
    assert chosen(labels, "abcez", *teacher) == "o:ab_cd t:d t:d t:d t:d"
    with pytest.raises(UserError, match="choose more_confident needs confidences"):
        outside(tmp_path, "a\tab\n", choose="more_confident")


def test_only_labels_on_which_both_agree(tmp_path: Path) -> None:
    labels = outside(tmp_path, choose="agreeing", max_disagreement=0.5)
    teacher = [("ab cd", 0.5), ("a", 0.5), ("dd", 0.5), ("bcd", 0.5), ("a", 0.5), ("", 0.5)]
    assert chosen(labels, "abcezd", *teacher) == (
        "o:ab_cd o::unspellable o:ab:disagreeing o:abcd o::unlabelled o:"
    )


def test_labels_without_confidence_or_without_text_are_judged_and_not_averaged() -> None:
    label = Label([1] * 10, LabelMetrics(math.nan, math.nan, math.nan, "outside"), source="outside")
    assert judge(label, 1.0, 10.0, None, FilterConfig()) is None
    assert judge(label, 1.0, 10.0, None, FilterConfig(min_confidence=0.1)) == Dropped.LOW_CONFIDENCE
    sure = Label([1] * 10, LabelMetrics(0.5, 0.1, 0.3))
    nothing = Label([], label.metrics, dropped=Dropped.UNLABELLED, source="outside")
    rows = [LabelRecord((0, 0), "u", 1.0, one, "", None, None) for one in (label, sure, nothing)]
    counts = LabelCounts.of(rows, HealthConfig(), 10.0)
    assert (counts.labels, counts.broken) == (2, 0), "nothing is no broken label"
    shown = shown_metrics(counts, 10.0)
    assert (shown["pseudo_label_confidence"], shown["pseudo_label_entropy"]) == (0.5, 0.3)


def test_files_that_do_not_fit_are_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(UserError, match=r"needs outside\.files"):
        parse_config({"pseudo_label": {"teacher": "file"}}, "test")
    with pytest.raises(UserError, match="are for teacher file"):
        parse_config({"pseudo_label": {"outside": {"files": ["x"]}}}, "test")
    with pytest.raises(UserError, match=r"utterance 'a' is in .*x\.tsv and in a file before it"):
        outside(tmp_path, files=[str(tmp_path / "x.tsv")] * 2)
    speech = SpeechSet.load(corpus / "untranscribed.jsonl.gz")
    labels = outside(tmp_path)
    assert labels.of(speech).covered(speech) == 0


def test_lines_that_name_their_audio_alone_are_found_by_it(tmp_path: Path, corpus: Path) -> None:
    speech = SpeechSet.load(corpus / "untranscribed.jsonl.gz")
    lines = [{"audio_filepath": file, "pred_text": "ab"} for file in speech.files[:3]]
    lines.append({"audio_filepath": "nowhere.wav", "pred_text": "ab"})
    path = tmp_path / "nemo.json"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    labels = outside(tmp_path, files=[str(path)]).of(speech)
    assert labels.covered(speech) == 3
    assert [one.dropped for one in labels.choose(speech.ids[2:4], 0, list)] == [None, "unlabelled"]


@pytest.fixture
def file_of_labels(corpus: Path, tmp_path: Path) -> Path:
    """Of 30 of the 40 utterances, in capitals; one of them cannot be spelt."""
    rows = (corpus / "references" / "untranscribed.tsv").read_text(encoding="utf-8").splitlines()
    rows = [f"{row.split(chr(9))[0]}\t{row.split(chr(9))[1].upper()}\t0.75" for row in rows[:30]]
    rows[0] = rows[0].replace("\t0.75", "!\t0.75")
    path = tmp_path / "outside.tsv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_a_run_learns_from_a_file_and_then_from_its_average(
    train: Train, recipe: Path, file_of_labels: Path
) -> None:
    files = ["pseudo_label.teacher=file", f"pseudo_label.outside.files=[{file_of_labels}]"]
    run = train("run", *files, "pseudo_label.outside.until_hours=0.04")
    rows = ledger(run)
    outside_rows = [row for row in rows if row["source"] == "outside"]
    assert all(row["hours"] < 0.04 for row in outside_rows)
    assert all(row["hours"] >= 0.04 for row in rows if row["source"] == "teacher")
    assert 0 < len(outside_rows) < len(rows)
    reasons = Counter(row["dropped"] for row in outside_rows)
    assert reasons["unlabelled"] > 0
    nothing = [row for row in outside_rows if row["dropped"] in ("unlabelled", "unspellable")]
    assert all(row["words"] is None for row in nothing), "nothing has no errors"
    used = [row for row in outside_rows if row["dropped"] is None]
    assert all(row["word_errors"] == 0 and row["words"] > 0 for row in used), "the references"
    assert all(row["confidence"] == 0.75 and row["entropy"] is None for row in used)
    counted: Counter[str] = Counter()
    for line in read_lines(run / "metrics.jsonl"):
        counted.update(line.get("pseudo_labels_dropped") or {})
    assert counted["unlabelled"] == reasons["unlabelled"]
    state = json.loads(next((run / "checkpoints").glob("*/state.json")).read_text(encoding="utf-8"))
    [sha256] = state["labelling"]["decision"]["outside files"]
    assert len(sha256) == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule",
    [
        [],
        CACHE,
        ["pseudo_label.schedule=rounds", "pseudo_label.rounds.every_hours=0.006"],
        ["pseudo_label.outside.choose=more_confident"],
        ["pseudo_label.outside.choose=agreeing", "pseudo_label.outside.max_disagreement=0.9"],
    ],
)
def test_a_run_on_outside_labels_resumes_exactly(
    schedule: list[str], train: Train, file_of_labels: Path
) -> None:
    files = ["pseudo_label.teacher=file", f"pseudo_label.outside.files=[{file_of_labels}]"]
    settings = [*files, *schedule, "pseudo_label.outside.until_hours=0.04"]
    whole = train("whole", *settings)
    train("parts", *settings, "trainer.total_hours=0.025")
    parts = train("parts", *settings)
    # The one that stopped was evaluated where it stopped, besides.
    updates = [[m for m in without_wall_time(run) if "loss" in m] for run in (parts, whole)]
    assert updates[0] == updates[1]
    assert ledger(parts) == ledger(whole)
    assert {"outside", "teacher"} == {row["source"] for row in ledger(whole)}


@pytest.mark.slow
def test_a_file_that_changed_is_said(
    train: Train, file_of_labels: Path, capfd: pytest.CaptureFixture[str], recipe: Path
) -> None:
    files = ["pseudo_label.teacher=file", f"pseudo_label.outside.files=[{file_of_labels}]"]
    run = train("run", *files, "trainer.total_hours=0.03")
    file_of_labels.write_text(file_of_labels.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert main(["train", str(recipe), f"output={run}", *files]) == 0
    assert "decided its labels otherwise (outside files)" in "".join(capfd.readouterr())


def test_a_check_says_what_a_file_covers(
    recipe: Path,
    tmp_path: Path,
    corpus: Path,
    file_of_labels: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = ["pseudo_label.teacher=file", f"pseudo_label.outside.files=[{file_of_labels}]"]
    status, said = check(capsys, recipe, f"output={tmp_path / 'run'}", *files)
    assert status == 0
    assert "of 30 of 40 utterances of 'untranscribed' (75%); the others are left out" in said
    assert "1 of 30 labels cannot be spelt" in said
    assert "it lacks '!' 1" in said
    assert "set pseudo_label.outside.normaliser: librispeech: it spells 1 of them" in said
    assert "where it begins to label" not in said, "the average never does"
    other = tmp_path / "other.tsv"
    other.write_text("x\tab\ny\tÄÖ\nz\tÄ\n", encoding="utf-8")
    odd = ["pseudo_label.teacher=file", f"pseudo_label.outside.files=[{other}]"]
    status, said = check(
        capsys, recipe, f"output={tmp_path / 'run'}", *odd, "pseudo_label.outside.until_hours=0.01"
    )
    assert status == 2
    for part in (
        "none has a label; ids there are like 'x', and here like 'u1-000'",
        "2 of 3 labels cannot be spelt with the tokenizer",
        "it lacks 'Ä' 2, 'Ö' 1\n  remedy: take a tokenizer that has these characters",
        "until_hours 0.01 is not after the start",
    ):
        assert part in said
    status, said = check(
        capsys,
        recipe,
        *odd,
        "pseudo_label.filters.min_confidence=0.5",
        f"output={tmp_path / 'run'}",
    )
    assert "min_confidence 0.5 needs confidences" in said
    missing = ["pseudo_label.teacher=file", "pseudo_label.outside.files=[nowhere.tsv]"]
    status, said = check(capsys, recipe, f"output={tmp_path / 'run'}", *missing)
    assert "pseudo_label.outside.files: nowhere.tsv does not exist" in said


def test_the_average_s_start_counts_from_the_hand_over(tmp_path: Path) -> None:
    def notes(**policy: Any) -> str:
        (tmp_path / "x.tsv").write_text(TSV)
        outside = {"files": [str(tmp_path / "x.tsv")], **policy}
        labels = {"start_hours": 5, "teacher": "file", "outside": outside}
        tree = {"corpus": {"untranscribed": ["some"]}, "pseudo_label": labels}
        return "\n".join(rule_notes(parse_config(tree, "test")))

    assert "begins to label" not in notes()
    assert "at 7 h, where it begins to label" in notes(until_hours=7)
    assert "at 5 h, where it begins to label" in notes(choose="agreeing", until_hours=7)


def test_what_a_ledger_shows_of_labels_from_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside_metrics = LabelMetrics(math.nan, math.nan, math.nan, "outside")
    label = Label([1], outside_metrics, 1.0, math.nan, Dropped.UNSPELLABLE, "outside")
    run = make_ledger(tmp_path / "run")
    records = LabelLedger(run, 4)
    records.note_labels(5, [LabelRecord((0, 9), "c", 2.0, label, "Ä", None, None)])
    records.write(5)
    assert main(["labels", "stats", str(run)]) == 0
    said = capsys.readouterr().out
    assert "labels by 6 teacher, 1 outside" in said
    assert "1 unspellable" in said
    total = by_hours_of(run)["all"]
    assert (total["labels"], total["empty"]) == (7, 0.5), "nothing is no empty label"
    assert main(["labels", "worst", str(run), "--count", "9"]) == 0
    path = tmp_path / "outside" / "pseudo_labels"
    ledger_of_one = LabelLedger(path.parent, 0)
    ledger_of_one.note_labels(1, [LabelRecord((0, 9), "c", 2.0, label, "Ä", None, None)])
    ledger_of_one.write(1)
    assert main(["labels", "worst", str(path.parent)]) == 0
    assert "confidence unknown" in capsys.readouterr().out
