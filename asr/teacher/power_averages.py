"""Two averages with power-function weights, and snapshots of them: any half-life is made of those afterwards.

Karras et al. 2024 (arXiv 2312.02696), section 3; `asr/scaling/post_hoc.py` has the plan and the fit.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.errors import UserError
from asr.teacher.student_samples import StudentSamples
from asr.utils.files import flush_to_disk, link_or_copy, write_tensors
from asr.utils.text_files import refuse_pipe

FOLDER = "averages"
FILE = "power_averages"
"""Of a checkpoint: the two as they are then."""


@dataclass(frozen=True)
class Snapshot:
    """A file of whole tensors: K/PARAMETER of each power average K; of number 0, of the student of then."""

    path: Path
    number: int
    hours: float
    exponents: tuple[float, ...]
    """Infinite for the student itself."""
    start_hours: float
    sha256: str | None = None
    """Of what it says and holds. None in older files, and in a checkpoint's, whose state.json has it."""

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """What the file says of itself. Raises UserError where it is damaged."""
        try:
            refuse_pipe(path)
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
            exponents = tuple(float(one) for one in about["exponents"].split())
            number = int(about["number"])
            hours, start = float(about["hours"]), float(about["start_hours"])
            return cls(path, number, hours, exponents, start, about.get("sha256"))
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise _damaged(path, error) from None

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values in fp32. Raises UserError where the file is damaged, after the last of them too."""
        digest = hashlib.sha256()
        try:
            with safe_open(self.path, framework="pt") as file:
                _add_facts(digest, file.metadata() or {})
                for key in sorted(file.keys()):
                    values = file.get_tensor(key)
                    _add_tensor(digest, key, values)
                    yield key, values
        except (OSError, SafetensorError) as error:
            raise _damaged(self.path, error) from None
        if self.sha256 is not None and digest.hexdigest() != self.sha256:
            raise _damaged(self.path, "its SHA-256 is not the one that was written with it")


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path}: damaged ({why})", "delete it: the other snapshots may do")


def _add_facts(digest: hashlib._Hash, about: Mapping[str, str]) -> None:
    facts = {key: value for key, value in about.items() if key != "sha256"}
    digest.update(json.dumps(facts, sort_keys=True).encode())


def _add_tensor(digest: hashlib._Hash, name: str, values: Tensor) -> None:
    digest.update(f"{name} {tuple(values.shape)}".encode())
    digest.update(values.detach().contiguous().reshape(-1).numpy().data)


def snapshot_files(run: Path) -> list[Path]:
    """Those in a run's folder, oldest first."""
    return sorted((run / FOLDER).glob("snapshot-*.safetensors"))


def copy_snapshots(parent: Path, run: Path) -> None:
    """A fork's averages have the past of the run that it left."""
    for path in snapshot_files(parent):
        (run / FOLDER).mkdir(exist_ok=True)
        link_or_copy(path, run / FOLDER / path.name)


class SnapshotPlan(Protocol):
    """scaling.PostHocPlan's."""

    @property
    def exponents(self) -> tuple[float, float]: ...

    def number_at(self, hours: float) -> int: ...

    def kept_of(self, numbers: Collection[int]) -> set[int]: ...


class PowerAverages:
    """Kept in the layout of a shard; snapshots are whole."""

    def __init__(
        self,
        samples: StudentSamples,
        ranks: Ranks,
        run: Path,
        plan: SnapshotPlan,
    ) -> None:
        """Begin as the student is; snapshots lie in the folder `run`."""
        self.shards: Shards = samples.shards
        self.ranks, self.folder = ranks, run / FOLDER
        self.plan, self.exponents = plan, plan.exponents
        self.start_hours = 0.0
        self._averages = [self.shards.copy_of_masters() for _ in plan.exponents]

    def begin(self, hours: float, is_new: bool) -> list[str]:
        """Training goes on at `hours`: what was kept beyond is of a past that did not happen. A collective.

        `is_new`: there is no checkpoint with these averages. Returns lines for people, on the first rank.
        """
        notes = self._tidy(-math.inf if is_new else hours) if self.ranks.is_first else []
        if is_new:
            self.start_hours = hours
            student = self.shards.whole(self.shards.masters)
            self._write(0, hours, {f"0/{name}": values for name, values in student.items()})
        self.ranks.barrier()
        return notes

    def _tidy(self, last_hours: float) -> list[str]:
        """Delete snapshots beyond an hour, and damaged ones."""
        notes = []
        for path in snapshot_files(self.folder.parent):
            try:
                if Snapshot.read(path).hours <= last_hours:
                    continue
            except UserError as error:
                notes.append(
                    f"{error.what}: deleted; averages made after the run may be less exact"
                )
            path.unlink()
        return notes

    @torch.no_grad()
    def update(self, from_hours: float, to_hours: float, sample: list[Tensor]) -> None:
        """The update that covers the audio between two hours; a collective where a snapshot is due."""
        for exponent, average in zip(self.exponents, self._averages, strict=True):
            # The wide one may take steps somewhat smaller than fp32 keeps whole: 1 % of its way, at worst.
            share = 1.0 - (from_hours / to_hours) ** (exponent + 1.0)
            torch._foreach_lerp_(average, sample, share)
        number = self.plan.number_at(to_hours)
        if number > self.plan.number_at(from_hours):
            self._write(number, to_hours, self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """Both, whole, on the CPU of the first rank, as K/PARAMETER. A collective."""
        return {
            f"{number}/{name}": values
            for number, average in enumerate(self._averages)
            for name, values in self.shards.whole(average).items()
        }

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        return {"exponents": list(self.exponents), "start_hours": self.start_hours}

    def load(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, with its exponents."""
        self.exponents = tuple(state["exponents"])
        self.start_hours = state["start_hours"]
        for number, average in enumerate(self._averages):
            own = {n.split("/", 1)[1]: w for n, w in tensors.items() if n.startswith(f"{number}/")}
            self.shards.scatter(own, average)

    def _write(self, number: int, hours: float, tensors: Mapping[str, Tensor]) -> None:
        if not self.ranks.is_first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        exponents = [math.inf] if number == 0 else self.exponents
        about = {
            "number": str(number),
            "hours": repr(hours),
            "exponents": " ".join(map(repr, exponents)),
            "start_hours": repr(self.start_hours),
        }
        digest = hashlib.sha256()
        _add_facts(digest, about)
        for name in sorted(tensors):
            _add_tensor(digest, name, tensors[name])
        path = self.folder / f"snapshot-{number:06}.safetensors"
        write_tensors(path, tensors, {**about, "sha256": digest.hexdigest()})
        flush_to_disk(path)
        found = {
            int(p.stem.removeprefix("snapshot-")): p for p in snapshot_files(self.folder.parent)
        }
        for other in found.keys() - self.plan.kept_of(found.keys()):
            found[other].unlink()
