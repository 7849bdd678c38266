"""A linear layer on frozen features reads what they hold, and is the same for the same seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from report_helpers import make_run
from whisper_helpers import write_checkpoint, write_whisper

from asr.__main__ import main
from asr.errors import UserError
from asr.model.ctc import best_paths
from asr.planning.audit.metrics import Cell
from asr.planning.audit.probes import probe_curves
from asr.report.run_page import write_report
from asr.training.probing.head import HeadSettings, train_head
from asr.utils.files import read_json


def probe(run: Path, corpus: Path, *options: str) -> dict[str, object]:
    sets = ["--labelled", str(corpus / "labelled.jsonl.gz"), "--set", str(corpus / "dev.jsonl.gz")]
    assert main(["probe", str(run), *sets, "--device", "cpu", *options]) == 0
    name = "teacher_block1" if "--block" in options else "teacher"
    found: dict[str, object] = read_json(run / "probes" / "dev" / f"{name}.json")
    return found


def test_it_reads_tones_from_a_network_that_knows_them(
    fluent: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(fluent, tmp_path / "run"))
    found = probe(run, corpus, "--updates", "60", "--labelled-minutes", "1")
    score = found["score"]
    assert isinstance(score, dict)
    assert score["cer"] < 10.0
    said = capsys.readouterr().out
    assert "60 updates on 1.0 minutes" in said
    assert "probe_teacher     0.00      [0.00, 0.00]" in said
    again = probe(run, corpus, "--updates", "60", "--labelled-minutes", "1")
    assert again == found, "the same seed, the same layer"
    other = probe(run, corpus, "--updates", "60", "--labelled-minutes", "1", "--seed", "2")
    assert other["head_sha256"] != found["head_sha256"]
    first = probe(run, corpus, "--updates", "60", "--block", "1")
    assert isinstance(first["score"], dict)
    assert first["score"]["cer"] > score["cer"]
    assert (run / "decode/dev/probe_teacher_block1.jsonl").is_file()
    for options, message in (
        (["--block", "3"], "the encoder has 2 that can be heard"),
        (["--memory-gb", "0.00001"], "say --labelled-minutes"),
    ):
        refused(capsys, run, corpus / "labelled.jsonl.gz", corpus, options, message)
    refused(capsys, run, corpus / "dev.jsonl.gz", corpus, [], "8 of 8 utterances of")
    page = write_report(run).read_text(encoding="utf-8")
    assert "Linear probes" in page
    assert "1.0 minutes" in page
    assert [one["block"] for one in read_json(run / "report/results.json")["probes"]] == [None, 1]


def refused(
    capsys: pytest.CaptureFixture[str],
    run: Path,
    labelled: Path,
    corpus: Path,
    options: list[str],
    message: str,
) -> None:
    sets = ["--labelled", str(labelled), "--set", str(corpus / "dev.jsonl.gz")]
    assert main(["probe", str(run), *sets, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--updates", "0"], "--updates 0 is too small"),
        (["--learning-rate", "-1"], "--learning-rate -1 is too small"),
        (["--labelled", "nowhere.jsonl.gz"], "nowhere.jsonl.gz"),
    ],
)
def test_what_cannot_be_probed_is_refused(
    fluent: Path,
    corpus: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    refused(capsys, fluent, corpus / "labelled.jsonl.gz", corpus, options, message)
    assert not (fluent / "probes").exists()


def test_what_is_no_run_of_frames_is_named(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    write_whisper(tmp_path / "whisper")
    windows = write_checkpoint(tmp_path / "run", tmp_path / "whisper")
    for folder, message in (
        (tmp_path / "nowhere", "nowhere: neither a checkpoint"),
        (tmp_path / "empty", "empty: neither a checkpoint"),
        (tmp_path / "whisper", "whisper: a model of others (config.json), not trained here"),
        (windows, "run: an encoder-decoder, whose encoder hears windows and not utterances"),
    ):
        refused(capsys, folder, corpus / "labelled.jsonl.gz", corpus, [], message)


def test_a_spoilt_result_is_named_by_audit_and_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    spoilt = (
        "{",
        "[1]",
        '{"score": 3}',
        '{"score": {"cer": NaN}}',
        '{"score": {"cer": "3"}}',
        "\0",
    )
    paths = [run / f"probes/set{n}/teacher.json" for n in range(len(spoilt))]
    for path, content in zip(paths, spoilt, strict=True):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    page = write_report(run, normaliser="none").read_text(encoding="utf-8")
    assert page.count("left out") >= len(spoilt)
    assert "Linear probes" not in page
    for path in paths:
        with pytest.raises(UserError, match=rf"{path}: damaged") as told:
            probe_curves({Cell(1.0, "full", 1): run}, 1.0)
        assert "delete the file" in told.value.remedy
        path.unlink()
    assert probe_curves({Cell(1.0, "full", 1): run}, 1.0) == {Cell(1.0, "full", 1): {}}


def test_the_layer_takes_frames_as_they_are_whatever_their_scale() -> None:
    """Channels of very unlike scales: the trained layer is that of standardised ones."""
    random = torch.Generator().manual_seed(1)
    frames, targets = [], []
    for _ in range(8):
        tokens = torch.randint(1, 4, (5,), generator=random).tolist()
        marks = torch.zeros(15, 4)
        for place, token in enumerate(tokens):
            marks[3 * place + 1, token] = 1.0
        frames.append(marks * torch.tensor([1.0, 1e-3, 1.0, 1e3]) + 7.0)
        targets.append(tokens)
    head = train_head(frames, targets, 4, HeadSettings(updates=150, learning_rate=0.1))
    assert head.last_loss < 0.1 < head.first_loss
    logits = torch.stack([head.layer(one) for one in frames])
    assert best_paths(logits, torch.full((8,), 15)) == targets
