"""Dev metrics of representations: a loss that is the same in every run, and whether anything has collapsed.

Shape suffixes: B utterances in all their views, S encoder frames, D model width, P width of what is predicted,
L losses of which the mean is taken, K = 4 sums of a channel.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.distributed.process_group import Ranks
from asr.model.features import FrontEnd, frame_mask
from asr.model.latent.network import RepresentationModel
from asr.model.latent.targets import Representations
from asr.model.speech_model import SpeechModel
from asr.training.objectives.prediction import Prediction, variances
from asr.training.validation.dev_sets import DevMetrics, DevSets, Share, Watch, sets_that_fit

_EPS = 1e-7


@dataclass(frozen=True)
class RepresentationMetrics(DevMetrics):
    """A model on a dev set."""

    dev_loss: float
    """Of a predicted frame; what is predicted is the average's."""
    effective_rank: float
    """Of the encoder's output over all frames of clean speech: how many directions it uses."""
    target_variance: float
    """Over predicted frames, the mean of the channels; of several losses the least."""
    prediction_variance: float
    dead_share: float
    """Of frames whose representation is that of the whole utterance."""
    lost_utterances: int = 0
    """Whose audio cannot be read: all the above is of the others."""

    @property
    def score(self) -> float:
        """The loss."""
        return self.dev_loss


@dataclass(frozen=True)
class Judged:
    """A model on a share of a dev set."""

    clean: Representations
    """Its own of speech as it is."""
    prediction: Prediction
    dead_BS: Tensor
    """Booleans: dead frames of what is told."""


Sets = TypeVar("Sets", bound="RepresentationDevSets")


@dataclass(frozen=True)
class RepresentationDevSets(DevSets):
    """Dev sets, and how they are masked and changed."""

    config: Config

    @classmethod
    def load(cls: type[Sets], config: Config, front_end: FrontEnd, ranks: Ranks) -> Sets:
        """A recipe's. Raises UserError as `sets_that_fit` does."""
        sets, most_lost = sets_that_fit(config, front_end), config.corpus.max_lost_share
        return cls(sets, front_end, ranks, most_lost, config)

    @abstractmethod
    def judged(
        self, network: RepresentationModel, average: RepresentationModel, share: Share
    ) -> Judged:
        """One share, of all its utterances."""

    def evaluate(
        self, network: SpeechModel, speech: SpeechSet, watch: Watch | None = None
    ) -> RepresentationMetrics:
        """By what the network itself makes of the speech."""
        return self.evaluate_beside(network, network, speech, watch)

    @torch.no_grad()  # not inference mode: ZeRO 3 keeps some of what it gathers
    def evaluate_beside(
        self, network: SpeechModel, average: SpeechModel, speech: SpeechSet, watch: Watch | None
    ) -> RepresentationMetrics:
        assert isinstance(network, RepresentationModel)
        assert isinstance(average, RepresentationModel)
        totals = _Totals.of(network, self.config.objective.parts, self.ranks.device)
        lost = list[str]()
        for share in self.shares(speech, lost):
            judged = self.judged(network, average, share)
            if share.is_mine:
                totals.add(judged)
        self.ranks.add_up(totals.packed)
        return totals.metrics(self.count_lost(speech, lost))


@dataclass(frozen=True)
class _Totals:
    """Sums over utterances, in one tensor: what ranks add up."""

    packed: Tensor
    """Loss, predicted frames, frames, dead frames; channel sums (L, K, P); the encoder's output squared."""
    width: int
    sums: tuple[int, int, int]
    """Their shape."""

    @classmethod
    def of(cls, network: RepresentationModel, parts: int, device: torch.device) -> _Totals:
        width, sums = network.encoder.width, (parts, 4, network.prediction_width)
        numbers = 4 + math.prod(sums) + width**2
        return cls(torch.zeros(numbers, dtype=torch.float64, device=device), width, sums)

    def add(self, judged: Judged) -> None:
        own, losses_M = judged.clean, judged.prediction.losses_M
        mask_BS = frame_mask(own.frames_B, own.hidden_BSD.shape[1])
        # No product: that of NaN and 0 is NaN.
        hidden_ND = own.hidden_BSD.masked_fill(~mask_BS[:, :, None], 0.0).flatten(0, 1).double()
        views = len(judged.dead_BS) // len(mask_BS)
        sums_4 = [
            losses_M.double().sum(),
            torch.ones_like(losses_M).double().sum(),
            mask_BS.sum().double() * views,
            judged.dead_BS.sum().double(),
        ]
        sums_LKP = judged.prediction.sums_LKD
        parts = [torch.stack(sums_4), sums_LKP.flatten(), (hidden_ND.T @ hidden_ND).flatten()]
        self.packed.add_(torch.cat(parts))

    def metrics(self, lost: int) -> RepresentationMetrics:
        loss, predicted, frames, dead = self.packed[:4].tolist()
        end = 4 + math.prod(self.sums)
        squared_DD = self.packed[end:].view(self.width, -1)
        target, prediction = variances(self.packed[4:end].view(self.sums), predicted)
        return RepresentationMetrics(
            dev_loss=loss / max(1.0, predicted),
            effective_rank=effective_rank(squared_DD),
            target_variance=target,
            prediction_variance=prediction,
            dead_share=dead / max(1.0, frames),
            lost_utterances=lost,
        )


def effective_rank(squared_DD: Tensor) -> float:
    """Of representations Z (N, D), by their Z^T Z in double: exp of the entropy of its singular values.

    RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 2): 1 where all lie on a line, D at most. NaN where
    any of it is not finite.
    """
    if not squared_DD.isfinite().all():
        return math.nan
    values_D = torch.linalg.eigvalsh(squared_DD).clamp(min=0.0).sqrt()
    shares_D = values_D / values_D.sum().clamp(min=1e-300) + _EPS
    return float(torch.exp(-(shares_D * shares_D.log()).sum()))
