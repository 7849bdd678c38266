"""A trained model's folder, on its own: weights in safetensors, config.yaml and the tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.model.encoders.pretrained.encoder import FOLDER as DESCRIPTION
from asr.model.lineage import (
    STATE,
    best_of,
    check_files,
    line_of,
    noted_files,
    own_checkpoints,
    read_state,
)
from asr.model.loaded_model import LoadedModel
from asr.model.make import make_front_end, make_model
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import NoTokenizer, Tokenizer, load_tokenizer, tokenizer_sha256
from asr.utils.devices import has_gpu
from asr.utils.faults import first_line
from asr.utils.hashes import files_sha256
from asr.utils.text_files import refuse_pipe
from asr.utils.yaml_text import parse_yaml

_TENSORS = ".safetensors"
Weights = Literal["teacher", "student"]
"""The average of the student's weights, or the student's own."""


def pointed_at(run: Path, pointer: Literal["latest", "best"]) -> Path | None:
    """The complete checkpoint that a run's `latest` names, if there is one; or the best of its line.

    The best is that with the lowest dev WER of those from which the latest descends; the file `best` is asked
    where there is no latest.
    """
    if pointer == "best":
        latest = pointed_at(run, "latest")
        if latest is not None:
            return best_of(line_of(latest))
    if not (run / pointer).is_file():  # opening a pipe would wait for ever
        return None
    try:
        name = (run / pointer).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    if not name or "\0" in name or Path(name).name != name:
        return None
    folder = run / "checkpoints" / name
    return folder if (folder / STATE).is_file() else None


def read_config(checkpoint: Path) -> Config:
    """The config.yaml of a checkpoint. Raises UserError if it is missing or not valid.

    Without how its speech was labelled: a model does not need that, and older or newer ones say it otherwise.
    """
    path = checkpoint / "config.yaml"
    try:
        refuse_pipe(path)
        tree = parse_yaml(path.read_text(encoding="utf-8"))
        tree.pop("pseudo_label", None)
        corpus, objective = tree.get("corpus") or {}, tree.get("objective") or {}
        has_texts = objective.get("kind", "text") == "text"
        if has_texts and corpus.get("untranscribed") and not corpus.get("labelled"):
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
    if found is None and not best and (folder / "latest").exists():
        names = [path.name for path, _ in own_checkpoints(folder / "checkpoints")]
        raise UserError(
            f"{folder}/latest names no checkpoint that is there",
            f"write {names[-1]} into it, the newest there is"
            if names
            else f"copy one into {folder}/checkpoints and write its name into it",
        )
    if found is None and (folder / "config.json").is_file():
        raise UserError(
            f"{folder}: a model of others (config.json), not trained here",
            "`asr decode` and `asr label` take it as it is; or train from it, and name that run",
        )
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


def load_frozen(
    folder: Path,
    weights: Weights = "teacher",
    device: torch.device | None = None,
    best: bool = False,
) -> LoadedModel:
    """The same of any objective, for what its encoder says: without texts its tokenizer has no tokens."""
    checkpoint = find_checkpoint(folder, best)
    return _loaded([checkpoint], weights, choose_device(device), writes=False)


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """A GPU where there is one, at None. Raises UserError for a device that is not here."""
    has_cuda = has_gpu()
    try:
        chosen = torch.device(device or ("cuda" if has_cuda else "cpu"))
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device {device!r}: {first_line(error)}", "take cpu, or cuda") from None
    if chosen.type == "cuda" and not has_cuda:
        raise UserError(f"device {device!r}: no GPU that torch can use is here", "take cpu")
    return chosen


def load_average(run: Path, weights: Weights, count: int, device: torch.device) -> LoadedModel:
    """The mean of the weights of a run's last `count` checkpoints, of those that its latest descends from.

    Raises UserError where the run has fewer.
    """
    latest = pointed_at(run, "latest")
    found = line_of(latest) if latest is not None else []
    if len(found) < count:
        raise UserError(
            f"{run}: has {len(found)} checkpoints in the line of its latest and not the {count} to average",
            f"average at most {len(found)}, or train with a larger trainer.keep_last"
            if found
            else "train it until it has saved one",
        )
    loaded = _loaded(found[-count:], weights, device)
    loaded.averaged = found[-count:]
    return loaded


def _tokenizer_of(checkpoint: Path, state: Mapping[str, Any]) -> Tokenizer:
    """Raises UserError where it is not the one that the checkpoint was saved with."""
    saved = state.get("tokenizer_sha256")
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


def read_weights(path: Path, network: SpeechModel | None = None) -> dict[str, Tensor]:
    """The tensors of a file of weights, put into `network` if there is one.

    Raises UserError where it is no such file, does not fit, or holds a NaN or an infinity.
    """
    try:
        refuse_pipe(path)
        weights = dict(load_file(path))
        for name, values in weights.items():
            if not bool(torch.isfinite(values).all()):
                raise UserError(
                    f"{path}: '{name}' holds NaN or infinite weights",
                    "take an earlier checkpoint: the training that made this one diverged",
                )
        if network is not None:
            network.load_weights(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        message = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not this model's weights ({message})",
            "copy the checkpoint again, weights and config.yaml together",
        ) from None
    return weights


def _loaded(
    checkpoints: list[Path], weights: Weights, device: torch.device, writes: bool = True
) -> LoadedModel:
    """The mean of some checkpoints' weights; config and tokenizer are the last one's.

    Raises UserError where a model that `writes` texts has none.
    """
    last, file = checkpoints[-1], f"{weights}.safetensors"
    states = [read_state(path) if (path / STATE).is_file() else {} for path in checkpoints]
    check_files(
        last, states[-1], [name for name in noted_files(states[-1]) if not name.endswith(_TENSORS)]
    )
    config = read_config(last)
    has_texts = config.objective.has_texts
    if writes and not has_texts:
        raise UserError(
            f"{last}: was trained by objective.kind {config.objective.kind}, and says no text",
            f"train a recipe with transcripts from it: init_from={last}",
        )
    tokenizer = _tokenizer_of(last, states[-1]) if has_texts else NoTokenizer()
    network = make_model(config, tokenizer.vocabulary_size, last, with_weights=False)
    mean: dict[str, Tensor] = {}
    for checkpoint, state in zip(checkpoints, states, strict=True):
        check_files(checkpoint, state, [file])
        one = read_weights(checkpoint / file, network)
        mean = {n: mean.get(n, 0) + tensor / len(checkpoints) for n, tensor in one.items()}
    network.load_weights(mean)
    network = network.to(device).eval().requires_grad_(False)
    front_end = make_front_end(config, network.encoder, reads=True).to(device)
    sha256 = noted_files(states[-1]).get(file) if len(checkpoints) == 1 else None
    sha256 = sha256 or files_sha256(checkpoint / file for checkpoint in checkpoints)
    return LoadedModel(config, tokenizer, front_end, network, device, last, sha256)
