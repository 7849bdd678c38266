"""Checkpoints: atomic to save, exact to resume, and a model's folder that stands on its own.

checkpoints/hours-000012.5000/
    student.safetensors     the fp32 master weights
    teacher.safetensors     the fp32 average that is evaluated and shipped
    optimizer.safetensors   the optimizer's moments, as MOMENT/PARAMETER
    config.yaml  tokenizer.json | tokenizer.model
    state.json              clock, data position, state of the labels, optimizer steps; which checkpoint it is
                            and follows, and SHA-256 of every other file (asr/model/lineage.py)
    labels.safetensors      labels that are kept; labeller, healthy-*, hours-*: weights of some teachers
    averaged_student, labelling_average: between two updates of the average; where another one labels

Whole tensors, whatever the ZeRO stage and the number of ranks that wrote them: so any other reads them.
Nothing in a checkpoint is a pickle. Two files of the run say which one is in force and which is the best by
dev WER: `latest`, which may be written to go back to an earlier one, and `best`, which is for people.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from asr.model import lineage
from asr.model.lineage import check_files, checkpoint_name, read_state, sealed
from asr.model.model_folder import pointed_at, read_config, read_weights
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer, tokenizer_sha256
from asr.teacher.averages import Averages
from asr.teacher.ema import WeightAverage
from asr.training.checkpoints.publishing import (
    about_what_lies_there,
    newest,
    place_to_write,
    prune,
    publish,
)
from asr.training.resume_rules import check_compatible
from asr.utils.files import flush_to_disk, link_or_copy, write_tensors, write_text

_WEIGHTS = ("student.safetensors", "optimizer.safetensors", "teacher.safetensors")


@dataclass
class CheckpointStore:
    """The checkpoints of one run."""

    run: Path
    keep_last: int
    parent: Path | None = None
    """The checkpoint that the next one follows."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of the checkpoints that are there."""
    _stands_at: tuple[float, int] | None = None
    """Seconds and batches of the last one that was saved here."""
    _awaits_evaluation: bool = False
    """Whether that one is to be saved again, with what an evaluation finds."""

    @property
    def folder(self) -> Path:
        return self.run / "checkpoints"

    def latest(self) -> Path | None:
        """The checkpoint to resume from: the one `latest` names, or where that is gone the newest.

        Raises UserError if the run had checkpoints and none is left (a restart would wipe its logs), or where
        it cannot be told which is meant.
        """
        return pointed_at(self.run, "latest") or newest(self.run)

    def to_resume(self, fork_from: str | None) -> Path | None:
        """The checkpoint to go on from: the run's latest, or the one it forks from; None for a new run."""
        latest = self.latest()
        if latest is None and fork_from is not None:
            latest = Path(fork_from)
            if not (latest / "state.json").is_file():
                raise lineage.no_checkpoint("fork_from", latest)
        self.parent = latest
        self.notes = about_what_lies_there(self.run, latest) if latest else []
        return latest

    @property
    def is_own(self) -> bool:
        """Whether the next checkpoint follows one of this run, and not one that it forks from."""
        return self.parent is not None and self.parent.parent == self.folder

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

        Until it is published the checkpoint has a name that nobody reads, so a crash at any point leaves the
        previous one in force.
        """
        seconds = state["clock"]["seconds"]
        name = checkpoint_name(seconds)
        final, partial = self.folder / name, place_to_write(self.folder, name)
        stands_at = seconds, state["batches_drawn"]
        has_these_weights = stands_at == self._stands_at
        if has_these_weights and not self._awaits_evaluation:
            return final
        if ranks.is_first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        if has_these_weights:
            # Saved before the evaluation, and now what that has found.
            for weights in _WEIGHTS if ranks.is_first else ():
                link_or_copy(final / weights, partial / weights)
        else:
            self._save_tensors(engine.shards, teacher, partial, ranks)
        state = {**state, "optimizer_steps": engine.shards.optimizer_steps}
        if ranks.is_first:
            for stem, tensors in extras.items():
                if tensors:
                    write_tensors(partial / f"{stem}.safetensors", tensors)
            for file in files:
                link_or_copy(file, partial / file.name)
            write_text(partial / "config.yaml", dump_config(config))
            tokenizer.save(partial)
            engine.student.save_description(partial)
            state["tokenizer_sha256"] = tokenizer_sha256(partial)
            state = sealed(state, partial, name, self.parent)
            write_text(partial / "state.json", json.dumps(state, indent=1) + "\n")
            flush_to_disk(partial)
            publish(self.run, name)
            prune(self.run, final, self.keep_last)
        self.parent, self._stands_at = final, stands_at
        self._awaits_evaluation = bool(state.get("evaluation_is_due"))
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
    state = read_state(folder)
    check_files(folder, state)
    check_compatible(read_config(folder), config, folder)
    try:
        moments: dict[str, dict[str, Tensor]] = {}
        for path, values in load_file(folder / "optimizer.safetensors").items():
            moment, _, name = path.partition("/")
            moments.setdefault(moment, {})[name] = values
        found = Checkpoint(
            folder,
            state,
            read_weights(folder / "student.safetensors"),
            read_weights(folder / "teacher.safetensors"),
            moments,
        )
        student.load_weights(found.student)
        names = found.student.keys()
        if found.teacher.keys() != names or any(m.keys() != names for m in moments.values()):
            raise ValueError("student, teacher and optimizer have different parameters")
    except UserError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise damaged(folder, error) from error
    return found


def damaged(folder: Path, error: Exception) -> UserError:
    """What to say of a checkpoint that cannot be read."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return lineage.damaged(folder, folder, reason)
