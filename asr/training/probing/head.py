"""A linear layer, trained by CTC on frames that do not change. On the CPU: the same on any machine's GPU.

Shape suffixes: B utterances, S encoder frames, D width of the frames, V tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from asr.model.ctc import ctc_losses

_FRAMES_PER_BATCH = 1500
"""A minute at 40 ms a frame."""
_LEAST_DEVIATION = 1e-5


@dataclass(frozen=True)
class HeadSettings:
    """How a head is trained; part of what a probe's result depends on."""

    updates: int = 2000
    learning_rate: float = 0.01
    """Of Adam; it falls to 0 by half a cosine."""
    seed: int = 1
    """Of the order of utterances; the layer begins at 0."""


@dataclass(frozen=True)
class TrainedHead:
    """A head, and how its training went."""

    layer: nn.Linear
    first_loss: float
    """In nats a token, of the first tenth of the updates; of the last."""
    last_loss: float


def train_head(
    frames_SD: Sequence[Tensor],
    targets: Sequence[Sequence[int]],
    vocabulary_size: int,
    settings: HeadSettings,
) -> TrainedHead:
    """On the frames of some utterances, fp32 on the CPU, each of which can emit its target.

    Each channel is brought to mean 0 and variance 1 over all frames, so that no network is favoured by the
    scale of its output; that is folded into the layer, which takes frames as they are.
    """
    mean_D, deviation_D = _moments(frames_SD)
    layer = nn.Linear(len(mean_D), vocabulary_size)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), settings.learning_rate)
    lengths = [len(frames) for frames in frames_SD]
    losses = []
    batches = _batches(lengths, settings.seed)
    for update in range(settings.updates):
        optimizer.param_groups[0]["lr"] = (
            settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * update / settings.updates))
        )
        rows = next(batches)
        inputs_BSD = pad_sequence([frames_SD[row] for row in rows], batch_first=True)
        own = [targets[row] for row in rows]
        logits_BSV = layer((inputs_BSD - mean_D) / deviation_D)
        losses_B = ctc_losses(logits_BSV, torch.tensor([lengths[row] for row in rows]), own)
        loss = losses_B.sum() / max(1, sum(map(len, own)))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    tenth = max(1, len(losses) // 10)
    first, last = (math.fsum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
    return TrainedHead(_folded(layer, mean_D, deviation_D), first, last)


def _moments(frames_SD: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) over all frames."""
    count = sum(len(frames) for frames in frames_SD)
    mean_D = torch.stack([frames.double().sum(0) for frames in frames_SD]).sum(0) / count
    squares = [(frames.double() - mean_D).square().sum(0) for frames in frames_SD]
    variance_D = torch.stack(squares).sum(0) / count
    return mean_D.float(), variance_D.sqrt().clamp(min=_LEAST_DEVIATION).float()


def _batches(lengths: Sequence[int], seed: int) -> Iterator[list[int]]:
    """Passes over all utterances, each shuffled anew, cut where a batch has enough frames."""
    generator = torch.Generator().manual_seed(seed)
    batch, frames = list[int](), 0
    while True:
        for row in torch.randperm(len(lengths), generator=generator).tolist():
            batch.append(row)
            frames += lengths[row]
            if frames >= _FRAMES_PER_BATCH:
                yield batch
                batch, frames = [], 0


@torch.no_grad()
def _folded(layer: nn.Linear, mean_D: Tensor, deviation_D: Tensor) -> nn.Linear:
    """The same of frames as they are."""
    layer.weight.div_(deviation_D)
    layer.bias.sub_(layer.weight @ mean_D)
    return layer.requires_grad_(False)
