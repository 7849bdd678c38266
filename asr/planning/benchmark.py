"""`asr bench`: how fast a recipe trains on this machine, measured, for `asr plan --bench`."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.config.pseudo_label import LabellingStartConfig
from asr.config.schema import Config
from asr.errors import UserError
from asr.planning.estimates import (
    BANDWIDTH_GB_PER_SECOND,
    LATENCY_MICROSECONDS,
    Network,
    micro_batches_per_rank,
)
from asr.scaling.card import plan_row
from asr.scaling.rule import SECONDS_PER_HOUR
from asr.utils.files import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asr.data.loading.micro_batch import MicroBatch
    from asr.distributed.process_group import Ranks
    from asr.model.criterion import Criterion
    from asr.training.batch_stats import BatchStats
    from asr.training.trainer import Trainer

_WARM_UP_UPDATES = 3
_MESSAGE_BYTES = 32 << 20
_MESSAGES = 5


@dataclass(frozen=True)
class Speed:
    """Updates of one kind, timed."""

    throughput: float
    """Seconds of audio that one rank trains on in a second, all included."""
    compute_throughput: float
    """The same without the communication that `asr plan` reckons with."""
    updates: int
    update_seconds: float
    """Mean wall-clock of an update."""
    data_wait_share: float
    """Share of it that was spent waiting for audio."""


def measure(config: Config, ranks: Ranks, updates: int) -> dict[str, Any]:
    """The content of a bench's file: so many updates of each kind, timed. A collective."""
    from asr.tracking.environment import environment

    own = "supervised" if config.objective.has_texts else config.objective.kind
    phases: dict[str, float | None] = {} if config.has_no_transcripts else {own: None}
    if config.pseudo_label.start_hours is not None:
        phases["pseudo_labelled"] = 0.0
    network = _measure_network(ranks) if ranks.world > 1 else None
    speeds = {}
    for phase, start_hours in phases.items():
        start = LabellingStartConfig(hours=start_hours)
        policy = config.pseudo_label.model_copy(update={"start": start})
        speeds[phase] = _time_updates(
            config.model_copy(update={"pseudo_label": policy}), ranks, updates, network
        )
    return {
        "ranks": ranks.world,
        "device": _device_name(ranks),
        "cores_per_rank": _cores_per_rank(),
        "global_batch_seconds": config.global_batch_seconds(ranks.world),
        "zero_stage": config.trainer.zero_stage,
        "precision": config.trainer.precision,
        "speeds": {phase: asdict(speed) for phase, speed in speeds.items()},
        "peak_memory_gb": _peak_memory_bytes(ranks) / 1e9,
        "network": asdict(network) if network else None,
        "environment": environment(),
    }


def _time_updates(config: Config, ranks: Ranks, updates: int, network: Network | None) -> Speed:
    """The trainer's own update, without logs, evaluations and checkpoints."""
    import torch

    from asr.training.trainer import Trainer

    # A fresh model, whatever run the recipe's folder holds, and nothing written.
    nowhere = f"{config.output}/.bench-{os.getpid()}"
    teacher = config.teacher.model_copy(update={"keep_for_average": False})
    changes = {"output": nowhere, "fork_from": None, "init_from": None, "teacher": teacher}
    trainer = Trainer(config.model_copy(update=changes), ranks)
    _put_usual_labels(trainer)
    state = trainer.state
    batches = trainer.data.batches(state.position, ranks.rank, ranks.world)
    seconds = waited = started = hours = 0.0
    for number in range(_WARM_UP_UPDATES + updates):
        if number == _WARM_UP_UPDATES:
            _finish_work(ranks)
            seconds, waited, started = 0.0, 0.0, time.perf_counter()
        wanted = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - wanted
        trainer.engine.set_learning_rate(1.0)
        stats = trainer.train_step.accumulate(batch, number, state.clock.hours)
        waited += stats.wait_seconds
        stats.summed(ranks)
        trainer.engine.step()
        hours += batch.batch.seconds / SECONDS_PER_HOUR
        update = state.schedule.consume(batch.batch.seconds, hours)
        if update is not None:
            span = update.from_hours, update.to_hours
            trainer.averages.update(update.momentum, update.evaluation_momentum, span)
        seconds += batch.batch.seconds
    _finish_work(ranks)
    wall_seconds = time.perf_counter() - started
    apart = 0.0
    if network is not None:
        vocabulary = trainer.tokenizer.vocabulary_size
        row = plan_row(config, ranks.world)
        passes = micro_batches_per_rank(config, row["global_batch_seconds"], ranks.world)
        steps = row["teacher_update_steps"]
        apart = network.seconds_per_step(config, vocabulary, ranks.world, passes, steps)
    del trainer, batches
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # The model of the communication is rough: it never explains more than nine tenths of an update.
    computing_seconds = max(wall_seconds - updates * apart, 0.1 * wall_seconds)
    share = seconds / ranks.world
    return Speed(
        throughput=share / wall_seconds,
        compute_throughput=share / computing_seconds,
        updates=updates,
        update_seconds=wall_seconds / updates,
        data_wait_share=waited / wall_seconds,
    )


