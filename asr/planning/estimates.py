"""How large a recipe's run is: parameters, memory of a rank, bytes on the wire. No torch: `asr plan` uses it.

Estimates, good for choosing a ZeRO stage and a micro-batch, not for filling a GPU to the last gigabyte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from asr.config.schema import Config
from asr.distributed.precision import BYTES, Precision
from asr.errors import UserError
from asr.scaling.optimizers import OPTIMIZERS

_FP32 = BYTES["float32"]
_BYTES_PER_GB = 1e9
BANDWIDTH_GB_PER_SECOND = 25.0
LATENCY_MICROSECONDS = 20.0
"""Between ranks, where nothing else is known."""
_PADDING = 1.05
"""Padded over plain audio of micro-batches that are sorted by length."""


def vocabulary_size(config: Config) -> int | None:
    """Tokens, the blank included; None where the sentencepiece model is not there yet."""
    from asr.model.tokenizer import make_tokenizer

    try:
        return make_tokenizer(config.tokenizer).vocabulary_size
    except UserError:
        return None


def parameter_count(config: Config, vocabulary: int) -> int:
    """Parameters of asr.model.acoustic_model.make_model's."""
    model = config.model
    width, inner = model.width, model.feed_forward_width
    front_end = config.features.mel_bins * 2 * width * model.front_end_kernel + 2 * width
    attention = 4 * width * width + 4 * width
    feed_forward = 2 * width * inner + inner + width
    kernel = model.convolution_kernel
    convolution = 3 * width * width + 3 * width + width * kernel + width + 2 * width
    norms = (3 if kernel else 2) * 2 * width
    block = attention + feed_forward + norms + (convolution if kernel else 0)
    final_norm = 2 * width if model.norm == "pre" else 0
    head = width * vocabulary + vocabulary
    return front_end + model.layers * block + final_norm + head


def activation_bytes(config: Config, vocabulary: int) -> float:
    """What the largest micro-batch keeps for its backward pass.

    Counted in tensors of width W and of the feed-forward width for each encoder frame: attention 10 W
    (12 with rotary positions, which keep the unrotated too), convolution module 9 W, feed-forward 3
    inner widths. Attention weights are never kept: they are computed again.
    """
    model = config.model
    elements = (12 if model.positions == "rotary" else 10) * model.width
    elements += 9 * model.width if model.convolution_kernel else 0
    elements += 3 * model.feed_forward_width
    per_frame = model.layers * elements + 5 * model.width + config.features.mel_bins * model.stride
    size = BYTES[Precision.of(config).activations]
    frames_per_second = 1000.0 / config.features.hop_ms / model.stride
    frames = config.batch.max_seconds_per_micro_batch * frames_per_second
    return frames * (per_frame * size + 3 * vocabulary * _FP32)


def memory_gb_per_rank(config: Config, vocabulary: int, ranks: int, stage: int) -> dict[str, float]:
    """Gigabytes (1e9 bytes) that a rank needs at a ZeRO stage, by what they are for, and their total."""
    count = parameter_count(config, vocabulary)
    precision = Precision.of(config)
    moments = OPTIMIZERS[config.optimizer.kind].moments(config.optimizer)

    def share(from_stage: int) -> float:
        return count / ranks if stage >= from_stage else count

    # At stage 0 in fp32 the weights are their own masters, and the teacher's copy is its average.
    masters = share(1) * _FP32 if stage > 0 else 0.0
    parts = {
        "parameters": share(3) * BYTES[precision.weights],
        "gradients": share(2) * BYTES[precision.gradients],
        "optimizer": masters + share(1) * _FP32 * moments,
        "teacher": share(1) * _FP32 if stage > 0 else 0.0,
        "labelling_copy": float(count * _FP32),
        "activations": activation_bytes(config, vocabulary),
    }
    parts = {name: value / _BYTES_PER_GB for name, value in parts.items()}
    return {**parts, "total": math.fsum(parts.values())}


def micro_batches_per_rank(config: Config, batch_seconds: float, ranks: int) -> int:
    """Forward and backward passes of a rank in one update, the most of its phases.

    A pass is of one kind, and its limit holds for padded audio as it is played.
    """
    speeds = config.augmentation.speed_factors
    played = math.fsum(1.0 / speed for speed in speeds) / len(speeds) * _PADDING
    limit = config.batch.max_seconds_per_micro_batch * ranks
    ratio = config.pseudo_label.labelled_to_untranscribed
    labelled, untranscribed = (1, 1) if ratio == "natural" else ratio  # the corpus is not looked at
    phases: list[tuple[float, ...]] = [(1.0,)]
    if config.pseudo_label.start_hours is not None:
        both = labelled + untranscribed
        phases.append((labelled / both, untranscribed / both))
    return max(
        sum(math.ceil(share * batch_seconds * played / limit) for share in shares)
        for shares in phases
    )


@dataclass(frozen=True)
class Network:
    """What joins the ranks."""

    bandwidth_gb_per_second: float
    latency_microseconds: float

    def seconds_per_step(
        self, config: Config, vocabulary: int, ranks: int, micro_batches: int, update_steps: int
    ) -> float:
        """Communication of one update with ring collectives, the teacher's refresh included.

        A ring takes 2 (ranks - 1) messages a collective. Not overlapped with computation.
        """
        stage = config.trainer.zero_stage
        # Stages 2 and 3 reduce each micro-batch's gradients; stage 3 gathers the weights twice for each.
        reduces = micro_batches if stage >= 2 else 1
        gathers = {0: 0, 3: 2 * micro_batches}.get(stage, 1)
        labels = stage > 0 and config.pseudo_label.start_hours is not None
        refreshes = 1 / update_steps if labels else 0.0
        bytes_sent = _ring_bytes(config, vocabulary, ranks, reduces, gathers, refreshes)
        messages = 2 * (ranks - 1) * (reduces + gathers + refreshes)
        return (
            bytes_sent / (self.bandwidth_gb_per_second * _BYTES_PER_GB)
            + messages * self.latency_microseconds * 1e-6
        )


def _ring_bytes(
    config: Config, vocabulary: int, ranks: int, reduces: float, gathers: float, refreshes: float
) -> float:
    """What a rank sends: reduced gradients, gathered weights, gathered averages."""
    count = parameter_count(config, vocabulary)
    precision = Precision.of(config)
    if config.trainer.zero_stage < 3:
        reduces *= 2  # each rank gets the whole sum, though stages 1 and 2 use its part alone
    gradients = reduces * BYTES[precision.exchange]
    weights = gathers * BYTES[precision.weights]
    return (ranks - 1) / ranks * count * (gradients + weights + refreshes * _FP32)


def wall_hours(
    config: Config, vocabulary: int, row: dict[str, Any], throughput: float, network: Network
) -> float:
    """Hours of wall-clock for the whole run.

    `throughput` is seconds of audio a second that one rank computes, communication aside.
    """
    ranks, steps = int(row["ranks"]), int(row["total_steps"])
    computing = config.trainer.total_hours / (ranks * throughput)
    waiting = network.seconds_per_step(
        config, vocabulary, ranks, row["micro_batches_per_rank"], row["teacher_update_steps"]
    )
    return computing + steps * waiting / 3600
