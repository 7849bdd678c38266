"""Engines of a tiny student, and what ranks found out about them. As a script: one rank's part of a case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from memory_helpers import held_bytes, peak_of
from torch import Tensor

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks, join, leave
from asr.model.make import make_model
from asr.model.speech_model import SpeechModel
from asr.scaling.rule import in_force
from asr.teacher.averages import Averages
from asr.training.post_hoc import make_averages

VOCABULARY = 12
PRECISIONS_AND_STAGES = [
    (precision, stage)
    for precision in ("fp32", "autocast", "bf16")
    for stage in range(4)
    if (precision, stage) != ("bf16", 0)
]


def on_ranks(case: str, ranks: int, folder: Path, module: str = Path(__file__).stem) -> Any:
    """What `case`, a function of this file or of another module, returned on the first of so many ranks."""
    out = folder / f"{case}.json"
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [sys.executable, "-m", *launcher, "-m", module, case, str(out)]
    tests = Path(__file__).parent
    # `asr` is found in the checkout first, and not as tests/asr.
    found_in = {"PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    done = subprocess.run(
        command,
        env={**os.environ, **found_in},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def tiny_config(precision: str, stage: int, **sections: dict[str, object]) -> Config:
    model = {"width": 16, "heads": 2, "layers": 1, "feed_forward_width": 32, "norm": "pre"}
    tree = {
        "model": {**model, "dropout": 0.0, "layer_drop": 0.0},
        "batch": {"batch_seconds": 2320},
        **sections,
    }
    own = {"precision": precision, "zero_stage": stage}
    return parse_config({**tree, "trainer": {**own, **sections.get("trainer", {})}}, "test")


def tiny_engine(config: Config, ranks: Ranks) -> Engine:
    # A process has one engine; here it has many, and DeepSpeed would remember the autocast of another.
    from deepspeed.runtime import torch_autocast

    torch_autocast.TORCH_AUTOCAST_INITIALIZED = False
    torch.manual_seed(1)
    engine = Engine(make_model(config, VOCABULARY), config, in_force(config, 2320.0), ranks)
    engine.set_learning_rate(1.0)
    return engine


def own_features(seed: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    own = torch.Generator().manual_seed(10 * seed + ranks.rank)
    return torch.randn(2, 12, 80, generator=own), torch.tensor([12, 9])


def some_loss(logits_BSV: Tensor) -> Tensor:
    return -logits_BSV.float().log_softmax(-1)[..., 1].mean()


def update(engine: Engine, seed: int, slots: int = 1, spoil: float = 1.0) -> bool:
    """One global batch; the loss of this rank's first slot is multiplied by `spoil`."""
    engine.begin_batch()
    engine.student.train()
    for slot in range(slots):
        logits_BSV, _ = engine.logits(*own_features(seed + 100 * slot, engine.ranks))
        engine.backward(some_loss(logits_BSV) * (1.0 if slot else spoil), slot == slots - 1)
    return engine.step()


def state_of(engine: Engine) -> tuple[list[Tensor], float | None]:
    """All that a step moves: masters, the weights that compute, moments; Adam's count of steps."""
    weights = [getattr(p, "ds_tensor", p).detach() for p in engine.student.parameters()]
    moments = [m for tensors in engine.shards.moments().values() for m in tensors]
    tensors = [*engine.shards.masters, *weights, *moments]
    return [tensor.detach().clone() for tensor in tensors], engine.shards.optimizer_steps


def is_same(one: tuple[list[Tensor], Any], other: tuple[list[Tensor], Any]) -> bool:
    pairs = zip(one[0], other[0], strict=False)
    return len(one[0]) == len(other[0]) and one[1] == other[1] and all(a.equal(b) for a, b in pairs)


def networks_behind_their_masters(ranks: Ranks) -> list[str]:
    """Where the next pass does not have masters that were put back to those before a step."""
    found = []
    for precision, stage in PRECISIONS_AND_STAGES:
        engine = tiny_engine(tiny_config(precision, stage), ranks)
        update(engine, 1)
        kept, said = engine.shards.copy_of_masters(), _said(engine)
        update(engine, 2)
        moved = not _said(engine).equal(said)
        with torch.no_grad():
            for master, before in zip(engine.shards.masters, kept, strict=True):
                master.copy_(before)
        engine.masters_changed()
        if not (moved and _said(engine).equal(said) and update(engine, 3)):
            found.append(f"{precision}, ZeRO {stage}")
    return ranks.gather(found)


