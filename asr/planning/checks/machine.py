"""What the machine has, against what a run needs: memory, and a folder to write to."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

from asr.config.schema import Config
from asr.data.loading.shared_memory import PREFETCH, REMEDY, SHARED, free_bytes
from asr.errors import UserError
from asr.model.model_folder import pointed_at, read_config
from asr.planning.checks.finding import Finding, note
from asr.planning.estimates import (
    memory_gb_per_rank,
    micro_batches_per_rank,
    played_seconds,
    vocabulary_size,
)
from asr.training.resume_rules import check_compatible
from asr.utils.devices import has_gpu

_FIRST_WITH_BF16 = (8, 0)
"""Compute capability: Ampere. T4 and V100 emulate bf16, slowly."""
_SAFE_SHARE = 0.8
"""Of a GPU's memory: the estimate is one."""


def check_memory(config: Config, ranks: int, memory_gb: float) -> Iterator[Finding]:
    """The estimate of `asr plan` against what a rank has."""
    vocabulary = vocabulary_size(config)
    if vocabulary is None:
        return
    stage = config.trainer.zero_stage
    try:
        parts = memory_gb_per_rank(config, vocabulary, ranks, stage)
    except UserError as error:  # of the pretrained model
        yield Finding.of(error)
        return
    if math.isnan(parts["total"]):
        rest = math.fsum(v for n, v in parts.items() if n not in ("activations", "total"))
        yield note(
            f"a rank needs {rest:.3g} GB and what a micro-batch takes, which is not estimated for a pretrained "
            "model: measure it with `asr bench`"
        )
    elif parts["total"] > memory_gb:
        yield Finding(
            f"a rank needs about {parts['total']:.3g} GB ({parts['activations']:.3g} GB of it for a "
            f"micro-batch of {config.batch.max_seconds_per_micro_batch:g} s) and has {memory_gb:.3g} GB",
            "lower batch.max_seconds_per_micro_batch (the global batch stays as it is), raise "
            "trainer.zero_stage, or give the memory of the machine that will train with --memory-gb",
        )
    elif _computes_on_a_gpu():
        yield from _room_for_longer_passes(config, vocabulary, ranks, _SAFE_SHARE * memory_gb)


def _computes_on_a_gpu() -> bool:
    with contextlib.suppress(UserError):  # `check_here` says it
        return has_gpu()
    return False


def _room_for_longer_passes(
    config: Config, vocabulary: int, ranks: int, memory_gb: float
) -> Iterator[Finding]:
    """Fewer micro-batches in an update, where a GPU waits for the host between many small kernels."""
    seconds = config.global_batch_seconds(ranks)
    passes = micro_batches_per_rank(config, seconds, ranks)
    for fewer in range(1, passes):
        limit = 10.0 * math.ceil(played_seconds(config, seconds) / ranks / fewer / 10)
        batch = config.batch.model_copy(update={"max_seconds_per_micro_batch": limit})
        longer = config.model_copy(update={"batch": batch})
        needed = memory_gb_per_rank(longer, vocabulary, ranks, config.trainer.zero_stage)
        if needed["total"] < memory_gb:
            yield note(
                f"an update is {passes} micro-batches of a rank, and its GPU has room for longer ones: it "
                "waits for the host between their many small kernels",
                f"batch.max_seconds_per_micro_batch={limit:g} makes {fewer} of them: the same batches, "
                f"about {needed['total']:.3g} GB",
            )
            return


def check_shared_memory(config: Config, ranks: int) -> Iterator[Finding]:
    """What the loaders of this machine's ranks read ahead, against its /dev/shm."""
    free, cores = free_bytes(), len(os.sched_getaffinity(0))
    if free is None:
        return
    workers = min(config.trainer.loader_workers * min(ranks, cores), cores)
    seconds = config.batch.max_seconds_per_micro_batch * (PREFETCH + 1) * workers
    most = 2 * 4 * seconds * config.features.sample_rate_hz  # the student's and the teacher's, fp32
    if most > free:
        yield note(
            f"{SHARED} has {free / 1e9:.2g} GB free, and audio that is read ahead takes up to "
            f"{most / 1e9:.2g} GB: what finds no room comes slower; {REMEDY}"
        )


def check_here(config: Config, ranks: int) -> Iterator[Finding]:
    """A GPU that torch or the recipe's precision cannot use, and a /dev/shm that is too small."""
    try:
        if has_gpu():
            yield from _check_precision(config)
        if config.trainer.compile_layers:
            from asr.model.encoders.compiled import missing_compiler

            missing = missing_compiler()
            if missing is not None:
                yield Finding.of(missing)
    except UserError as error:
        yield Finding.of(error)
    yield from check_shared_memory(config, ranks)


def _check_precision(config: Config) -> Iterator[Finding]:
    """The recipe's precision against what the first GPU computes fast."""
    import torch

    trainer = config.trainer
    capability = torch.cuda.get_device_capability(0)
    if trainer.precision != "fp32" and torch.version.hip is None and capability < _FIRST_WITH_BF16:
        card = (
            f"{torch.cuda.get_device_name(0)} (compute capability {capability[0]}.{capability[1]})"
        )
        yield Finding(
            f"trainer.precision {trainer.precision}: {card} has no bf16 arithmetic",
            "train in fp32 there (trainer.precision=fp32), or on a card of compute capability 8.0 or more",
        )
    elif trainer.precision == "fp32" and trainer.matmul_precision == "highest":
        yield note(
            "fp32 matrix products leave a GPU's tensor cores idle and take several times as long",
            "trainer.precision=bf16, or trainer.matmul_precision=high",
        )


def memory_gb_of_a_rank(ranks: int) -> float:
    """What a rank has here: a GPU, or its share of this machine's memory."""
    import psutil

    with contextlib.suppress(UserError):  # `check_here` says it
        if has_gpu():
            import torch

            return float(torch.cuda.get_device_properties(0).total_memory) / 1e9
    here = min(ranks, os.cpu_count() or 1)
    return float(psutil.virtual_memory().total) / 1e9 / here


def check_output(config: Config) -> Iterator[Finding]:
    """A checkpoint in the output folder that this recipe cannot continue; a folder that cannot be written."""
    run = Path(config.output)
    latest = pointed_at(run, "latest")
    if latest is not None:
        try:
            check_compatible(read_config(latest), config, latest)
        except UserError as error:
            yield Finding.of(error)
    parent = next(path for path in (run, *run.absolute().parents) if path.exists())
    if not parent.is_dir():
        yield Finding(f"output: {parent} is a file, and a run needs a folder", "choose another")
    elif not os.access(parent, os.W_OK):
        yield Finding(f"output: {run} cannot be written", "fix its permissions, or choose another")
