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

Training goes on while one is written: only for the copy of all tensors in the first rank's memory it waits.

Whole tensors, whatever the ZeRO stage and the number of ranks that wrote them: so any other reads them.
Nothing in a checkpoint is a pickle. Two files of the run say which one is in force and which is the best by
dev WER: `latest`, which may be written to go back to an earlier one, and `best`, which is for people.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr.config.recipe import dump_config
from asr.config.schema import Config
from asr.config.trainer import TrainerConfig
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.errors import UserError
from asr.model import lineage
from asr.model.lineage import check_files, checkpoint_name, read_state, sealed
from asr.model.model_folder import pointed_at, read_config, read_weights
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer, tokenizer_sha256
from asr.teacher.averages import FILES as AVERAGES_FILES
from asr.teacher.averages import Averages
from asr.teacher.ema import WeightAverage
from asr.training.checkpoints.background import Background
from asr.training.checkpoints.publishing import (
    about_what_lies_there,
    newest,
    place_to_write,
    prune,
    publish,
)
from asr.training.resume_rules import check_compatible
from asr.utils.files import flush_to_disk, link_or_copy, write_tensors, write_text
from asr.utils.text_files import refuse_pipe

_ASIDE = ".aside-"
_STUDENT, _OPTIMIZER, _TEACHER = "student", "optimizer", "teacher"
_UNCHANGED = (_STUDENT, _OPTIMIZER, _TEACHER, *AVERAGES_FILES)
"""Files of tensors that an evaluation leaves as they are."""


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
    _writing: Background = field(default_factory=Background)
    _begun_at: float = field(default_factory=time.monotonic)
    """When the last one was begun, or the run."""
    _published: Path | None = None
    """What `saved` has not named yet."""

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
        for left in self.folder.glob(f"{_ASIDE}*"):
            shutil.rmtree(left, ignore_errors=True)  # by a kill
        self.parent = latest
        self.notes = about_what_lies_there(self.run, latest) if latest else []
        return latest

    @property
    def is_own(self) -> bool:
        """Whether the next checkpoint follows one of this run, and not one that it forks from."""
        return self.parent is not None and self.parent.parent == self.folder

    def has_weights_at(self, seconds: float, batches: int) -> bool:
        """Whether the last one stands there: then averages and weights are not asked for again."""
        return (seconds, batches) == self._stands_at

    def may_save(self, trainer: TrainerConfig, ranks: Ranks) -> bool:
        """Whether the last one was begun long enough ago, by the first rank's clock. A collective."""
        least_seconds = 60 * trainer.checkpoint_minutes_apart
        if not least_seconds:
            return True
        is_long_ago = time.monotonic() - self._begun_at >= least_seconds
        return ranks.sum([float(ranks.is_first and is_long_ago)])[0] > 0

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
    ) -> None:
        """Copy all that a checkpoint holds, and begin to write it; then `latest` moves to it. A collective.

        `extras`: more tensors, by the name of their file, which nobody changes any more; `files`: more files of
        the run, which are linked. The caller has waited for the one before (`saved`), so that the tensors of
        one are in memory at a time, unless this one has its weights.

        Until it is published the checkpoint has a name that nobody reads, so a crash at any point leaves the
        previous one in force.
        """
        seconds = state["clock"]["seconds"]
        name = checkpoint_name(seconds)
        final = self.folder / name
        stands_at = seconds, state["batches_drawn"]
        has_these_weights = self.has_weights_at(*stands_at)
        if has_these_weights and not self._awaits_evaluation:
            return
        tensors = {stem: values for stem, values in extras.items() if values}
        self._writing.check()
        if not has_these_weights:
            tensors |= _copies(engine.shards, teacher)
        state = {**state, "optimizer_steps": engine.shards.optimizer_steps}
        if ranks.is_first:
            contents = _Contents(
                tensors,
                _kept_aside(self.folder / f"{_ASIDE}{name}-{has_these_weights:d}", files),
                json.loads(json.dumps(state)),  # as it is now
                final if has_these_weights else None,
                self.parent,
            )
            for_itself = config, tokenizer, engine.student.save_description
            self._writing.begin(partial(self._write, contents, *for_itself))
        self.parent, self._stands_at, self._begun_at = final, stands_at, time.monotonic()
        self._awaits_evaluation = bool(state.get("evaluation_is_due"))

    def _write(
        self,
        contents: _Contents,
        config: Config,
        tokenizer: Tokenizer,
        describe: Callable[[Path], None],
    ) -> None:
        """Beside the training; on the first rank."""
        name = checkpoint_name(contents.state["clock"]["seconds"])
        place = place_to_write(self.folder, name)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if contents.weights_of is not None:
            for name_of in (f"{stem}.safetensors" for stem in _UNCHANGED):
                if (contents.weights_of / name_of).exists():
                    link_or_copy(contents.weights_of / name_of, place / name_of)
        for stem, values in contents.tensors.items():
            write_tensors(place / f"{stem}.safetensors", values)
        if contents.files is not None:
            for file in contents.files.iterdir():
                link_or_copy(file, place / file.name)
            shutil.rmtree(contents.files)
        write_text(place / "config.yaml", dump_config(config))
        tokenizer.save(place)
        describe(place)
        state = {**contents.state, "tokenizer_sha256": tokenizer_sha256(place)}
        state = sealed(state, place, name, contents.parent)
        write_text(place / "state.json", json.dumps(state, indent=1) + "\n")
        flush_to_disk(place)
        publish(self.run, name)
        prune(self.run, self.folder / name, self.keep_last)
        if not state.get("evaluation_is_due"):
            self._published = self.folder / name

    def saved(self, waits: bool = False) -> Path | None:
        """A checkpoint that has come into force since this was asked last, evaluation and all; None where none.

        `waits` until what is being written is. Raises what went wrong with it.
        """
        if waits:
            self._writing.wait()
        self._writing.check()
        found, self._published = self._published, None
        return found

    def tidy(self) -> None:
        """Once more remove what is not kept, on the first rank, with nothing being written.

        A run that was killed while it did so after its last checkpoint writes no other one.
        """
        if self.is_own and self.parent is not None:
            prune(self.run, self.parent, self.keep_last)

    def close(self) -> None:
        """What is being written is completed; its fault, if any, is no news where training has failed."""
        self._writing.close()


@dataclass(frozen=True)
class _Contents:
    """Of a checkpoint, when it was begun."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    """By the name of their file."""
    files: Path | None
    """A folder of links to more; None where there are none."""
    state: dict[str, Any]
    weights_of: Path | None
    """The checkpoint that has its weights: saved before the evaluation, and now with what that found."""
    parent: Path | None
    """The checkpoint that it follows."""


def _kept_aside(place: Path, files: Sequence[Path]) -> Path | None:
    """A folder of links to files that the run may remove; None where there are none."""
    shutil.rmtree(place, ignore_errors=True)
    for file in files:
        place.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, place / file.name)
    return place if files else None


def _copies(shards: Shards, teacher: WeightAverage) -> dict[str, dict[str, Tensor]]:
    """Whole tensors by the name of their file, in memory of their own of the first rank. A collective."""
    moments: dict[str, Tensor] = {}
    for moment, shard in shards.moments().items():
        whole = shards.whole(shard)
        moments |= {f"{moment}/{name}": values for name, values in whole.items()}
    found = {_STUDENT: shards.whole(shards.masters), _OPTIMIZER: moments}
    return found | {_TEACHER: teacher.whole()}


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
        refuse_pipe(folder / "optimizer.safetensors")
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
