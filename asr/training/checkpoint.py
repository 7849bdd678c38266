"""Checkpoints: atomic to save, exact to resume, and a model's folder that stands on its own.

checkpoints/hours-000012.5000/
    student.safetensors     the fp32 master weights
    teacher.safetensors     the fp32 average that is evaluated and shipped
    optimizer.safetensors   the optimizer's moments, as MOMENT/PARAMETER
    config.yaml  tokenizer.json | tokenizer.model
    state.json              clock, data position, state of the labels, optimizer steps
    labels.safetensors      labels that are kept; labeller, healthy-*, hours-*: weights of some teachers
    averaged_student, labelling_average: between two updates of the average; where another one labels

Whole tensors, whatever the ZeRO stage and the number of ranks that wrote them: so any other reads them.
Nothing in a checkpoint is a pickle.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr.config.recipe import dump_config
from asr.config.schema import Config
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.errors import UserError
from asr.model.model_folder import pointed_at, read_config
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer, tokenizer_sha256
from asr.teacher.averages import Averages
from asr.teacher.ema import WeightAverage
from asr.training.resume_rules import check_compatible
from asr.utils.files import flush_to_disk, link_or_copy, read_json, write_tensors, write_text

_PARTIAL = ".partial-"
_WEIGHTS = ("student.safetensors", "optimizer.safetensors", "teacher.safetensors")


@dataclass
class CheckpointStore:
    """The checkpoints of one run."""

    run: Path
    keep_last: int

    @property
    def folder(self) -> Path:
        return self.run / "checkpoints"

    def latest(self) -> Path | None:
        """The checkpoint to resume from: the one `latest` names, or where that is gone the newest.

        Raises UserError if the run had checkpoints and none is left: a restart would wipe its logs.
        """
        named = pointed_at(self.run, "latest")
        if named is not None:
            return named
        complete = sorted(p for p in self.folder.glob("hours-*") if (p / "state.json").is_file())
        if complete:
            return complete[-1]
        if (self.run / "latest").exists():
            raise UserError(
                f"{self.run}: its checkpoints are gone",
                f"put them back into {self.folder}, or delete the run's folder to restart",
            )
        return None

    def to_resume(self, fork_from: str | None) -> Path | None:
        """The checkpoint to go on from: the run's latest, or the one it forks from; None for a new run."""
        latest = self.latest()
        if latest is not None or fork_from is None:
            return latest
        source = Path(fork_from)
        if not (source / "state.json").is_file():
            raise UserError(
                f"fork_from: {source} is not a checkpoint", "name EXP/checkpoints/hours-..."
            )
        return source

    def save(
        self,
        engine: Engine,
        teacher: WeightAverage,
        tokenizer: Tokenizer,
        config: Config,
        state: dict[str, Any],
        ranks: Ranks,
        extras: Mapping[str, Mapping[str, Tensor]],
        files: Sequence[Path],
    ) -> Path:
        """Write a checkpoint and move `latest` to it. A collective.

        `extras`: more tensors, by the name of their file; `files`: more files of the run, which are linked.

        Until its last rename the checkpoint has a name that nobody reads, so a crash at any point
        leaves the previous one in force.
        """
        name = f"hours-{state['clock']['seconds'] / 3600:011.4f}"
        final, partial = self.folder / name, self.folder / f"{_PARTIAL}{name}"
        there = read_json(final / "state.json") if final.exists() else {}
        has_these_weights = there.get("clock") == state["clock"]
        ranks.barrier()  # all have looked before the first one changes anything
        if has_these_weights and not there.get("evaluation_is_due"):
            # Saved before, but perhaps a crash came before the pointers moved.
            if ranks.is_first:
                self._point_to(final)
            ranks.barrier()
            return final
        if ranks.is_first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        ranks.barrier()
        if has_these_weights:  # saved before the evaluation, and now what that has found
            for file in _WEIGHTS if ranks.is_first else ():
                link_or_copy(final / file, partial / file)
        else:
            self._save_tensors(engine.shards, teacher, partial, ranks)
        state = {**state, "optimizer_steps": engine.shards.optimizer_steps}
        if ranks.is_first:
            for stem, tensors in extras.items():
                if tensors:
                    write_tensors(partial / f"{stem}.safetensors", tensors)
            for one in files:
                link_or_copy(one, partial / one.name)
            (partial / "config.yaml").write_text(dump_config(config), encoding="utf-8")
            tokenizer.save(partial)
            engine.student.save_description(partial)
            state["tokenizer_sha256"] = tokenizer_sha256(partial)
            (partial / "state.json").write_text(
                json.dumps(state, indent=1) + "\n", encoding="utf-8"
            )
            flush_to_disk(partial)
            if final.exists():
                final.rename(self.folder / f"{_PARTIAL}before-{name}")  # pruned at the end
            partial.rename(final)
            flush_to_disk(self.folder)
            self._point_to(final)
        ranks.barrier()
        return final

    def _save_tensors(
        self, shards: Shards, teacher: WeightAverage, folder: Path, ranks: Ranks
    ) -> None:
        """Whole tensors, gathered one by one and written by the first rank."""
        student = shards.whole(shards.masters)
        moments: dict[str, Tensor] = {}
        for moment, shard in shards.moments().items():
            whole = shards.whole(shard)
            moments |= {f"{moment}/{name}": values for name, values in whole.items()}
        average = teacher.weights()
        if ranks.is_first:
            write_tensors(folder / "student.safetensors", student)
            write_tensors(folder / "optimizer.safetensors", moments)
            write_tensors(folder / "teacher.safetensors", average)

    def _point_to(self, checkpoint: Path) -> None:
        write_text(self.run / "latest", checkpoint.name + "\n")
        self._note_best(checkpoint, read_json(checkpoint / "state.json"))
        self._prune()

    def _note_best(self, checkpoint: Path, state: dict[str, Any]) -> None:
        if state["dev_wer"] is None:
            return
        best = pointed_at(self.run, "best")
        if best is None or state["dev_wer"] < read_json(best / "state.json")["dev_wer"]:
            write_text(self.run / "best", checkpoint.name + "\n")

    def _prune(self) -> None:
        kept = sorted(self.folder.glob("hours-*"))[-self.keep_last :]
        kept += [p for p in (pointed_at(self.run, "latest"), pointed_at(self.run, "best")) if p]
        for folder in [*self.folder.glob("hours-*"), *self.folder.glob(f"{_PARTIAL}*")]:
            if folder not in kept:
                shutil.rmtree(folder)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, on the CPU."""

    folder: Path
    state: dict[str, Any]
    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]

    def put(self, engine: Engine, averages: Averages) -> list[str]:
        """Set optimizer and averages, whatever their layout; the student was built with its weights.

        Returns notes for people.
        """
        engine.shards.set_moments(self.moments, self.state["optimizer_steps"])
        return averages.load(self.teacher, self.state.get("averages"), self.extra)

    def extra(self, stem: str) -> dict[str, Tensor]:
        """More tensors, by the name of their file; none where it is not. Raises UserError if it is damaged."""
        path = self.folder / f"{stem}.safetensors"
        try:
            return dict(load_file(path)) if path.is_file() else {}
        except (OSError, SafetensorError) as error:
            raise damaged(self.folder, error) from error


def read_checkpoint(folder: Path, config: Config, student: SpeechModel) -> Checkpoint:
    """Read a checkpoint and put its weights into `student`, which no engine has yet partitioned.

    Raises UserError where the recipe cannot continue it, or where it is damaged.
    """
    check_compatible(read_config(folder), config, folder)
    try:
        moments: dict[str, dict[str, Tensor]] = {}
        for path, values in load_file(folder / "optimizer.safetensors").items():
            moment, _, name = path.partition("/")
            moments.setdefault(moment, {})[name] = values
        found = Checkpoint(
            folder,
            dict(read_json(folder / "state.json")),
            load_file(folder / "student.safetensors"),
            load_file(folder / "teacher.safetensors"),
            moments,
        )
        student.load_weights(found.student)
        names = found.student.keys()
        if found.teacher.keys() != names or any(m.keys() != names for m in moments.values()):
            raise ValueError("student, teacher and optimizer have different parameters")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise damaged(folder, error) from error
    return found


def damaged(folder: Path, error: Exception) -> UserError:
    """What to say of a checkpoint that cannot be read."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return UserError(
        f"{folder}: damaged ({reason})",
        "delete this folder, and the run goes on from the checkpoint before it",
    )
