"""How large a recipe's run is: parameters, memory of a rank, bytes on the wire. No torch: `asr plan` uses it.

Memory is what torch allocates, to 5 %. What the allocator, CUDA and NCCL take for themselves comes on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from asr.config.model import EncoderDecoderConfig, TransformerConfig
from asr.config.schema import Config
from asr.distributed.precision import BYTES, Precision, bucket_elements
from asr.errors import UserError
from asr.scaling.optimizers import OPTIMIZERS

_FP32 = BYTES["float32"]
_BYTES_PER_GB = 1e9
BANDWIDTH_GB_PER_SECOND = 25.0
LATENCY_MICROSECONDS = 20.0
"""Between ranks, where nothing else is known."""
_PADDING = 1.1
"""Padded over plain audio of micro-batches that are sorted by length."""


def vocabulary_size(config: Config) -> int | None:
    """Tokens, the blank included; 0 without texts, None where the tokenizer's model is not there yet."""
    from asr.model.tokenizer import make_tokenizer

    try:
        if not config.objective.has_texts:
            return 0
        if isinstance(config.model, EncoderDecoderConfig):
            from asr.data.transcripts import training_tokenizer

            return training_tokenizer(config).vocabulary_size
        return make_tokenizer(config.tokenizer).vocabulary_size
    except UserError:
        return None


def parameter_count(config: Config, vocabulary: int) -> int:
    """Parameters of asr.model.make.make_model's. Raises UserError where a pretrained model is not there."""
    model = config.model
    if not isinstance(model, TransformerConfig):
        from asr.planning.network import parameters_of_pretrained

        return parameters_of_pretrained(config, vocabulary)
    width, inner = model.width, model.feed_forward_width
    front_end = config.features.mel_bins * 2 * width * model.front_end_kernel + 2 * width
    attention = 4 * width * width + 4 * width
    feed_forward = 2 * width * inner + inner + width
    kernel = model.convolution_kernel
    convolution = 3 * width * width + 3 * width + width * kernel + width + 2 * width
    norms = (3 if kernel else 2) * 2 * width
    block = attention + feed_forward + norms + (convolution if kernel else 0)
    final_norm = 2 * width if model.norm == "pre" else 0
    outputs = _outputs(config, vocabulary)
    head = width * outputs + outputs
    mask = width if config.objective.kind == "latent" else 0
    if config.objective.kind == "byol":
        head = _perceptron(config, width) + _perceptron(config, outputs)
    return front_end + model.layers * block + final_norm + head + mask


def _perceptron(config: Config, inputs: int) -> int:
    """Parameters of BYOL's projector or predictor."""
    hidden, outputs = config.objective.byol.hidden_width, config.objective.byol.projection_width
    return inputs * hidden + hidden + 2 * hidden + hidden * outputs + outputs


def _outputs(config: Config, vocabulary: int) -> int:
    """Of the head: a token's logit each, or a channel of what is predicted."""
    if config.objective.kind == "byol":
        return config.objective.byol.projection_width
    return vocabulary if config.objective.has_texts else getattr(config.model, "width", 0)


def activation_bytes(config: Config, vocabulary: int, stage: int) -> float:
    """What a GPU holds for the largest micro-batch where its backward pass begins, weights aside.

    Counted per encoder frame in tensors of width W and of the feed-forward width, as autograd keeps them.
    Attention weights are never kept: they are computed again. Masks of dropout are bytes. Under autocast
    layer normalisation takes and returns fp32, and each weight has a copy for the matrix products; but ZeRO
    3, which must let weights go, keeps what they are multiplied with as it was before autocast. Left out:
    CTC's own tables, 8 bytes a token and frame. NaN for a pretrained model, of which `asr bench` measures it.
    """
    model, precision = config.model, Precision.of(config)
    if not isinstance(model, TransformerConfig):
        return math.nan
    size, norm_size = BYTES[precision.activations], BYTES[precision.weights]
    input_size = norm_size if stage == 3 else size
    width, inner, mask = model.width, model.feed_forward_width, 1 if model.dropout else 0
    branch = (
        width * (norm_size + input_size + mask) + 8
    )  # a normalisation's input, a projection's, a mask
    attention = (6 if model.positions == "rotary" else 4) * width * size + 4 * model.heads
    convolution = (
        width * (3 * size + input_size + 2 * norm_size) + 8 if model.convolution_kernel else 0
    )
    is_kept_once = model.activation == "relu" and not model.dropout
    feed_forward = inner * ((1 if is_kept_once else 2) * size + mask)
    branches = 3 if model.convolution_kernel else 2
    block = branches * branch + attention + convolution + feed_forward
    features = config.features.mel_bins * model.stride * (_FP32 + (size if precision.is_low else 0))
    ends = features + width * (2 * size + input_size + mask)
    ends += _outputs(config, vocabulary) * (size + _FP32)
    ends += (width * norm_size + 8) if model.norm == "pre" else 0
    if config.objective.kind == "byol":  # two hidden layers, normalised, and what lies between them
        own = config.objective.byol
        ends += 2 * (own.hidden_width * (norm_size + size) + 8) + own.projection_width * size
    working = inner * size  # of the first gradients
    frames_per_second = 1000.0 / config.features.hop_ms / model.stride
    frames = config.batch.max_seconds_per_micro_batch * frames_per_second
    copies = parameter_count(config, vocabulary) * size if precision.autocast and stage < 3 else 0.0
    blocks = model.layers * block
    if config.trainer.activation_checkpointing:
        stream_size = norm_size if model.norm == "post" else size
        blocks = (
            model.layers * width * stream_size + block
        )  # inputs, and one that is computed again
        copies = copies / model.layers
    return frames * (blocks + ends + working) + copies


