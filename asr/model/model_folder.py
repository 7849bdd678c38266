"""A trained model's folder, on its own: weights in safetensors, config.yaml and the tokenizer."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Literal, get_args

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.model.encoders.pretrained.encoder import FOLDER as DESCRIPTION
from asr.model.loaded_model import LoadedModel
from asr.model.make import make_front_end, make_model
from asr.model.tokenizer import Tokenizer, load_tokenizer, tokenizer_sha256
from asr.utils.files import read_json
from asr.utils.yaml_text import load_yaml

Weights = Literal["teacher", "student"]
"""The average of the student's weights, or the student's own."""


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
        tree = load_yaml(path.read_text(encoding="utf-8"))
        tree.pop("pseudo_label", None)
        corpus = tree.get("corpus") or {}
        if corpus.get("untranscribed") and not corpus.get("labelled"):
            tree["pseudo_label"] = {"start": {"hours": 0.0}}  # such a run can begin no other way
    except (OSError, UnicodeDecodeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: not readable ({error})", "name a folder that `asr train` wrote"
        ) from None
    return parse_config(tree, str(path))


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
    folder: str | Path,
    weights: Weights = "teacher",
    device: str | torch.device | None = None,
    average: int | None = None,
    best: bool = False,
) -> LoadedModel:
    """A trained model, from its folder alone: safetensors, config.yaml and tokenizer.

    `folder` is a run's, of which the latest checkpoint is taken, or with `best` that with the best dev WER, or
    with `average` the mean of the weights of the last so many; or a checkpoint's own. `device`: a GPU
    where there is one, at None. Raises UserError where a part is missing or does not fit.

    >>> import asr
    >>> model = asr.load_model("exp/run", weights="teacher", device="cpu")
    >>> model.config.features.sample_rate_hz
    16000
    """
    if weights not in get_args(Weights):
        raise UserError(f"weights {weights!r}", f"name one of {', '.join(get_args(Weights))}")
    chosen = choose_device(device)
    checkpoint = find_checkpoint(Path(folder), best)
    if average is None:
        return _loaded([checkpoint], weights, chosen)
    if best or isinstance(average, bool) or not isinstance(average, int) or average < 1:
        raise UserError(
            f"average {average!r}" + (" of the best checkpoint" if best else ""),
            "give a number of the last checkpoints from 1 on, without best",
        )
    if checkpoint == Path(folder):
        raise UserError(f"{folder}: is one checkpoint", "name the run's folder to average several")
    return load_average(Path(folder), weights, average, chosen)


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """A GPU where there is one, at None. Raises UserError for a device that is not here."""
    has_cuda = torch.cuda.is_available()
    try:
        chosen = torch.device(device or ("cuda" if has_cuda else "cpu"))
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"device {device!r}: {str(error).splitlines()[0]}", "cpu, or cuda"
        ) from None
    if chosen.type == "cuda" and not has_cuda:
        raise UserError(f"device {device!r}: no GPU that torch can use is here", "take cpu")
    return chosen


def load_average(run: Path, weights: Weights, count: int, device: torch.device) -> LoadedModel:
    """The mean of the weights of a run's last `count` checkpoints.

    Raises UserError where the run has fewer.
    """
    found = sorted(p for p in (run / "checkpoints").glob("hours-*") if (p / "state.json").is_file())
    if len(found) < count:
        raise UserError(
            f"{run}: has {len(found)} checkpoints and not the {count} to average",
            "keep more of them with trainer.keep_last, or average fewer",
        )
    loaded = _loaded(found[-count:], weights, device)
    loaded.averaged = found[-count:]
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


def copy_description(checkpoint: Path, folder: Path) -> None:
    """Copy what a pretrained model is made again of; nothing of others."""
    source = checkpoint / DESCRIPTION
    if source.is_dir():
        shutil.copytree(source, folder / DESCRIPTION, dirs_exist_ok=True)


def _loaded(checkpoints: list[Path], weights: Weights, device: torch.device) -> LoadedModel:
    """The mean of some checkpoints' weights; config and tokenizer are the last one's."""
    last = checkpoints[-1]
    config, tokenizer = read_config(last), _tokenizer_of(last)
    network = make_model(config, tokenizer.vocabulary_size, last, with_weights=False)
    mean: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    for path in (checkpoint / f"{weights}.safetensors" for checkpoint in checkpoints):
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
        mean = {n: mean.get(n, 0) + tensor / len(checkpoints) for n, tensor in one.items()}
    network.load_weights(mean)
    network = network.to(device).eval().requires_grad_(False)
    front_end = make_front_end(config, network.encoder).to(device)
    return LoadedModel(config, tokenizer, front_end, network, device, last, digest.hexdigest())
