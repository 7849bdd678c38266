"""Which settings a run may change between a checkpoint and its continuation."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from asr.config.schema import Config
from asr.data.segments import Kind
from asr.errors import UserError
from asr.model.encoder_decoder.ctc_head import PREFIX as CTC_HEAD
from asr.utils.yaml_text import parse_yaml

_ANOTHER = "or begin another run in a folder of its own (output=FOLDER)"

# Whatever these say must be the same before and after a resume; all else may change.
_PINNED = (
    "seed",
    "tokenizer",
    "features",
    "model",
    *("objective.kind", "objective.latent.teacher", "objective.latent.top_blocks"),
    *(f"objective.byol.{name}" for name in ("teacher", "hidden_width", "projection_width")),
    "scaling.reference_batch_seconds",
    "optimizer.kind",
    "batch.group_seconds",
    *("corpus.weights", "corpus.temperature"),
)

_FREE_OF_MODEL = (
    *("pretrained", "encoder"),  # where it lies: a checkpoint describes it itself
    *("freeze_encoder_until_hours", "freeze_front_end_until_hours"),
    *("layer_decay", "head_learning_rate_factor", "label_smoothing"),
)


def check_compatible(saved: Config, config: Config, checkpoint: Path) -> None:
    """Raises UserError where `config` cannot continue a checkpoint that was saved with `saved`."""
    keys: dict[str, tuple[str, str]] = {}
    has_texts = config.objective.has_texts
    for path in _PINNED if has_texts else [one for one in _PINNED if one != "tokenizer"]:
        keys |= _changed(path, saved, config)
    if keys:
        told = ", ".join(f"{key} {old} and not {new}" for key, (old, new) in keys.items())
        back = " ".join(shlex.quote(f"{key}={old}") for key, (old, _) in keys.items())
        raise UserError(
            f"{checkpoint}: cannot be continued with other settings: it has {told}",
            f"set {back}, {_ANOTHER}",
        )
    model = config.tokenizer.sentencepiece_model
    if has_texts and config.tokenizer.kind == "sentencepiece" and model is not None:
        inside = checkpoint / "tokenizer.model"
        there = inside.is_file() and Path(model).is_file()
        if not there or inside.read_bytes() != Path(model).read_bytes():
            raise UserError(
                f"{model}: is not the sentencepiece model with which {checkpoint} was trained",
                f"copy it back (cp {inside} {model}), {_ANOTHER}",
            )


def check_corpora(
    checkpoint: Path, state: Mapping[str, Any], fingerprints: Mapping[str, str]
) -> list[str]:
    """A data position means something only in the corpora in which it was reached.

    Raises UserError where a corpus that the run has drawn from is another now. What a user should know of
    noise and rooms that are.
    """
    position = state["position"]
    drawn = {kind for kind in Kind if position[f"{kind}_pass"] or position[f"{kind}_group"]}
    for kind, fingerprint in fingerprints.items():
        before = state["corpora"].get(kind)
        if kind in drawn and before is not None and before != fingerprint:
            raise UserError(
                f"{checkpoint}: cannot be continued with other utterances in corpus.{kind} (ids, "
                "durations, corpus.min_seconds or max_seconds changed)",
                f"restore them, {_ANOTHER}",
            )
    return [
        f"augmentation.{name}.sources: not the recordings that {checkpoint} knew: others are drawn from here on"
        for name, fingerprint in fingerprints.items()
        if name not in set(Kind) and state["corpora"].get(name, fingerprint) != fingerprint
    ]


def _changed(path: str, saved: Config, config: Config) -> dict[str, tuple[str, str]]:
    """By its key, each setting of a section that differs, before and now, as an override says it."""
    before, now = _at(saved, path), _at(config, path)
    if before == now:
        return {}
    if not isinstance(before, dict):
        return {path: (_shown(before), _shown(now))}
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if "kind" in keys:  # of another kind all differ
        keys = ["kind"]
    changed = {f"{path}.{key}": (_shown(before.get(key)), _shown(now.get(key))) for key in keys}
    if changed.pop(f"{path}.{CTC_HEAD}", None):
        weights = [_shown(getattr(one.model, "ctc_weight", 0.0)) for one in (saved, config)]
        changed[f"{path}.ctc_weight"] = (weights[0], weights[1])
    return changed


def _shown(value: Any) -> str:
    """As YAML on one line."""
    try:
        if isinstance(value, str) and parse_yaml(value) == value:
            return value
    except yaml.YAMLError:
        pass
    return json.dumps(value, ensure_ascii=False)


def architecture(config: Config) -> dict[str, Any]:
    """By its name, each setting that says what the weights are of: what the network is and hears."""
    sections = {"features": _at(config, "features"), "model": _at(config, "model")}
    found = {f"{name}.{key}": v for name, section in sections.items() for key, v in section.items()}
    found.pop("features.source")  # how it gets them is another matter
    found.pop(f"model.{CTC_HEAD}", None)  # one that is lacking is made anew
    return found


def _at(config: Config, path: str) -> Any:
    value: Any = config.model_dump(mode="json")
    for part in path.split("."):
        value = value[part]
    if path == "model":  # dropout and weights of losses may change in mid-run; shapes may not
        has_head = {CTC_HEAD: value["ctc_weight"] > 0} if "ctc_weight" in value else {}
        free = (*_FREE_OF_MODEL, "ctc_weight")
        return {k: v for k, v in value.items() if "drop" not in k and k not in free} | has_head
    return value
