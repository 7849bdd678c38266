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
from asr.files import flush_to_disk, read_json, write_text
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
    "batch.group_seconds",
)


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

        Raises UserError if the run had checkpoints and none is left: starting anew would wipe its logs.
        """
        named = pointed_at(self.run, "latest")
        if named is not None:
            return named
        complete = sorted(p for p in self.folder.glob("hours-*") if (p / "state.json").is_file())
        if complete:
            return complete[-1]
        if (self.run / "latest").exists():
            raise UserError(
                f"{self.run}: its checkpoints are gone; put them back into {self.folder}, or delete "
                "the run's folder to start anew"
            )
        return None

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
        is_there = final.exists() and read_json(final / "state.json")["clock"] == state["clock"]
        ranks.barrier()  # all have looked before the first one changes anything
        if is_there:
            # Saved before, but perhaps a crash came before the pointers moved.
            if ranks.is_first:
                self._point_to(final)
            ranks.barrier()
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
            flush_to_disk(partial)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            flush_to_disk(self.folder)
            self._point_to(final)
        ranks.barrier()
        return final

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


def restore(
    checkpoint: Path, engine: Engine, teacher: Teacher, config: Config, ranks: Ranks
) -> dict[str, Any]:
    """Put a checkpoint's weights and optimizer state in place; returns its state.json.

    Raises UserError where the recipe cannot continue it, or where it is damaged.
    """
    saved = read_config(checkpoint)
    _check_compatible(saved, config, checkpoint)
    try:
        state = read_json(checkpoint / "state.json")
        _check_layout(saved, config, state["ranks"], ranks.world, checkpoint)
        found, _ = engine.deepspeed.load_checkpoint(str(checkpoint), tag="engine")
        if found is None:
            raise FileNotFoundError("no engine folder")
        teacher.model.load_state_dict(load_file(checkpoint / "teacher.safetensors"))
    except UserError:
        raise
    except Exception as error:  # torch, pickle, safetensors and DeepSpeed each have their own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{checkpoint}: damaged ({reason}); delete this folder, and the run goes on from the "
            "checkpoint before it"
        ) from error
    return dict(state)


def _check_layout(
    saved: Config, config: Config, saved_ranks: int, ranks: int, checkpoint: Path
) -> None:
    """Sharded optimizer state fits the layout only under which it was written."""

    def layout(config: Config, ranks: int) -> tuple[object, ...]:
        stage = config.trainer.zero_stage
        return (stage, config.trainer.precision == "bf16", ranks if stage > 0 else "any")

    if layout(saved, saved_ranks) != layout(config, ranks):
        raise UserError(
            f"{checkpoint}: was written at zero_stage {saved.trainer.zero_stage}, precision "
            f"{saved.trainer.precision}, on {saved_ranks} rank(s); this is zero_stage "
            f"{config.trainer.zero_stage}, precision {config.trainer.precision}, on {ranks}; resume "
            "with the same, or train with trainer.zero_stage=0, which resumes on any number of ranks"
        )


def _check_compatible(saved: Config, config: Config, checkpoint: Path) -> None:
    for path in _PINNED:
        before, now = _at(saved, path), _at(config, path)
        if before != now:
            raise UserError(
                f"{checkpoint}: cannot be continued with another '{path}' (it has {before!r}, the "
                f"recipe says {now!r}); undo the change, or give the new run another output folder"
            )
    model = config.tokenizer.sentencepiece_model
    if config.tokenizer.kind == "sentencepiece" and model is not None:
        inside = checkpoint / "tokenizer.model"
        if not inside.is_file() or inside.read_bytes() != Path(model).read_bytes():
            raise UserError(
                f"{model}: is not the sentencepiece model with which {checkpoint} was trained; restore "
                f"it (a copy is {inside}), or give the new run another output folder"
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
