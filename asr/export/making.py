"""A trained model's folder -> an exported one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr.errors import UserError
from asr.export.folders import ABOUT, check_target, published
from asr.export.loading import how_to_load
from asr.export.model_card import About, card, run_of, version
from asr.export.speech import CheckSpeech
from asr.model.loaded_model import LoadedModel
from asr.model.model_folder import Weights, load_model
from asr.utils.files import write_json, write_text

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,62}")
"""It stands in the card's header, which is YAML."""

Target = Literal["onnx", "hf", "torch"]


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the model and the place."""

    target: Target
    weights: Weights = "teacher"
    best: bool = False
    int8: bool = False
    licence: str = "unknown"
    dev: Path | None = None
    """A prepared set to check by; the recipe's first dev set at None."""
    overwrite: bool = False


def export(folder: Path, output: Path, wanted: Wanted) -> dict[str, Any]:
    """Write `output`, whole or not at all; returns what was found when it was checked.

    Raises UserError where the model cannot be exported so, a package is missing, the place is taken, or what
    was exported does not compute what the model does.
    """
    if wanted.int8 and wanted.target != "onnx":
        raise UserError("--int8: is of --to onnx", "leave it out, or say --to onnx")
    if not _LICENCE.fullmatch(wanted.licence):
        raise UserError(
            f"--licence {wanted.licence!r}: is no name of one",
            "give a short name in Latin letters, as in cc-by-4.0, or leave it out",
        )
    output = output.absolute()
    check_target(output, wanted.overwrite)
    model = load_model(folder, wanted.weights, "cpu", best=wanted.best)
    run = run_of(model.checkpoint)
    said = {
        "name": model.config.name,
        "weights": wanted.weights,
        "weights_sha256": model.weights_sha256,
        "licence": wanted.licence,
        "version": version(),
    }
    with published(output, wanted.overwrite) as place:
        checks = _written(model, place, wanted, said)
        loading = how_to_load(model, wanted.target, place)
        about = About(run, wanted.weights, wanted.licence, wanted.target, checks, loading)
        write_text(place / "README.md", card(model, about))
        write_json(place / ABOUT, {"target": wanted.target, **said, "checks": checks})
    return checks


def _written(
    model: LoadedModel, place: Path, wanted: Wanted, said: Mapping[str, object]
) -> dict[str, Any]:
    if wanted.target == "hf":
        from asr.export.to_hugging_face import write_hugging_face

        return write_hugging_face(model, place, wanted.weights, CheckSpeech.of(model, wanted.dev))
    if wanted.target == "torch":
        from asr.export.to_torch import write_torch

        return write_torch(model, place, CheckSpeech.of(model, wanted.dev))
    from asr.export.onnx_files import need_packages
    from asr.export.to_onnx import write_onnx

    need_packages()
    speech = CheckSpeech.of(model, wanted.dev)
    return write_onnx(model, place, speech, wanted.int8, said)
