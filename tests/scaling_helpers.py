"""A recipe for the scaling rule."""

from __future__ import annotations

from asr.config.recipe import parse_config
from asr.config.schema import Config

REFERENCE_SECONDS = 100.0


def config(**sections: dict[str, object]) -> Config:
    tree: dict[str, object] = {
        "scaling": {"reference_batch_seconds": REFERENCE_SECONDS},
        "batch": {"batch_seconds_per_rank": REFERENCE_SECONDS, "group_seconds": 12.5},
        "teacher": {"half_life_hours": 10.0, "update_interval_seconds": 0},
        "optimizer": {"kind": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}  # type: ignore[dict-item]
    return parse_config(tree, "test")
