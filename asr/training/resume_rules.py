"""Which settings a run may change between a checkpoint and its continuation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr.config.schema import Config
from asr.data.segments import Kind
from asr.errors import UserError
from asr.model.encoder_decoder.ctc_head import PREFIX as CTC_HEAD

# Whatever these say must be the same before and after a resume; all else may change.
_PINNED = (
    "seed",
    "tokenizer",
    "features",
    "model",
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
    for path in _PINNED:
        before, now = _at(saved, path), _at(config, path)
        if before != now:
            raise UserError(
                f"{checkpoint}: cannot be continued with another '{path}' (it has {before!r}, the "
                f"recipe says {now!r})",
                "undo the change, or give the new run another output folder",
            )
    model = config.tokenizer.sentencepiece_model
    if config.tokenizer.kind == "sentencepiece" and model is not None:
        inside = checkpoint / "tokenizer.model"
        there = inside.is_file() and Path(model).is_file()
        if not there or inside.read_bytes() != Path(model).read_bytes():
            raise UserError(
                f"{model}: is not the sentencepiece model with which {checkpoint} was trained",
                f"restore it (a copy is {inside}), or give the new run another output folder",
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
                "restore them, or give the new run another output folder",
            )
    return [
        f"augmentation.{name}.sources: not the recordings that {checkpoint} knew: others are drawn from here on"
        for name, fingerprint in fingerprints.items()
        if name not in set(Kind) and state["corpora"].get(name, fingerprint) != fingerprint
    ]


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
