"""LARS: each matrix's step is as long as the matrix, whatever its gradient's length.

You et al. 2017, arXiv 1708.03888. What stands here turns gradients; SGD with momentum then steps. Sums go over
the ranks that share a weight, so that ZeRO changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from asr.distributed.process_group import Ranks
from asr.distributed.shards import Part


@torch.no_grad()
def turn(
    parts: Iterable[Part], weights: Sequence[str], ranks: Ranks | None, trust: float, decay: float
) -> None:
    """gradient <- trust |w| / |g + decay w| (g + decay w), of whole weights, in place.

    Biases and what normalises (one dimension) keep their gradients and are not decayed, as in BYOL (arXiv
    2006.07733). So do weights that are 0, and those without a gradient.

    Args:
        parts: of all weights, what this rank owns.
        weights: the names of all, in the same order on every rank.
        ranks: those that share the weights; None where each has all of them.
    """
    own = [part for part in parts if len(part.shape) > 1]
    if decay:
        for part in own:
            part.gradient.add_(part.weight, alpha=decay)
    place = {name: number for number, name in enumerate(weights)}
    device = own[0].weight.device if own else torch.device("cpu")
    squares_2W = torch.zeros(2, len(place), dtype=torch.float64, device=device)
    for part in own:
        both = torch.stack([part.weight.norm(), part.gradient.norm()])
        squares_2W[:, place[part.name]] += both.double().square()
    if ranks is not None:
        ranks.add_up(squares_2W)
    weight_W, gradient_W = squares_2W.sqrt()
    has_both_W = (weight_W > 0) & (gradient_W > 0)
    factor_W = torch.where(has_both_W, trust * weight_W / gradient_W, 1.0).float()
    for part in own:
        part.gradient.mul_(factor_W[place[part.name]])
