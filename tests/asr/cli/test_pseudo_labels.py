"""What `asr labels` refuses."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from ledger_helpers import make_ledger

from asr.__main__ import main
from asr.pseudo_labels.outside.label_files import read_labels


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_ledger(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats", "nowhere"], "holds no labels"),
        (["stats", "RUN", "--every", "0"], "a number of hours above 0"),
        (["stats", "RUN", "--every", "-1"], "a number of hours above 0"),
        (["diff", "RUN", "--from", "2", "--to", "1"], "the first must be the earlier"),
        (["diff", "RUN", "RUN", "--from", "0"], "two times of one run"),
        (["worst", "RUN", "-n", "0"], "at least 1"),
        (["diff", "RUN", "--from", "0.5"], "labels were made from 1.00 to 3.00 h"),
        (["diff", "RUN", "RUN", "--from", "1"], "two times of one run"),
    ],
)
def test_errors_are_a_line(
    arguments: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(run) if argument == "RUN" else argument for argument in arguments]
    assert main(["labels", *given]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("kind", ["lhotse", "nemo", "kaldi", "tsv", "asr"])
def test_labels_of_a_run_for_other_toolkits(
    kind: str, trained: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the format, `read_labels` gives back what the ledger says last of each utterance."""
    ledger = {name: label for name, label in read_labels(trained).items() if label.text}
    output = tmp_path / "out of it"
    command = ["labels", "export", str(trained), "--to", kind, "--output", str(output)]
    assert main([*command, "--dropped", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    back = read_labels(Path(said["path"]))
    assert said["labels"] == len(back)
    assert said["without_audio"] == 0
    for name, label in ledger.items():
        assert back[name].text == label.text
        assert back[name].confidence == pytest.approx(label.confidence)
    if kind == "nemo":
        lines = [json.loads(line) for line in Path(said["path"]).read_text().splitlines()]
        assert all(Path(line["audio_filepath"]).is_file() for line in lines)


def test_what_filters_leave_out_is_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["labels", "export", str(run), "--output", str(tmp_path / "out"), "--to"]
    assert main([*command, "tsv"]) == 0
    said = capsys.readouterr().out
    assert "1 labels: " in said
    assert "left out: 1 empty" in said
    assert "the recordings of 1 are not known here" in said
    assert (tmp_path / "out/labels.tsv").read_text().splitlines()[1].startswith("a\tababab\t0.9")
    assert main([*command, "tsv", "--at", "2"]) == 0
    assert (tmp_path / "out/labels.tsv").read_text().splitlines()[1].startswith("a\tabab\t")
    assert main([*command, "tsv", "--min-confidence", "0.95"]) == 2
    assert "no label passes the filters (1 low confidence, 1 empty)" in capsys.readouterr().err
    assert main([*command, "tsv", "--max-wer-estimate", "10"]) == 2
    assert "1 high estimate of WER" in capsys.readouterr().err
    assert main([*command, "tsv", "--max-seconds", "1.5"]) == 2
    assert "1 length" in capsys.readouterr().err
    assert main([*command, "tsv", "--at", "0.5"]) == 2
    assert "the first is of 1 h" in capsys.readouterr().err
    assert main([*command, "nemo"]) == 2
    assert "has no audio file of its own" in capsys.readouterr().err


def test_the_worst_link_to_their_recordings(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["labels", "worst", str(trained), "-n", "3"]) == 0
    links = [line.strip() for line in capsys.readouterr().out.splitlines() if "file://" in line]
    assert len(links) == 3
    for link in links:
        assert Path(unquote(urlparse(link).path)).is_file()
