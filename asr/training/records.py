"""The metrics of one update, as metrics.jsonl has them."""

from __future__ import annotations

import math
from typing import Any

from asr.config.schema import Config
from asr.data.dataloader import RankBatch
from asr.scaling.rule import kappa_of
from asr.training.batch_stats import BatchStats
from asr.training.state import TrainingState


def update_record(
    config: Config, state: TrainingState, stats: BatchStats, batch: RankBatch
) -> dict[str, Any]:
    """What an update's batch came to, over all ranks, after its step.

    Losses are in nats per second of audio: `loss` over all of the batch's, the others over what was trained on.
    """
    trained_seconds = max(1e-9, stats.trained_seconds)
    return {
        "kappa": kappa_of(config, state.batch_seconds),
        "loss": (stats.loss_labelled + stats.loss_pseudo_labelled) / batch.batch.seconds,
        "loss_labelled": _per_second(stats.loss_labelled, stats.labelled_seconds),
        "loss_pseudo_labelled": _per_second(
            stats.loss_pseudo_labelled, stats.pseudo_labelled_seconds
        ),
        "micro_batches": int(stats.micro_batches),
        "gradient_noise_scale_seconds": state.noise_scale.seconds,
        "batch_seconds": batch.batch.seconds,
        "pseudo_labelled_share": stats.pseudo_labelled_seconds / trained_seconds,
        "infeasible_transcripts": int(stats.infeasible_transcripts),
        "non_finite": state.non_finite,
        "skipped_updates": state.skipped_updates,
        "padding_share": batch.padding_share,
    }


def finite(value: float) -> float | None:
    """None for what JSON has no number for."""
    return value if math.isfinite(value) else None


def _per_second(loss: float, seconds: float) -> float | None:
    return loss / seconds if seconds > 0 else None