def _said(engine: Engine) -> Tensor:
    with engine.evaluating() as student, torch.no_grad():
        features_BTF, lengths_B = own_features(7, engine.ranks)
        logits_BSV: Tensor = student(features_BTF.to(engine.dtype), lengths_B)[0]
    return logits_BSV.clone()


_SPOILS = (float("nan"), float("inf"), 1e30)  # the last one's squares overflow


def skipped_updates(ranks: Ranks) -> list[str]:
    """What moved because of a gradient that is not finite on the last rank, at every precision and stage."""
    found = []
    cases = [(*case, clip) for case in PRECISIONS_AND_STAGES for clip in (0.0, 0.5)]
    if ranks.world > 1:  # each with clipping or without
        cases = [case for number, case in enumerate(cases) if (number + number // 2) % 2 == 0]
    for precision, stage, clip in cases:
        config = tiny_config(precision, stage, optimizer={"max_gradient_norm": clip})
        one, other = tiny_engine(config, ranks), tiny_engine(config, ranks)
        for seed, spoil in enumerate(_SPOILS if ranks.world == 1 else _SPOILS[:2], start=1):
            own = spoil if ranks.rank == ranks.world - 1 else 1.0
            case = f"{precision}, ZeRO {stage}, clipping at {clip}, gradient times {spoil}, rank {ranks.rank}"
            before = state_of(one)
            if update(one, 10 + seed, slots=seed, spoil=own):
                found.append(f"{case}: the step says that it was applied")
            if not is_same(state_of(one), before):
                found.append(f"{case}: something moved")
            if not (update(one, seed) and update(other, seed)):
                found.append(f"{case}: the next step was not applied")
            if not is_same(state_of(one), state_of(other)):
                found.append(f"{case}: the next step is another")
    return ranks.gather(found)


def exchange_errors(ranks: Ranks) -> dict[str, float]:
    """Relative errors of summed bf16 gradients against the sum in float64 of the ranks' own.

    Steps of SGD that are so long that the weights before them are lost in the rounding.
    """
    errors = {}
    for stage, options in [(s, {}) for s in (1, 2, 3)] + [(1, {"gradient_communication": "bf16"})]:
        sgd = {"kind": "sgd", "learning_rate": 1.0, "max_gradient_norm": 0.0}
        config = tiny_config("bf16", stage, optimizer=sgd, trainer=options)
        engine = tiny_engine(config, ranks)
        torch.manual_seed(1)
        alone = make_model(config, VOCABULARY).bfloat16()
        features_BTF, lengths_B = own_features(1, ranks)
        scale = 1e4
        own_loss = some_loss(alone(features_BTF.bfloat16(), lengths_B)[0]) * scale * ranks.world
        own_loss.backward()
        start = dict(engine.shards.gather(engine.shards.copy_of_masters()))
        assert update(engine, 1, spoil=scale)
        squares = torch.zeros(2, dtype=torch.float64)
        own = dict(alone.named_weights())
        for name, end in engine.shards.gather(engine.shards.masters):
            gradient = own[name].grad
            assert gradient is not None
            summed = gradient.double() / ranks.world
            torch.distributed.all_reduce(summed)
            got = (start[name] - end).double() / engine.values.learning_rate
            squares += torch.stack([(got - summed).square().sum(), summed.square().sum()])
        errors[f"{stage}{''.join(options.values())}"] = float(squares[0] / squares[1]) ** 0.5
    return errors


def bytes_sent(ranks: Ranks) -> dict[str, float]:
    """Bytes that a rank sends in an update by ring collectives, without those of single numbers."""
    sent = [0.0]
    share = (ranks.world - 1) / ranks.world

    def counted(name: str, turns: int) -> None:
        collective: Callable[..., Any] = getattr(torch.distributed, name)

        def count(*arguments: Any, **options: Any) -> Any:
            tensors = [t for t in (*arguments, *options.values()) if isinstance(t, Tensor)]
            largest = max(tensors, key=Tensor.numel)  # an all-gather's output, a reduction's input
            if largest.numel() > 1:
                sent[0] += turns * share * largest.nbytes
            return collective(*arguments, **options)

        setattr(torch.distributed, name, count)

    counted("all_reduce", 2)
    counted("all_gather_into_tensor", 1)
    counted("reduce_scatter_tensor", 1)
    found = {}
    for precision, stage, exchange in (
        *(("fp32", stage, "fp32") for stage in (0, 1, 2)),
        *(("bf16", stage, exchange) for stage in (1, 2) for exchange in ("fp32", "bf16")),
    ):
        options: dict[str, object] = {"gradient_communication": exchange}
        engine = tiny_engine(tiny_config(precision, stage, trainer=options), ranks)
        sent[0] = 0.0
        assert update(engine, 1, slots=2)
        found[f"{precision} {stage} {exchange}"] = sent[0]
    return found


def exchange(ranks: Ranks) -> dict[str, dict[str, float]]:
    """Both of the above. DeepSpeed keeps the collectives that its first engine finds: counted ones."""
    sent = bytes_sent(ranks)
    return {"sent": sent, "errors": exchange_errors(ranks)}


def memory_config(precision: str, stage: int) -> Config:
    """A micro-batch of next to nothing, so that what a rank allocates hangs on the weights alone."""
    shape = {"width": 128, "heads": 2, "layers": 4, "feed_forward_width": 512, "norm": "pre"}
    model: dict[str, object] = {**shape, "dropout": 0.0, "layer_drop": 0.0, "positions": "rotary"}
    batch = {"batch_seconds": 2320, "max_seconds_per_micro_batch": 0.12}
    return tiny_config(precision, stage, model=model, batch=batch)


class _Done:
    def wait(self) -> None: ...


def _collectives_of_one_rank() -> None:
    """Without gloo, whose threads free what they were given where nobody sees it."""

    def nothing(tensor: Tensor, *_: Any, async_op: bool = False, **__: Any) -> _Done | None:
        return _Done() if async_op else None

    def into(*given: Any, async_op: bool = False, **named: Any) -> _Done | None:
        target, source = [t for t in (*given, *named.values()) if isinstance(t, Tensor)]
        target.copy_(source)
        return _Done() if async_op else None

    torch.distributed.all_reduce = torch.distributed.broadcast = nothing
    torch.distributed.all_gather_into_tensor = into
    torch.distributed.reduce_scatter_tensor = into


def allocated(ranks: Ranks) -> dict[str, int]:
    """Peak bytes of an update of two micro-batches, beside a teacher that labels."""
    _collectives_of_one_rank()
    found, kept = (
        {},
        [],
    )  # an engine that went would give back its memory during the next one's time
    # ZeRO 3 comes last: DeepSpeed gives all of the process another `linear`.
    for precision, stage in sorted(PRECISIONS_AND_STAGES, key=lambda case: case[1]):
        others = held_bytes()
        config = memory_config(precision, stage)
        engine = tiny_engine(config, ranks)
        new_network = partial(make_model, config, VOCABULARY)
        averages = make_averages(config, new_network, engine.shards, ranks)
        engine.set_learning_rate(1e-3)

        def updated(engine: Engine = engine, averages: Averages = averages) -> None:
            assert update(engine, 1, slots=2)
            averages.update(0.9, 0.9, (1.0, 1.1))
            averages.labelling.model()

        updated()
        # The least of three: what another thread frees is not noted.
        peaks = [held_bytes() - others + peak_of(updated) for _ in range(3)]
        found[f"{precision} {stage}"] = min(peaks)
        kept.append((engine, averages))
    return found


def labelling_copy(ranks: Ranks) -> dict[str, Any]:
    """Of a bf16 student, at each stage: its type, and how far it and what is evaluated are from the average."""
    found = {}
    for stage in (1, 2, 3):
        config = memory_config("bf16", stage)
        engine = tiny_engine(config, ranks)
        new_network = partial(make_model, config, VOCABULARY)
        average = make_averages(config, new_network, engine.shards, ranks).labelling
        for shard in average.average:
            shard += torch.rand_like(shard) / 7  # what bf16 has no number for
        average.moved()
        whole = average.weights()

        def furthest(network: SpeechModel, whole: dict[str, Tensor] = whole) -> float:
            weights = network.named_weights()
            return max(
                float((w.float() - whole[n].to(w.dtype).float()).abs().max()) for n, w in weights
            )

        labels, buffers = average.model(), [b.clone() for b in average.model().buffers()]
        types, distances = [str(labels.dtype)], [furthest(labels)]
        with average.evaluating() as evaluated:
            types.append(str(evaluated.dtype))
            distances.append(furthest(evaluated))
        types.append(str(average.model().dtype))
        distances.append(furthest(average.model()))
        same = [torch.equal(*pair) for pair in zip(buffers, average.model().buffers(), strict=True)]
        found[str(stage)] = {"types": types, "distances": distances, "same_buffers": all(same)}
    return found


def answer(cases: dict[str, Any]) -> None:
    """One rank's part of the case that the command line names."""
    found = cases[sys.argv[1]](members := join("highest"))
    if members.is_first:
        Path(sys.argv[2]).write_text(json.dumps(found))
    leave()
    os._exit(0)  # as asr/__main__.py: a thread of torch's may abort the interpreter's end


if __name__ == "__main__":
    answer(globals())
