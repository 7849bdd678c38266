"""Sets of speech: their cuts, their texts, their stored features."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Train, read_lines
from lhotse import CutSet
from manifest_helpers import line, write

from asr.__main__ import main
from asr.data.dataset import SpeechSet


def test_lhotse_reads_the_same(corpus: Path) -> None:
    manifest = corpus / "labelled.jsonl.gz"
    theirs = sorted(CutSet.from_file(manifest), key=lambda cut: cut.id)
    assert list(SpeechSet.load(manifest).cuts) == theirs


def test_it_travels_to_workers(tmp_path: Path) -> None:
    speech = SpeechSet.load(write(tmp_path / "a.jsonl.gz", [line("x"), line("y")]))
    assert speech.cuts[0].id == "x"
    assert [cut.id for cut in pickle.loads(pickle.dumps(speech)).cuts] == ["x", "y"]


def test_sets_cut_and_sliced(tmp_path: Path) -> None:
    lines = [line(f"u{i}", 1.0 + i, None if i == 3 else "a") for i in range(6)]
    speech = SpeechSet.load(write(tmp_path / "a.jsonl.gz", lines))
    kept = speech.within(2.0, 5.0)
    assert list(kept.ids) == ["u1", "u2", "u3", "u4"]
    assert kept.without_text().tolist() == [2]
    assert list(kept.references[1:]) == ["a", "", "a"]
    assert np.array_equal(kept.keys, speech.keys[1:5])
    (tmp_path / "references").mkdir()
    (tmp_path / "references/a.tsv").write_text("u3\tkept aside\nu1\tanother\n")
    aside = SpeechSet.load(tmp_path / "a.jsonl.gz")
    assert aside.without_text().tolist() == []
    assert list(aside.references[1:4]) == ["another", "a", "kept aside"]


def test_precomputed_features_train_too(corpus: Path, train: Train, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(corpus, data)
    sets = ["labelled", "untranscribed"]
    assert main(["prepare", "features", "--data", str(data), "--sets", *sets]) == 0
    plain = ["augmentation.speed_factors=[1.0]", "trainer.total_hours=0.02"]
    common = [f"corpus.directory={data}", *plain]
    computed = train("computed", *common)
    stored = train(
        "stored",
        *common,
        "features.source=precomputed",
        "corpus.labelled=[labelled.features]",
        "corpus.untranscribed=[untranscribed.features]",
    )
    a, b = (
        [u["loss"] for u in read_lines(run / "metrics.jsonl") if "loss" in u]
        for run in (computed, stored)
    )
    assert a == pytest.approx(b, rel=1e-4)
