"""All ranks or none: what each does alone before training is compared, and a fault of one stops them all.

A rank that leaves alone lets the others wait for it in their next collective, on some launchers for ever; one
that has another recipe, corpus, checkpoint or program trains something that nobody asked for. So what ranks do
by themselves is done in stages, at whose ends they tell each other how it went.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.utils.hashes import sha256_of_digests

_MOST_NAMED = 5


@dataclass
class Stage:
    """What a rank has found."""

    facts: dict[str, str] = field(default_factory=dict)
    """What must be the same on all ranks, by its name for people."""
    tells: Any = None
    """What the first rank decides for all; after the stage all have it as `told`."""
    told: Any = None


@dataclass(frozen=True)
class _Outcome:
    rank: int
    host: str
    digest: str
    what: str | None
    """Of its fault; None where all went well."""
    remedy: str
    tells: Any

    def __str__(self) -> str:
        return f"rank {self.rank} ({self.host})"


@contextmanager
def together(ranks: Ranks) -> Iterator[Stage]:
    """A stage in which ranks work alone: no collective may be in it. A collective at its end.

    Raises UserError on all ranks where one of them has failed, or has found something else than the first:
    one message, which the first rank says.
    """
    stage, fault = Stage(), None
    try:
        yield stage
    except Exception as error:
        fault = error
    if ranks.world > 1:
        _compare(ranks, stage, fault)
    elif fault is not None:
        raise fault
    else:
        stage.told = stage.tells


def fail_together(ranks: Ranks, error: UserError | None) -> None:
    """Take part in a stage in which this rank has failed before it came to it, or another. Raises UserError."""
    with together(ranks):
        if error is not None:
            raise error


def _compare(ranks: Ranks, stage: Stage, fault: Exception | None) -> None:
    what, remedy = None, ""
    if isinstance(fault, UserError):
        what, remedy = fault.what, fault.remedy
    elif fault is not None:
        what, remedy = f"{type(fault).__name__}: {fault}", "see what it has printed"
    digest = hashlib.sha256(repr(sorted(stage.facts.items())).encode()).hexdigest()
    own = _Outcome(ranks.rank, socket.gethostname(), digest, what, remedy, stage.tells)
    outcomes = ranks.gather([own])
    failed = [one for one in outcomes if one.what is not None]
    if fault is not None and not isinstance(fault, UserError):
        raise fault
    if failed:
        raise _of_the_failed(failed, len(outcomes)).of_all(ranks.is_first)
    if len({one.digest for one in outcomes}) > 1:
        facts = ranks.gather([stage.facts])
        raise _of_the_differing(outcomes, facts).of_all(ranks.is_first)
    stage.told = outcomes[0].tells


def _of_the_failed(failed: list[_Outcome], world: int) -> UserError:
    first = failed[0]
    assert first.what is not None
    if first.rank == 0 and all(
        (one.what, one.remedy) == (first.what, first.remedy) for one in failed
    ):
        return UserError(first.what, first.remedy)  # of all, or of what the first does for all
    others = f" (and {len(failed) - 1} more of {world} ranks)" if len(failed) > 1 else ""
    return UserError(f"{first}{others}: {first.what}", first.remedy)


def _of_the_differing(outcomes: list[_Outcome], facts: list[dict[str, str]]) -> UserError:
    reference = facts[0]
    other = next(n for n, one in enumerate(outcomes) if one.digest != outcomes[0].digest)
    names = [n for n in {**reference, **facts[other]} if reference.get(n) != facts[other].get(n)]
    told = [
        f"{n} {facts[other].get(n, 'nothing')}, not {reference.get(n, 'nothing')}" for n in names
    ]
    more = f", and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
    alike = sum(one.digest != outcomes[0].digest for one in outcomes) - 1
    others = f"; {alike} more ranks differ, too" if alike else ""
    return UserError(
        f"{outcomes[other]} has something else than {outcomes[0]}: "
        f"{', '.join(told[:_MOST_NAMED])}{more}{others}",
        "give all ranks the same recipe, corpus, program and output folder",
    )


def program_facts() -> dict[str, str]:
    """What runs here: each source file of this package, and the versions of what computes."""
    import numpy
    import torch

    root = Path(__file__).parents[1]
    facts = {
        f"asr/{path.relative_to(root).as_posix()}": short(path.read_bytes())
        for path in sorted(root.rglob("*.py"))
    }
    return {**facts, "torch": str(torch.__version__), "numpy": numpy.__version__}


def recipe_facts(tree: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Each setting of a recipe by its key path."""
    facts: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            facts |= recipe_facts(value, f"{above}{key}.")
        else:
            facts[f"{above}{key}"] = repr(value)
    return facts


def file_facts(files: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """The content of files, by names for people."""
    facts = {}
    for name, parts in files.items():
        readable = [part for part in parts if part.is_file() and os.access(part, os.R_OK)]
        facts[name] = f"sha256 {sha256_of_digests(readable)[:12]}" if readable else "is missing"
    return facts


def short(content: bytes) -> str:
    """A digest for people."""
    return f"sha256 {hashlib.sha256(content).hexdigest()[:12]}"
