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
from typing import Any, Literal

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr.config import Config, dump_config, parse_config
from asr.distributed import Ranks
from asr.engine import Engine
from asr.errors import UserError
from asr.features import LogMel
from asr.model import AcousticModel
from asr.teacher import Teacher, master_weights
from asr.tokenizer import Tokenizer, load_tokenizer

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
        return _pointed_at(self.run, "latest")

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
        best = _pointed_at(self.run, "best")
        if best is None or state["dev_wer"] < read_json(best / "state.json")["dev_wer"]:
            write_atomically(self.run / "best", checkpoint.name + "\n")

    def _prune(self) -> None:
        kept = sorted(self.folder.glob("hours-*"))[-self.keep_last :]
        kept += [p for p in (_pointed_at(self.run, "latest"), _pointed_at(self.run, "best")) if p]
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
    saved = parse_config(_read_yaml(checkpoint / "config.yaml"), str(checkpoint / "config.yaml"))
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


def _pointed_at(run: Path, pointer: str) -> Path | None:
    try:
        folder = run / "checkpoints" / (run / pointer).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if (folder / "state.json").is_file() else None


def _cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}


def _flush_to_disk(folder: Path) -> None:
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: not readable ({error}); name a folder that `asr train` wrote"
        ) from None
    return dict(tree)


# A trained model, for those who only want to use it.


@dataclass
class LoadedModel:
    """A student or teacher with its features and tokenizer, in evaluation mode."""

    config: Config
    tokenizer: Tokenizer
    log_mel: LogMel
    network: AcousticModel
    device: torch.device
    weights_path: Path

    @torch.inference_mode()
    def logits(self, waveforms_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """CTC logits (B, S, V) and lengths (B,) of waveforms (B, N) at the model's sample rate."""
        features = self.log_mel(waveforms_BN.to(self.device), samples_B.to(self.device))
        logits_BSV, lengths_B = self.network(*features)
        return logits_BSV, lengths_B


def find_checkpoint(folder: Path, best: bool = False) -> Path:
    """A checkpoint folder: the given one, or a run's latest (or best by dev WER)."""
    if (folder / "config.yaml").is_file() and any(folder.glob("*.safetensors")):
        return folder
    found = _pointed_at(folder, "best" if best else "latest")
    if found is None:
        raise UserError(
            f"{folder}: neither a checkpoint (config.yaml, *.safetensors) nor a run with one; "
            "name EXP or EXP/checkpoints/hours-..."
        )
    return found


def load_model(
    checkpoint: Path, model: Literal["teacher", "student"] | str, device: torch.device | None = None
) -> LoadedModel:
    """Read a model from its folder alone: safetensors, config.yaml and tokenizer.

    Raises UserError where a part is missing or does not fit.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = parse_config(_read_yaml(checkpoint / "config.yaml"), str(checkpoint / "config.yaml"))
    tokenizer = load_tokenizer(checkpoint)
    network = AcousticModel(config.features.mel_bins, tokenizer.vocabulary_size, config.model)
    path = checkpoint / f"{model}.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        message = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not this model's weights ({message})") from None
    network = network.to(device).eval().requires_grad_(False)
    return LoadedModel(config, tokenizer, LogMel(config.features).to(device), network, device, path)
