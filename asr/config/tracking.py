"""What a recipe's `tracking:` can say: where metrics go besides metrics.jsonl."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from asr.config.fields import Section

LOGGERS = ("tensorboard", "csv", "wandb", "mlflow", "aim")


class TrackingConfig(Section):
    """Addresses are no part of it, nor are keys: each service has variables of its own for these."""

    loggers: list[str] = ["tensorboard"]
    """Where metrics go besides metrics.jsonl: tensorboard, csv; wandb, mlflow, aim (each an extra of its name);
    or FILE.py:CLASS of your own. One that fails is said once, and the training goes on."""
    project: str = "asr-ema"
    """W&B's project, MLflow's and Aim's experiment."""

    @field_validator("loggers")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in LOGGERS and ".py:" not in name:
                raise ValueError(f"choose of {', '.join(LOGGERS)}, or FILE.py:CLASS of your own")
        if len(set(names)) < len(names):
            raise ValueError(f"{names} names one twice: leave it out once")
        return names


def with_loggers_in_place(tree: Any) -> Any:
    """A recipe's tree; `trainer.loggers` is the older name of `tracking.loggers`."""
    trainer = tree.get("trainer") if isinstance(tree, dict) else None
    if not isinstance(trainer, dict) or "loggers" not in trainer:
        return tree
    rest = {key: value for key, value in trainer.items() if key != "loggers"}
    tracking = tree.get("tracking") or {}
    if not isinstance(tracking, dict):
        return tree
    return {**tree, "trainer": rest, "tracking": {"loggers": trainer["loggers"], **tracking}}