def _put_usual_labels(trainer: Trainer) -> None:
    """Let the trainer's pseudo-labels be as long as the transcripts are.

    A fresh teacher's own labels are mostly empty or endless and would be dropped, and their updates
    be faster than those of a run.
    """
    from asr.data.segments import Kind
    from asr.training.objectives.texts import PseudoLabels, TextObjective, Texts

    tokens_per_second = trainer.data.tokens_per_second

    class UsualLabels(PseudoLabels):
        def texts(
            self, part: MicroBatch, frames: Sequence[int], criterion: Criterion, stats: BatchStats
        ) -> Texts:
            super().texts(part, frames, criterion, stats)
            targets = [
                [1 + n % 2 for n in range(min(room, round(tokens_per_second * segment.seconds)))]
                for segment, room in zip(part.segments, frames, strict=True)
            ]
            kept = [i for i, target in enumerate(targets) if target]
            return Texts(targets, kept, [None] * len(targets))

    # Without transcripts anywhere a pretrained teacher's own labels are as they will be.
    if tokens_per_second and trainer.labeler is not None:
        objective = trainer.train_step.objective
        assert isinstance(objective, TextObjective)
        weight = trainer.config.pseudo_label.loss_weight
        objective.sources[Kind.UNTRANSCRIBED] = UsualLabels(trainer.labeler, weight)


def _finish_work(ranks: Ranks) -> None:
    import torch

    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)
    ranks.barrier()


def _measure_network(ranks: Ranks) -> Network:
    """Of an all-reduce in a ring: 2 (n - 1) messages, in which a rank sends 2 (n - 1) / n of the bytes."""
    import torch

    def seconds_of(elements: int) -> float:
        values = torch.zeros(elements, device=ranks.device)
        torch.distributed.all_reduce(values)
        _finish_work(ranks)
        started = time.perf_counter()
        for _ in range(_MESSAGES):
            torch.distributed.all_reduce(values)
        _finish_work(ranks)
        return (time.perf_counter() - started) / _MESSAGES

    messages = 2 * (ranks.world - 1)
    short = seconds_of(1)
    long = max(seconds_of(_MESSAGE_BYTES // 4) - short, 1e-9)
    bandwidth = messages / ranks.world * _MESSAGE_BYTES / long / 1e9
    return Network(bandwidth, 1e6 * short / messages)


def _device_name(ranks: Ranks) -> str:
    import platform

    import torch

    if ranks.device.type == "cuda":
        return torch.cuda.get_device_name(ranks.device)
    return platform.processor() or platform.machine()


def _cores_per_rank() -> float:
    return len(os.sched_getaffinity(0)) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _peak_memory_bytes(ranks: Ranks) -> float:
    import torch

    if ranks.device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(ranks.device))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True)
class Bench:
    """What a bench's file says to a plan."""

    throughputs: dict[str, float]
    """By phase; see `Speed.compute_throughput`."""
    network: Network | None
    """Between its ranks; None if there was one."""

    @classmethod
    def read(cls, path: Path) -> Bench:
        """Raises UserError if the file is none of `asr bench`."""
        try:
            content = read_json(path)
            throughputs = {
                name: float(speed["compute_throughput"])
                for name, speed in content["speeds"].items()
            }
            if not throughputs or not min(throughputs.values()) > 0:
                raise ValueError
            network = Network(**content["network"]) if content["network"] else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"--bench {path}: not a result of `asr bench`",
                "make one with `asr bench RECIPE --output FILE`, or give --throughput",
            ) from None
        return cls(throughputs, network)

    def throughput(self, config: Config) -> float:
        """Over the whole run: that of its supervised hours and of its pseudo-labelled ones, mixed."""
        kind: str = config.objective.kind
        if config.objective.has_texts:
            kind = "pseudo_labelled" if config.has_no_transcripts else "supervised"
        if kind not in self.throughputs:
            raise UserError(
                f"--bench: has measured {', '.join(self.throughputs)}, and the recipe's objective.kind is "
                f"{config.objective.kind}",
                "make one of this recipe: asr bench RECIPE --output FILE",
            )
        total, start = config.trainer.total_hours, config.pseudo_label.start_hours
        supervised = total if start is None else min(start, total)
        supervised_speed = self.throughputs[kind]
        labelling_speed = self.throughputs.get("pseudo_labelled", supervised_speed)
        return total / (supervised / supervised_speed + (total - supervised) / labelling_speed)


def speed_of(
    config: Config,
    bench: Bench | None,
    throughput: float | None,
    bandwidth_gb_per_second: float | None,
    latency_microseconds: float | None,
) -> tuple[float, Network]:
    """Throughput of a rank and network for `wall_hours`: as given, else as measured, else usual.

    One of `bench` and `throughput` is there. Raises UserError for what is not above 0.
    """
    measured = bench.network if bench is not None else None
    usual = measured or Network(BANDWIDTH_GB_PER_SECOND, LATENCY_MICROSECONDS)
    network = Network(
        bandwidth_gb_per_second or usual.bandwidth_gb_per_second,
        usual.latency_microseconds if latency_microseconds is None else latency_microseconds,
    )
    if throughput is None:
        assert bench is not None
        throughput = bench.throughput(config)
    for name, value in (
        ("throughput", throughput),
        ("bandwidth-gb-per-second", network.bandwidth_gb_per_second),
    ):
        if not value > 0:
            raise UserError(f"--{name} {value:g} is too small", "it must be above 0")
    return throughput, network
