"""Checkpoints: atomic to save, exact to resume, and a model's folder that stands on its own.

checkpoints/hours-000012.5000/
    engine/               DeepSpeed's shards: weights, optimizer state
    student.safetensors   plain fp32 weights
    teacher.safetensors
    config.yaml  tokenizer.json | tokenizer.model
    state.json            clock, data position, label health
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from asr.config import Config, dump_config
from asr.distributed import Ranks
from asr.engine import Engine
from asr.errors import UserError
from asr.model_folder import pointed_at, read_config
from asr.teacher import Teacher, master_weights
from asr.tokenizer import Tokenizer

_PARTIAL = ".partial-"
# Whatever these say must be the same before and after a resume; all else may change.
_PINNED = (
    "seed",
    "tokenizer",
    "features",
    "model",
    "scaling.reference_batch_seconds",
    "optimizer.kind",
)


def read_json(path: Path) -> Any:
    """The content of a JSON file of ours."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader, or a crash, sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


@dataclass
class CheckpointStore:
    """The checkpoints of one run."""

    run: Path
    keep_last: int

    @property
    def folder(self) -> Path:
        return self.run / "checkpoints"

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return pointed_at(self.run, "latest")

    def save(
        self,
        engine: Engine,
        teacher: Teacher,
        tokenizer: Tokenizer,
        config: Config,
        state: dict[str, Any],
        ranks: Ranks,
    ) -> Path:
        """Write a checkpoint and move `latest` to it. A collective.

        Until its last rename the checkpoint has a name that nobody reads, so a crash at any point
        leaves the previous one in force.
        """
        name = f"hours-{state['clock']['seconds'] / 3600:011.4f}"
        final, partial = self.folder / name, self.folder / f"{_PARTIAL}{name}"
        if final.exists() and read_json(final / "state.json")["clock"] == state["clock"]:
            return final
        if ranks.is_first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        ranks.barrier()
        engine.deepspeed.save_checkpoint(str(partial), tag="engine", save_latest=False)
        student = {
            name: weight.cpu().clone() if ranks.is_first else weight.new_empty(0)
            for name, weight in master_weights(engine.student)
        }
        ranks.barrier()
        if ranks.is_first:
            save_file(student, partial / "student.safetensors")
            save_file(_cpu(teacher.model.state_dict()), partial / "teacher.safetensors")
            (partial / "config.yaml").write_text(dump_config(config), encoding="utf-8")
            tokenizer.save(partial)
            (partial / "state.json").write_text(
                json.dumps(state, indent=1) + "\n", encoding="utf-8"
            )
            _flush_to_disk(partial)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            write_atomically(self.run / "latest", name + "\n")
            self._note_best(final, state)
            self._prune()
        ranks.barrier()
        return final

    def _note_best(self, checkpoint: Path, state: dict[str, Any]) -> None:
        if state["dev_wer"] is None:
            return
        best = pointed_at(self.run, "best")
        if best is None or state["dev_wer"] < read_json(best / "state.json")["dev_wer"]:
            write_atomically(self.run / "best", checkpoint.name + "\n")

    def _prune(self) -> None:
        kept = sorted(self.folder.glob("hours-*"))[-self.keep_last :]
        kept += [p for p in (pointed_at(self.run, "latest"), pointed_at(self.run, "best")) if p]
        for folder in [*self.folder.glob("hours-*"), *self.folder.glob(f"{_PARTIAL}*")]:
            if folder not in kept:
                shutil.rmtree(folder)


def restore(
    checkpoint: Path, engine: Engine, teacher: Teacher, config: Config, ranks: Ranks
) -> dict[str, Any]:
    """Put a checkpoint's weights and optimizer state in place; returns its state.json.

    Raises UserError where the recipe cannot continue it.
    """
    state = read_json(checkpoint / "state.json")
    saved = read_config(checkpoint)
    _check_compatible(saved, config, checkpoint)
    stage = config.trainer.zero_stage
    if stage != saved.trainer.zero_stage or (stage > 0 and state["ranks"] != ranks.world):
        raise UserError(
            f"{checkpoint}: was written at zero_stage {saved.trainer.zero_stage} on {state['ranks']} "
            f"rank(s), this is zero_stage {stage} on {ranks.world}; resume with the same, or train "
            "with trainer.zero_stage=0, which resumes on any number of ranks"
        )
    engine.deepspeed.load_checkpoint(str(checkpoint), tag="engine")
    teacher.model.load_state_dict(load_file(checkpoint / "teacher.safetensors"))
    return dict(state)


def _check_compatible(saved: Config, config: Config, checkpoint: Path) -> None:
    for path in _PINNED:
        before, now = _at(saved, path), _at(config, path)
        if before != now:
            raise UserError(
                f"{checkpoint}: cannot be continued with another '{path}' (it has {before!r}, the "
                f"recipe says {now!r}); undo the change, or give the new run another output folder"
            )


def _at(config: Config, path: str) -> Any:
    value: Any = config.model_dump(mode="json")
    for part in path.split("."):
        value = value[part]
    if path == "model":  # dropout may change in mid-run; shapes may not
        return {k: v for k, v in value.items() if "drop" not in k}
    return value


def _cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}


def _flush_to_disk(folder: Path) -> None:
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