def memory_gb_per_rank(config: Config, vocabulary: int, ranks: int, stage: int) -> dict[str, float]:
    """Gigabytes (1e9 bytes) that a rank needs at a ZeRO stage, by what they are for, and their total.

    At the peak of an update of several micro-batches: the gradients of those before are there. Where ranks
    sum gradients the activations are gone, so `exchange` counts only what goes beyond them.
    """
    count = parameter_count(config, vocabulary)
    precision = Precision.of(config)
    moments = OPTIMIZERS[config.optimizer.kind].moments(config.optimizer)
    weight_size, exchange_size = BYTES[precision.weights], BYTES[precision.exchange]
    bucket = bucket_elements(count)

    def share(from_stage: int) -> float:
        return count / ranks if stage >= from_stage else count

    gradients = share(2) * BYTES[precision.gradients]
    buckets = {1: weight_size, 2: weight_size, 3: exchange_size}.get(stage, 0) * bucket
    if (
        stage == 1 and precision.wants_masters_apart
    ):  # an optimizer of its own: bf16 gradients stay, too
        gradients, buckets = gradients + count * weight_size, 0
    # Stage 0 flattens; stage 2 sums anew or in another type; stage 3 cuts, and steps with a copy.
    low_sum = exchange_size * bucket if exchange_size != weight_size else 0
    exchange = {
        0: float(_FP32 * count),
        1: 0.0,
        2: low_sum if precision.wants_masters_apart else share(2) * _FP32,
        3: max(exchange_size * bucket, share(2) * _FP32),
    }[stage]
    gathered = bucket if stage == 3 and ranks > 1 else 0
    # At stage 0 in fp32 the weights are their own masters, and the teacher's copy is its average.
    masters = share(1) * _FP32 if stage > 0 else 0.0
    activations = activation_bytes(config, vocabulary, stage)
    parts = {
        "parameters": (share(3) + gathered) * weight_size,
        "gradients": gradients,
        "optimizer": masters + share(1) * _FP32 * moments,
        "teacher": share(1) * _FP32 * _shards_of_averages(config, stage),
        "labelling_copy": float(
            count * (weight_size * _averages(config) + _FP32 * _copies(config))
        ),
        "buckets": float(buckets),
        "activations": activations,
        "exchange": exchange if math.isnan(activations) else max(0.0, exchange - activations),
    }
    parts = {name: value / _BYTES_PER_GB for name, value in parts.items()}
    return {**parts, "total": math.fsum(parts.values())}


def _averages(config: Config) -> int:
    """Each with a copy of the whole network, to label or to be evaluated."""
    return 1 if config.teacher.evaluation_half_life_hours is None else 2


def _copies(config: Config) -> int:
    """Whole fp32 networks beside the student's and the averages': that of a teacher which changes seldom."""
    policy = config.pseudo_label
    return int(policy.start_hours is not None and policy.teacher in ("frozen", "average_of_best"))


def _shards_of_averages(config: Config, stage: int) -> int:
    """Shards of fp32 weights that averages keep beside their networks; at stage 0 those are the averages."""
    teacher = config.teacher
    last_student = 0 if teacher.averaged_weights == "after" else 1
    after_the_run = 2 if teacher.keep_for_average else 0
    return (_averages(config) if stage > 0 else 0) + last_student + after_the_run


def micro_batches_per_rank(config: Config, batch_seconds: float, ranks: int) -> int:
    """Forward and backward passes of a rank in one update.

    A pass may hold both kinds of speech, and its limit holds for padded audio as it is played.
    """
    limit = config.batch.max_seconds_per_micro_batch * ranks
    return math.ceil(played_seconds(config, batch_seconds) / limit)


def played_seconds(config: Config, seconds: float) -> float:
    """What so much audio comes to, as it is played in all views at the recipe's speeds, and padded."""
    speeds, seconds = config.augmentation.speed_factors, seconds * config.objective.views
    return seconds * math.fsum(1.0 / speed for speed in speeds) / len(speeds) * _PADDING


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
        is_asked = config.pseudo_label.start_hours is not None or not config.objective.has_texts
        labels = stage > 0 and is_asked
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
    return (
        (ranks - 1) / ranks * count * (gradients + weights + refreshes * BYTES[precision.weights])
    )


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
