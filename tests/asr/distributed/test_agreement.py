"""Ranks are compared before they train: one message, and none is left waiting."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.config.recipe import load_config
from asr.distributed import agreement
from asr.distributed.agreement import Stage, recipe_facts, together
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.model.model_folder import find_checkpoint
from asr.training.checkpoint import CheckpointStore
from asr.training.start.agreed import agreed_checkpoint, facts_at_the_start


class Threads:
    """A process group of threads."""

    def __init__(self, world: int) -> None:
        self.world, self.items = world, [list[Any]() for _ in range(world)]
        self.barrier = threading.Barrier(world)

    def ranks(self, rank: int) -> Ranks:
        group = self

        class Member(Ranks):
            def gather(self, items: list[Any]) -> list[Any]:
                group.items[rank] = items
                group.barrier.wait(20)
                gathered = [one for part in group.items for one in part]
                group.barrier.wait(20)
                return gathered

        return Member(rank, self.world, torch.device("cpu"))

    def run(self, part: Callable[[Ranks], Any]) -> list[Any]:
        """What `part` returns, or raises, on each rank."""
        found: list[Any] = [None] * self.world

        def one(rank: int) -> None:
            try:
                found[rank] = part(self.ranks(rank))
            except Exception as error:
                found[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return found


def stage_of(do: Callable[[Ranks, Stage], None]) -> Callable[[Ranks], Any]:
    def part(ranks: Ranks) -> Any:
        with together(ranks) as stage:
            do(ranks, stage)
        return stage.told

    return part


def test_a_fault_of_one_rank_stops_all_with_one_message() -> None:
    def do(ranks: Ranks, stage: Stage) -> None:
        if ranks.rank == 1:
            raise UserError("x.jsonl.gz: no such set", "prepare it")

    found = Threads(3).run(stage_of(do))
    assert all(isinstance(one, UserError) for one in found)
    assert [one.is_said_elsewhere for one in found] == [False, True, True]
    assert str(found[0]).startswith("rank 1 (")
    assert str(found[0]).endswith("): x.jsonl.gz: no such set; prepare it")


def test_a_bug_of_one_rank_stops_all_and_keeps_its_traceback() -> None:
    def do(ranks: Ranks, stage: Stage) -> None:
        if ranks.rank == 1:
            raise ZeroDivisionError("no")

    first, second = Threads(2).run(stage_of(do))
    assert "rank 1" in str(first)
    assert "ZeroDivisionError: no" in str(first)
    assert isinstance(second, ZeroDivisionError)


def test_a_fault_of_all_is_said_as_by_one() -> None:
    def do(ranks: Ranks, stage: Stage) -> None:
        raise UserError("recipe.yaml: no such recipe", "see recipes")

    assert str(Threads(2).run(stage_of(do))[0]) == "recipe.yaml: no such recipe; see recipes"


def test_what_differs_is_named() -> None:
    def do(ranks: Ranks, stage: Stage) -> None:
        rate = 0.3 if ranks.rank == 2 else 0.003
        stage.facts = recipe_facts({"seed": 1, "optimizer": {"learning_rate": rate}})

    found = Threads(3).run(stage_of(do))
    assert "rank 2 (" in str(found[0])
    assert "optimizer.learning_rate 0.3, not 0.003" in str(found[0])
    assert "seed" not in str(found[0])


def test_the_first_rank_decides() -> None:
    def do(ranks: Ranks, stage: Stage) -> None:
        stage.tells = ranks.rank + 7

    assert Threads(2).run(stage_of(do)) == [7, 7]


def test_manifests_are_compared_by_their_content(
    recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(corpus, tmp_path / "data"))
    dev = other / "dev.jsonl.gz"
    dev.write_bytes(dev.read_bytes()[::-1])
    here = load_config(recipe)
    there = load_config(recipe, {"corpus.directory": str(other)})
    two = Ranks(0, 2, torch.device("cpu"))
    facts = [facts_at_the_start(config, two) for config in (here, there)]
    differing = {name for name in facts[0] if facts[0][name] != facts[1].get(name)}
    assert differing == {"corpus.directory", "dev.jsonl.gz"}


def test_another_program_on_one_rank_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = agreement.program_facts()
    assert "asr/distributed/agreement.py" in here
    copy = shutil.copytree(Path(agreement.__file__).parent, tmp_path / "asr/distributed")
    with (copy / "agreement.py").open("a") as file:
        file.write("# changed\n")
    monkeypatch.setattr(agreement, "__file__", str(copy / "agreement.py"))
    there = agreement.program_facts()
    same = there.keys() - {"asr/distributed/agreement.py"}
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    assert there["asr/distributed/agreement.py"] != here["asr/distributed/agreement.py"]


def test_all_ranks_must_see_the_checkpoint_of_the_first(trained: Path, tmp_path: Path) -> None:
    found = Threads(2).run(
        lambda ranks: agreed_checkpoint(CheckpointStore(trained, 2), None, ranks)
    )
    assert found[0] == found[1] == find_checkpoint(trained)
    # The same path on another host, where the folder is not shared or an older copy.
    other = Path(shutil.copytree(find_checkpoint(trained), tmp_path / "older"))
    (other / "state.json").write_text('{"clock": {"seconds": 1}, "dev_wer": null}')
    for theirs, message in ((tmp_path / "nowhere", "is not seen here"), (other, "nothing, not")):

        def part(ranks: Ranks, theirs: Path = theirs) -> Path | None:
            class OnAnotherHost(Ranks):
                def gather(self, items: list[Any]) -> list[Any]:
                    first, *others = ranks.gather(items)
                    if getattr(first, "tells", None) is not None:
                        first = replace(first, tells=theirs)
                    return [first, *others]

            here = OnAnotherHost(1, 2, ranks.device) if ranks.rank else ranks
            return agreed_checkpoint(CheckpointStore(trained, 2), None, here)

        first, second = Threads(2).run(part)
        assert "rank 1 (" in str(first)
        assert message in str(first)
        assert isinstance(second, UserError)
