"""Predictions of frames beside what they should be: the losses, and what tells a collapse.

Shape suffixes: B utterances, S encoder frames, D model width, M predicted frames of all utterances, K = 4 sums,
P width of a projection, L losses of which the mean is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from asr.utils.devices import sent


@dataclass(frozen=True)
class Prediction:
    """Of the predicted frames of some utterances."""

    losses_M: Tensor
    """With its graph: the mean over the channels."""
    losses_B: Tensor
    """Their sums by utterance, without a graph."""
    sums_LKD: Tensor
    """By channel, in double: of targets, of their squares, of predictions, of theirs; without a graph."""

    def and_of(self, other: Prediction) -> Prediction:
        """The mean of both losses; the sums of each."""
        losses_M, losses_B = (
            (one + another) / 2
            for one, another in (
                (self.losses_M, other.losses_M),
                (self.losses_B, other.losses_B),
            )
        )
        return Prediction(losses_M, losses_B, torch.cat([self.sums_LKD, other.sums_LKD]))


def predicted(
    predictions_BSD: Tensor,
    targets_BSD: Tensor,
    masks_BS: Tensor,
    rows: Sequence[int],
    smooth_l1_beta: float,
) -> Prediction:
    """`masks_BS` on the host: of predictions; the targets of the same utterances are in `rows` of theirs.

    The loss is the squared error, or smooth L1 (quadratic below `smooth_l1_beta`), as data2vec's
    (arXiv 2202.03555, section 3.4), but for its factor: a mean over channels, not their sum over sqrt(D).
    """
    places_M2, device = masks_BS.nonzero(), predictions_BSD.device
    utterance_M, frame_M = places_M2[:, 0], places_M2[:, 1]
    in_targets_M = (
        torch.tensor(rows, dtype=torch.long)[utterance_M] * targets_BSD.shape[1] + frame_M
    )
    in_predictions_M = utterance_M * predictions_BSD.shape[1] + frame_M
    target_MD = targets_BSD.flatten(0, 1).index_select(0, sent(in_targets_M, device)).float()
    found_MD = predictions_BSD.flatten(0, 1).index_select(0, sent(in_predictions_M, device)).float()
    if smooth_l1_beta > 0:
        errors_MD = functional.smooth_l1_loss(
            found_MD, target_MD, reduction="none", beta=smooth_l1_beta
        )
    else:
        errors_MD = functional.mse_loss(found_MD, target_MD, reduction="none")
    losses_M = errors_MD.mean(-1)
    with torch.no_grad():
        losses_B = torch.zeros(len(masks_BS), device=device)
        losses_B.index_add_(0, sent(utterance_M, device), losses_M.detach())
        pair = target_MD.double(), found_MD.detach().double()
        sums_KD = torch.stack([v for x_MD in pair for v in (x_MD.sum(0), x_MD.square().sum(0))])
    return Prediction(losses_M, losses_B, sums_KD[None])


def agreed(
    predictions_BSP: Tensor,
    projections_BSP: Tensor,
    masks_BS: Tensor,
    rows: Sequence[int],
    level: Literal["frame", "utterance", "both"],
) -> Prediction:
    """How far the two views of some utterances are from each other: 2 - 2 cos a frame, 0 to 4.

    Of predictions half of the rows are in the one view and half in the other; so are all projections, of which
    `rows` are those of the same utterances and views. Each is compared with the other view's. At the last place
    is what belongs to the whole utterance, compared for each of its frames. It is the squared distance of
    vectors of length 1 (arXiv 2006.07733, equation 2). The sums are those of these vectors at length sqrt(P):
    where they point everywhere their channels have a variance of 1.
    """
    half, utterances = len(rows) // 2, len(projections_BSP) // 2
    others = [*(row + utterances for row in rows[:half]), *(r - utterances for r in rows[half:])]
    pair = _unit(predictions_BSP), _unit(projections_BSP)
    found = []
    if level != "utterance":
        found.append(predicted(pair[0][:, :-1], pair[1][:, :-1], masks_BS, others, 0.0))
    if level != "frame":
        frames = masks_BS.shape[1]
        said, told = (one[:, -1:].expand(-1, frames, -1) for one in pair)
        found.append(predicted(said, told, masks_BS, others, 0.0))
    return found[0] if len(found) == 1 else found[0].and_of(found[1])


def _unit(vectors_BSP: Tensor) -> Tensor:
    """With a mean square of 1, as whose mean squared difference 2 - 2 cos comes out."""
    unit_BSP: Tensor = functional.normalize(vectors_BSP.float(), dim=-1)
    return unit_BSP * math.sqrt(vectors_BSP.shape[-1])


def variances(sums_LKD: Tensor, frames: float) -> tuple[float, float]:
    """Of targets and of predictions over so many frames: the mean of their channels' variances.

    Of several losses the least: whole utterances that are all alike are not made up for by frames that are not.
    """
    means_LKD = sums_LKD / max(1.0, frames)
    target, found = (
        float((means_LKD[:, k + 1] - means_LKD[:, k].square()).clamp(min=0.0).mean(-1).min())
        for k in (0, 2)
    )
    return target, found
