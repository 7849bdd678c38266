"""Sets are labelled once each, whatever kills the processes and however many there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_folder
from torch import Tensor

from asr.data.dataset import SpeechSet
from asr.data_prep import cli
from asr.errors import LostAudioError, UserError
from asr.evaluation.normalisers import Normaliser, make_normaliser
from asr.pseudo_labels.label import LabelMetrics
from asr.pseudo_labels.labelling.label_sets import Processes, SetLabeller
from asr.pseudo_labels.labelling.recogniser import Recognition
from asr.pseudo_labels.ledger import read_ledger
from asr.pseudo_labels.outside.label_files import EXPORTS, file_of, read_labels

ALONE = Processes(0, 1, torch.device("cpu"))


@dataclass
class Counting:
    """A recogniser that hears how many samples there are, slowly."""

    seconds: float = 0.0
    heard: list[int] = field(default_factory=list)
    sample_rate_hz: int = 16_000
    stamp: Mapping[str, Any] = field(default_factory=dict)
    is_batched: bool = True

    def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
        time.sleep(self.seconds)
        self.heard += samples_B.tolist()
        metrics = LabelMetrics(0.25, float("nan"), float("nan"), "counted")
        return [Recognition(f"{n} Samples", 2, metrics) for n in samples_B.tolist()]


def labeller(
    corpus: Path, output: Path, recogniser: Counting, rank: int = 0, world: int = 1
) -> SetLabeller:
    sets = [SpeechSet.load(corpus / f"{name}.jsonl.gz") for name in ("untranscribed", "dev")]
    processes = Processes(rank, world, torch.device("cpu"))
    normaliser = make_normaliser("librispeech")
    speech = SpeechSet.joined(sets)
    given = (recogniser, speech, normaliser, output, 4.0, processes)
    return SetLabeller(*given, lambda line: None, make_normaliser("none"), 0.05)


def rows(output: Path) -> list[dict[str, Any]]:
    return read_ledger(output, "labels").to_pylist()


def ids(corpus: Path) -> list[str]:
    sets = [SpeechSet.load(corpus / f"{name}.jsonl.gz") for name in ("untranscribed", "dev")]
    return [name for speech in sets for name in speech.ids]


def _work(corpus: Path, output: Path, rank: int, world: int) -> None:
    labeller(corpus, output, Counting(0.02), rank, world).run(EXPORTS)
    os._exit(0)


def _killed_at_random(corpus: Path, output: Path, kills: int, random: np.random.Generator) -> None:
    """So many kills, of one to three processes that label together; each leaves something behind."""
    forked = multiprocessing.get_context("fork")
    for _ in range(kills):
        world = int(random.integers(1, 4))
        started = [
            forked.Process(target=_work, args=(corpus, output, rank, world))
            for rank in range(world)
        ]
        for process in started:
            process.start()
        time.sleep(float(random.uniform(0.02, 0.15)))
        for process in started:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_each_utterance_once(
    kills: int, corpus: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    labeller(corpus, whole, Counting()).run(EXPORTS)
    _killed_at_random(corpus, broken, kills, np.random.default_rng(kills))
    rest = Counting()
    files = labeller(corpus, broken, rest).run(EXPORTS).files
    assert [row["utterance"] for row in rows(broken)] == ids(corpus)
    assert rows(broken) == rows(whole)
    for kind in EXPORTS:
        path = file_of(broken, kind)
        assert path in files
        assert path.read_bytes() == file_of(whole, kind).read_bytes()
        # 0.25 and all integers are the same in fp32.
        assert read_labels(path) == read_labels(broken)
    if kills > 2:
        assert len(rest.heard) < len(ids(corpus)), "what the killed processes did is not done again"


@pytest.mark.parametrize("is_batched", [True, False])
def test_a_killed_process_loses_the_micro_batch_that_it_is_at(
    is_batched: bool, corpus: Path, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    @dataclass
    class Stopping(Counting):
        lost: int = 0

        def __call__(self, waveforms_BN: Tensor, samples_B: Tensor) -> list[Recognition]:
            if len(self.heard) > 20:
                self.lost = len(samples_B)
                raise StoppedError
            return super().__call__(waveforms_BN, samples_B)

    first, second = Stopping(is_batched=is_batched), Counting(is_batched=is_batched)
    with pytest.raises(StoppedError):
        labeller(corpus, tmp_path, first).run([])
    [journal] = (tmp_path / "journal").glob("rank-*.jsonl")
    with journal.open("ab") as stream:  # it was killed while it wrote
        stream.write(b'{"batch": 3, "labels": [[1, "a')
    labeller(corpus, tmp_path, second).run([])
    assert len(first.heard) + len(second.heard) == len(ids(corpus))
    assert first.lost > 1 if is_batched else first.lost == 1
    third = Counting(is_batched=is_batched)
    assert file_of(tmp_path, "tsv") in labeller(corpus, tmp_path, third).run(["tsv"]).files
    assert not third.heard, "another export needs no labelling"


def test_processes_share_the_work_and_the_last_one_writes(corpus: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert labeller(corpus, alone, Counting()).run([]).files
    parts = [Counting() for _ in range(3)]
    written = [labeller(corpus, together, parts[rank], rank, 3).run([]).files for rank in (2, 0, 1)]
    assert [bool(files) for files in written] == [False, False, True]
    assert all(part.heard for part in parts)
    assert sum(len(part.heard) for part in parts) == len(ids(corpus))
    assert rows(together) == rows(alone)
    row = rows(together)[0]
    assert row["text"].endswith(" SAMPLES"), "by the normaliser"
    assert (row["confidence_measure"], row["blank_share"], row["words"] > 0) == (
        "counted",
        None,
        True,
    )


def test_labels_of_another_model_or_by_another_process_are_not_mixed(
    corpus: Path, tmp_path: Path
) -> None:
    labeller(corpus, tmp_path, Counting()).run([])
    with pytest.raises(UserError, match=r"made otherwise \(recogniser\); name another --output"):
        labeller(corpus, tmp_path, Counting(stamp={"weights_sha256": "x"})).run([])
    journal = tmp_path / "journal" / "rank-00000.jsonl"
    journal.write_bytes(journal.read_bytes()[20:])
    with pytest.raises(UserError, match=r"rank-00000\.jsonl, line 1: damaged"):
        labeller(corpus, tmp_path, Counting()).run([])


def test_errors_are_counted_under_the_scoring_normaliser(corpus: Path, tmp_path: Path) -> None:
    mine = labeller(corpus, tmp_path, Counting())
    mine = replace(mine, scoring=Normaliser("same/1", lambda text: "the same"))
    mine.run([])
    counted = [row for row in rows(tmp_path) if row["words"]]
    assert counted
    assert {(row["word_errors"], row["words"]) for row in counted} == {(0, 2)}
    assert all(row["text"].endswith(" SAMPLES") for row in counted)


@pytest.mark.parametrize("is_batched", [True, False])
def test_lost_recordings_are_named_left_out_and_labelled_once_they_are_back(
    tmp_path: Path, is_batched: bool
) -> None:
    write_folder(tmp_path / "in", 12, 3, transcribed=False)
    prepare = ["folder", "--root", str(tmp_path / "in"), "--output", str(tmp_path / "data")]
    assert cli.main(prepare) == 0
    speech = SpeechSet.load(tmp_path / "data" / "untranscribed.jsonl.gz")
    gone, damaged = tmp_path / "in" / "u3-004.wav", tmp_path / "in" / "u3-009.wav"
    kept = {path: path.read_bytes() for path in (gone, damaged)}
    gone.unlink()
    damaged.write_bytes(kept[damaged][:5000])
    said = list[str]()

    def label(most: float) -> tuple[Counting, int]:
        recogniser, as_is = Counting(is_batched=is_batched), make_normaliser("none")
        given = (recogniser, speech, as_is, tmp_path / "out", 4.0, ALONE, said.append, as_is, most)
        return recogniser, SetLabeller(*given).run(EXPORTS).lost

    with pytest.raises(UserError, match=r"2 of 12 utterances .* --max-lost-share 0\.1, such as"):
        label(0.1)
    recogniser, lost = label(0.2)
    assert lost == 2
    assert recogniser.heard, "the others of the second one's batch, or those behind it"
    assert {name for name in kept if any(str(name) in line for line in said)} == set(kept)
    names = [f"u3-{number:03d}" for number in range(12)]
    others = [name for name in names if name not in ("u3-004", "u3-009")]
    assert [row["utterance"] for row in rows(tmp_path / "out")] == others
    assert label(0.2)[0].heard == [], "nothing has come back, and nothing is labelled again"
    for path, content in kept.items():
        path.write_bytes(content)
    recogniser, lost = label(0.0)
    assert (lost, bool(recogniser.heard)) == (0, True)
    assert [row["utterance"] for row in rows(tmp_path / "out")] == names
    labels = read_labels(file_of(tmp_path / "out", "tsv"))
    assert len(labels) == 12


def test_of_several_processes_none_writes_before_lost_recordings_were_tried_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one, with nothing to do, said that they lack; its launcher ended the one that read them."""
    from asr.pseudo_labels.labelling import label_sets

    lost, whole = {1, 6}, label_sets.Readable.of

    def without(cuts: Any, places: list[int]) -> label_sets.Readable:
        heard = whole(cuts, places)
        gone = {k: LostAudioError("gone", "") for k, place in enumerate(places) if place in lost}
        kept = [place for place in heard.kept if place not in gone]
        return replace(heard, kept=kept, lost=gone) if gone else heard

    monkeypatch.setattr(label_sets.Readable, "of", without)

    def label(rank: int) -> tuple[int, int, int]:
        recogniser = Counting(is_batched=False)
        found = labeller(corpus, tmp_path, recogniser, rank, 2).run([])
        return len(recogniser.heard), found.lost, len(found.files)

    assert [label(rank)[1:] for rank in (0, 1)] == [(0, 0), (2, 1)]
    lost.remove(1)  # of the second process
    assert label(0) == (0, 0, 0), "which does not know yet whether it can be read"
    assert label(1) == (1, 1, 1)
    assert label(1) == (0, 0, 0), "its share is whole"
    lost.clear()
    assert label(0) == (1, 0, 1)
    assert [row["utterance"] for row in rows(tmp_path)] == ids(corpus)
