"""One file of hypotheses by several processes, whatever ends them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import read_lines

from asr.data.dataset import SpeechSet
from asr.decoding.sharing.output import SharedOutput, Work
from asr.decoding.sharing.processes import Processes
from asr.errors import UserError

STAMP = {"decoder": "counted"}


class Decoding:
    """Of a set, two utterances a batch, slowly; it counts what it hears."""

    def __init__(self, corpus: Path, seconds: float = 0.0) -> None:
        self.speech = SpeechSet.load(corpus / "untranscribed.jsonl.gz")
        self.seconds = seconds
        self.heard = list[int]()
        self.lost = set[int]()

    def work(self) -> Work:
        places = range(0, len(self.speech), 2)
        return Work(self.speech, [[first, first + 1] for first in places], self.decode)

    def decode(self, batch: Any) -> list[tuple[int, dict[str, Any]]]:
        time.sleep(self.seconds)
        kept = [place for place in batch if place not in self.lost]
        self.heard += kept
        return [
            (place, {"id": str(place), "reference": "a", "hypothesis": f"\ud800 {place}"})
            for place in kept
        ]


def output(
    path: Path, rank: int = 0, world: int = 1, said: list[str] | None = None
) -> SharedOutput:
    say = (lambda line: None) if said is None else said.append
    return SharedOutput(path, Processes(rank, world, torch.device("cpu")), say)


def left_beside(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if one.name not in ("h.jsonl",))


def test_processes_share_the_batches_and_the_last_one_writes(corpus: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone" / "h.jsonl", tmp_path / "together" / "h.jsonl"
    assert len(output(alone).write(Decoding(corpus).work(), STAMP) or []) == 40
    parts = [Decoding(corpus) for _ in range(3)]
    written = [
        output(together, rank, 3).write(parts[rank].work(), STAMP, {"grid": []})
        for rank in (2, 0, 1)
    ]
    assert [texts is None for texts in written] == [True, True, False]
    assert all(part.heard for part in parts)
    assert sum(len(part.heard) for part in parts) == 40
    assert together.read_bytes() == alone.read_bytes()
    assert left_beside(alone) == ["h.stamp.json"]
    assert left_beside(together) == ["h.stamp.json", "h.tuning.json"]
    # Again: all of it, as one process would.
    again = Decoding(corpus)
    assert output(alone).write(again.work(), STAMP)
    assert len(again.heard) == 40


def _work(corpus: Path, path: Path, rank: int, world: int) -> None:
    output(path, rank, world).write(Decoding(corpus, 0.05).work(), STAMP)
    os._exit(0)


def lines(path: Path) -> int:
    parts = path.with_name(f"{path.name}.parts").glob("rank-*.jsonl")
    return sum(part.read_bytes().count(b"\n") for part in parts)


def test_killed_again_and_again_it_ends_with_the_same_file(corpus: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    output(whole).write(Decoding(corpus).work(), STAMP)
    random, forked = np.random.default_rng(3), multiprocessing.get_context("fork")
    for _ in range(3):
        world = int(random.integers(1, 4))
        started = [
            forked.Process(target=_work, args=(corpus, broken, rank, world))
            for rank in range(world)
        ]
        for process in started:
            process.start()
        before, deadline = lines(broken), time.monotonic() + 10
        while lines(broken) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        for process in started:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        assert not broken.exists()
    rest, said = Decoding(corpus), list[str]()
    assert output(broken, said=said).write(rest.work(), STAMP)
    assert broken.read_bytes() == whole.read_bytes()
    assert 0 < len(rest.heard) < 40
    assert said == [f"going on: {40 - len(rest.heard)} utterances of this process's share are done"]
    assert not broken.with_name("broken.jsonl.parts").exists()


def test_what_another_search_has_left_is_not_taken(corpus: Path, tmp_path: Path) -> None:
    path, rest = tmp_path / "h.jsonl", Decoding(corpus)
    assert output(path, 1, 2).write(Decoding(corpus).work(), {"decoder": "other"}) is None
    assert output(path).write(rest.work(), STAMP)
    assert len(rest.heard) == 40
    assert json.loads((tmp_path / "h.stamp.json").read_text())["decoder"] == "counted"


def test_a_process_that_fails_leaves_no_file(corpus: Path, tmp_path: Path) -> None:
    path, first, second = tmp_path / "h.jsonl", Decoding(corpus), Decoding(corpus)
    said = list[str]()

    def fails(batch: Any) -> list[tuple[int, dict[str, Any]]]:
        if len(first.heard) == 6:
            raise UserError("the GPU is gone", "put it back")
        return first.decode(batch)

    with pytest.raises(UserError, match="the GPU is gone"):
        output(path, 0, 2).write(Work(first.speech, first.work().batches, fails), STAMP)
    assert output(path, 1, 2, said).write(second.work(), STAMP) is None
    assert said == ["process 1 has done its share; 13 of 20 parts are"]
    assert not path.exists()
    rest = Decoding(corpus)
    assert output(path, 0, 2).write(rest.work(), STAMP)
    assert len(first.heard) + len(second.heard) + len(rest.heard) == 40


def test_lost_recordings_are_said_once_and_tried_again(corpus: Path, tmp_path: Path) -> None:
    path, parts = tmp_path / "h.jsonl", [Decoding(corpus) for _ in range(2)]
    parts[1].lost = {2, 3, 7}
    assert output(path, 1, 2).write(parts[1].work(), STAMP) is None
    with pytest.raises(UserError, match=r"3 of 40 utterances of 'untranscribed' cannot be read"):
        output(path, 0, 2).write(parts[0].work(), STAMP)
    assert not path.exists()
    assert len(read_lines(tmp_path / "h.jsonl.incomplete")) == 37
    parts = [Decoding(corpus) for _ in range(2)]
    assert output(path, 0, 2).write(parts[0].work(), STAMP) is None, "the other tries them again"
    assert output(path, 1, 2).write(parts[1].work(), STAMP)
    assert (parts[0].heard, sorted(parts[1].heard)) == ([], [2, 3, 6, 7])
    assert [line["id"] for line in read_lines(path)] == [str(place) for place in range(40)]
    assert left_beside(path) == ["h.stamp.json"]


def test_a_process_that_comes_when_all_is_done_has_nothing_to_do(
    corpus: Path, tmp_path: Path
) -> None:
    path = tmp_path / "h.jsonl"
    failing = Decoding(corpus)
    failing.lost = {0}
    with pytest.raises(UserError):
        output(path).write(failing.work(), STAMP)
    late = output(path, 1, 2)
    assert output(path, 0, 2).write(Decoding(corpus).work(), STAMP)
    nothing = Decoding(corpus)
    assert late.write(nothing.work(), STAMP) is None
    assert nothing.heard == []
    assert left_beside(path) == ["h.stamp.json"]
    other = Decoding(corpus)
    late.write(other.work(), {"decoder": "other"})
    assert other.heard, "what was written is of another search"


def test_each_point_of_a_tuning_is_found_once(tmp_path: Path) -> None:
    path, found = tmp_path / "h.jsonl", list[int]()

    def noted(depends_on: str, number: int) -> float:
        points = output(path, number % 2, 2).noted_points({"lm": depends_on})

        def find() -> dict[str, float]:
            found.append(number)
            return {"wer": float(number)}

        return points(number, find)["wer"]

    assert [noted("a", number) for number in (0, 1, 1, 0, 2)] == [0.0, 1.0, 1.0, 0.0, 2.0]
    assert found == [0, 1, 2]
    (tmp_path / "h.jsonl.tuning.parts" / "001.json").write_text('{"wer": ')  # a kill
    assert [noted("a", 1), noted("b", 2)] == [1.0, 2.0]
    assert found == [0, 1, 2, 1, 2]
