"""A trained model's folder, on its own: weights in safetensors, config.yaml and the tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr.config import Config, parse_config
from asr.errors import UserError
from asr.features import LogMel
from asr.model import AcousticModel
from asr.tokenizer import Tokenizer, load_tokenizer


def pointed_at(run: Path, pointer: str) -> Path | None:
    """The complete checkpoint that a run's `latest` or `best` file names, if there is one."""
    try:
        folder = run / "checkpoints" / (run / pointer).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if (folder / "state.json").is_file() else None


def read_config(checkpoint: Path) -> Config:
    """The config.yaml of a checkpoint. Raises UserError if it is missing or not valid."""
    path = checkpoint / "config.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: not readable ({error}); name a folder that `asr train` wrote"
        ) from None
    return parse_config(tree, str(path))


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
    found = pointed_at(folder, "best" if best else "latest")
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
    config = read_config(checkpoint)
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
