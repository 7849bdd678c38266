"""Engines of pretrained students, and what ranks find out. As a script: one rank's part of a case."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from engine_helpers import PRECISIONS_AND_STAGES, answer, some_loss, tiny_config
from pretrained_helpers import FAMILIES, speech, write_pretrained

from asr.config.model import LoraConfig
from asr.config.schema import Config
from asr.distributed.engine import Engine
from asr.distributed.fine_tuning import FineTuning
from asr.distributed.process_group import Ranks
from asr.model.acoustic_model import AcousticModel
from asr.model.dropout import UtteranceDraws, drawn_by
from asr.model.encoders.pretrained import load_encoder
from asr.model.encoders.pretrained.lora import add_lora
from asr.scaling.rule import in_force

SAMPLES = (9_000, 12_345)
# Each skips a layer that the other keeps.
KEPT_BL = torch.tensor([[True, False], [False, True]])


def pretrained_engine(
    config: Config,
    folder: Path,
    ranks: Ranks,
    tuning: FineTuning | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
    with_adapters: bool = False,
) -> Engine:
    from deepspeed.runtime import torch_autocast

    torch_autocast.TORCH_AUTOCAST_INITIALIZED = False
    torch.manual_seed(1)
    encoder = load_encoder(str(folder))
    if with_adapters:
        add_lora(encoder, LoraConfig(rank=2, alpha=4.0, dropout=0.1))
    encoder.set_dropout(0.1, 0.1)
    student = AcousticModel(encoder, 12)
    if weights is not None:
        student.load_weights(weights)
    engine = Engine(student, config, in_force(config, 2320.0), ranks, tuning=tuning)
    engine.set_learning_rate(1.0)
    return engine


def loss_of(engine: Engine, rows: list[int], number: int) -> torch.Tensor:
    """Summed over the utterances: each alone has its mean over frames."""
    front_end = engine.student.encoder.front_end()
    samples_B = torch.tensor([SAMPLES[row] for row in rows])
    waveforms = [torch.from_numpy(speech(SAMPLES[row], row + 10 * number)) for row in rows]
    features, lengths_B = front_end(
        torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), samples_B
    )
    frames_B = engine.student.encoder.output_lengths(lengths_B)
    generators = [torch.Generator().manual_seed(row + 10 * number) for row in rows]
    with drawn_by(UtteranceDraws(generators, frames_B.tolist())):
        logits_BSV, frames_B = engine.logits(features, lengths_B, KEPT_BL[rows])
    return sum(some_loss(own[None, :n]) for own, n in zip(logits_BSV, frames_B, strict=True))


def updates(engine: Engine, count: int, start: int = 0) -> list[float]:
    """Losses of the global batches, an hour each, in which each rank has its share of the utterances."""
    found = []
    ranks = engine.ranks
    for number in range(start, start + count):
        engine.enter(float(number))
        engine.set_learning_rate(1.0)
        engine.begin_batch()
        engine.student.train()
        loss = loss_of(engine, [0, 1] if ranks.world == 1 else [ranks.rank], number)
        engine.backward(loss / 2, True)
        assert engine.step()
        found.append(ranks.sum([float(loss.detach()) / 2])[0])
    return found


def losses(ranks: Ranks) -> dict[str, dict[str, list[float]]]:
    """Of three updates, by family, precision and stage; 3 comes last: it changes `linear` for the process."""
    names = [*FAMILIES, "wavlm adapters", "wav2vec2-bert adapters", "parakeet adapters"]
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as own_root:
        [root, *_] = ranks.gather([own_root])
        if ranks.is_first:  # transformers writes on no other rank
            for family in FAMILIES:
                write_pretrained(Path(root) / family, family)
        ranks.barrier()
        cases = [(p, s) for s in (0, 2, 3) for p in ("fp32", "bf16") if (p, s) != ("bf16", 0)]
        for precision, stage in cases if ranks.world > 1 else cases[:1]:
            for name, own in found.items():
                family, _, adapters = name.partition(" ")
                adam = {"learning_rate": 3e-3, "eps": 1e-3}
                config = tiny_config(precision, stage, optimizer=adam)
                engine = pretrained_engine(
                    config, Path(root) / family, ranks, with_adapters=bool(adapters)
                )
                own[f"{precision} {stage}"] = updates(engine, 3)
    return found


TUNING = FineTuning(
    layer_decay=0.5, head_factor=3.0, encoder_from_hours=2.0, front_end_from_hours=3.0
)


def whole(engine: Engine) -> dict[str, torch.Tensor]:
    return {n: w.clone() for n, w in engine.shards.gather(engine.shards.copy_of_masters())}


def fine_tuning(ranks: Ranks) -> dict[str, dict[str, Any]]:
    """By precision and stage: losses, how far each weight went in each update, and the same resumed."""
    found: dict[str, dict[str, Any]] = {}
    adam = {"learning_rate": 1e-3, "eps": 1e-12, "max_gradient_norm": 0.0}
    with tempfile.TemporaryDirectory() as own_root:
        [root, *_] = ranks.gather([own_root])
        if ranks.is_first:
            write_pretrained(Path(root), "wav2vec2-large")
        ranks.barrier()
        for case in PRECISIONS_AND_STAGES:
            config = tiny_config(*case, optimizer=adam)
            engine = pretrained_engine(config, Path(root), ranks, TUNING)
            losses, moves, before = [], [], whole(engine)
            for number in range(5):
                losses += updates(engine, 1, number)
                now = whole(engine)
                moves.append({n: float((now[n] - before[n]).abs().max()) for n in now})
                before = now
                if number == 2:
                    moments = {
                        name: {n: m.clone() for n, m in engine.shards.gather(shard)}
                        for name, shard in engine.shards.moments().items()
                    }
                    saved, steps = now, engine.shards.optimizer_steps
            again = pretrained_engine(config, Path(root), ranks, TUNING, saved)
            again.shards.set_moments(moments, steps)
            resumed = updates(again, 2, 3)
            ends = whole(again)
            found[" ".join(map(str, case))] = {
                "losses": losses,
                "moves": moves,
                "resumed": resumed,
                "is_same": all(torch.equal(ends[n], before[n]) for n in ends),
                "steps": sorted(set(steps.values())) if isinstance(steps, dict) else steps,
                "groups": len(engine.deepspeed.optimizer.param_groups),
            }
    return found


if __name__ == "__main__":
    answer(globals())
