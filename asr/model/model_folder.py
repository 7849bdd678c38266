"""A trained model's folder, on its own: weights in safetensors, config.yaml and the tokenizer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.model.acoustic_model import AcousticModel, make_model
from asr.model.features import LogMel, Recording
from asr.model.tokenizer import Tokenizer, load_tokenizer, tokenizer_sha256
from asr.utils.files import read_json

# On festvox_ru windows then give the text of the whole, which unlimited attention does not (one word in six
# differs), and the whole reads no worse: recipes/festvox_ru/RESULTS.md.
ATTENTION_REACH_SECONDS = 5.0


def pointed_at(run: Path, pointer: str) -> Path | None:
    """The complete checkpoint that a run's `latest` or `best` file names, if there is one."""
    try:
        folder = run / "checkpoints" / (run / pointer).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if (folder / "state.json").is_file() else None


def read_config(checkpoint: Path) -> Config:
    """The config.yaml of a checkpoint. Raises UserError if it is missing or not valid.

    Without how its speech was labelled: a model does not need that, and older or newer ones say it otherwise.
    """
    path = checkpoint / "config.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        tree.pop("pseudo_label", None)
    except (OSError, UnicodeDecodeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: not readable ({error})", "name a folder that `asr train` wrote"
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
    weights_sha256: str
    """Of the weights' file, or of those that were averaged, one after the other."""
    averaged: list[Path] = field(default_factory=list)
    """Checkpoints whose mean this is; empty for one checkpoint's own weights."""

    @property
    def frame_samples(self) -> int:
        """Samples of an encoder frame."""
        return self.log_mel.hop_samples * self.network.encoder.stride

    @property
    def frame_seconds(self) -> float:
        """Audio of an encoder frame."""
        return self.frame_samples / self.config.features.sample_rate_hz

    @torch.inference_mode()
    def logits(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        """CTC logits (B, S, V) and lengths (B,) of waveforms (B, N) at the model's sample rate.

        Waveforms are utterances, or pieces of a `recording` that has been surveyed. In pieces, and in
        utterances longer than any in training, a frame attends to its neighbourhood alone: attention over
        minutes was never learnt, and a piece of a recording then gives what the whole would give.
        """
        features_BTF, lengths_B = self.log_mel(
            waveforms_BN.to(self.device), samples_B.to(self.device), recording
        )
        limit = self.config.corpus.max_seconds * self.config.features.sample_rate_hz
        is_long_B = torch.full_like(samples_B, recording is not None, dtype=torch.bool)
        is_long_B |= samples_B > limit
        reach = round(ATTENTION_REACH_SECONDS / self.frame_seconds)
        parts = [
            (rows, *self.network(features_BTF[rows], lengths_B[rows], reach=limited))
            for limited, chosen_B in ((None, ~is_long_B), (reach, is_long_B))
            for rows in [chosen_B.nonzero()[:, 0].to(self.device)]
            if len(rows)
        ]
        order = torch.cat([rows for rows, _, _ in parts]).argsort()
        logits_BSV = torch.cat([logits for _, logits, _ in parts])[order]
        frames_B = torch.cat([frames for _, _, frames in parts])[order]
        return logits_BSV, frames_B


def find_checkpoint(folder: Path, best: bool = False) -> Path:
    """A checkpoint folder: the given one, or a run's latest (or best by dev WER)."""
    if (folder / "config.yaml").is_file() and any(folder.glob("*.safetensors")):
        return folder
    found = pointed_at(folder, "best" if best else "latest")
    if found is None:
        raise UserError(
            f"{folder}: neither a checkpoint (config.yaml, *.safetensors) nor a run with one",
            "name EXP or EXP/checkpoints/hours-...",
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
    tokenizer = _tokenizer_of(checkpoint)
    return _loaded(checkpoint, config, tokenizer, [checkpoint / f"{model}.safetensors"], device)


def load_average(
    run: Path,
    model: Literal["teacher", "student"] | str,
    count: int,
    device: torch.device | None = None,
) -> LoadedModel:
    """The mean of the weights of a run's last `count` checkpoints.

    Raises UserError where the run has fewer.
    """
    found = sorted(p for p in (run / "checkpoints").glob("hours-*") if (p / "state.json").is_file())
    if len(found) < count:
        raise UserError(
            f"--average {count}: {run} has {len(found)} checkpoints",
            "keep more of them with trainer.keep_last, or average fewer",
        )
    last = found[-count:]
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, tokenizer = read_config(last[-1]), _tokenizer_of(last[-1])
    paths = [checkpoint / f"{model}.safetensors" for checkpoint in last]
    loaded = _loaded(last[-1], config, tokenizer, paths, device)
    loaded.averaged = last
    return loaded


def _tokenizer_of(checkpoint: Path) -> Tokenizer:
    """Raises UserError where it is not the one that the checkpoint was saved with."""
    try:
        saved = read_json(checkpoint / "state.json").get("tokenizer_sha256")
    except (OSError, ValueError, AttributeError):  # a folder of weights alone
        saved = None
    if saved is not None and saved != tokenizer_sha256(checkpoint):
        raise UserError(
            f"{checkpoint}: its tokenizer is not the one that the model was trained with",
            "copy the checkpoint again, tokenizer and weights together",
        )
    return load_tokenizer(checkpoint)


def _loaded(
    checkpoint: Path, config: Config, tokenizer: Tokenizer, paths: list[Path], device: torch.device
) -> LoadedModel:
    network = make_model(config, tokenizer.vocabulary_size)
    weights: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(path.read_bytes())
            one = load_file(path)
            network.load_weights(one)
        except (OSError, SafetensorError, RuntimeError) as error:
            message = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: not this model's weights ({message})",
                "copy the checkpoint again, weights and config.yaml together",
            ) from None
        weights = {name: weights.get(name, 0) + tensor / len(paths) for name, tensor in one.items()}
    network.load_weights(weights)
    network = network.to(device).eval().requires_grad_(False)
    log_mel = LogMel(config.features).to(device)
    return LoadedModel(config, tokenizer, log_mel, network, device, digest.hexdigest())
