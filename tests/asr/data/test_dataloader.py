"""What a run reads, with workers and without."""

from __future__ import annotations

from pathlib import Path

from conftest import Train, read_lines, without_wall_time


def test_loader_workers_change_nothing(train: Train) -> None:
    alone, helped = (
        train(f"workers{count}", f"trainer.loader_workers={count}", "trainer.total_hours=0.025")
        for count in (0, 2)
    )
    for name in ("utterances.jsonl",):
        assert (alone / name).read_bytes() == (helped / name).read_bytes()
    assert without_wall_time(alone) == without_wall_time(helped)


def test_a_pass_holds_every_utterance_once(train: Train, whole: Path) -> None:
    lines = read_lines(whole / "utterances.jsonl")
    ids = [name for line in lines for name in line["labelled"]]
    corpus = set(ids)
    passes = [ids[i : i + len(corpus)] for i in range(0, len(ids) - len(corpus), len(corpus))]
    assert passes
    assert all(set(one) == corpus for one in passes)
