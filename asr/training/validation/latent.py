"""Dev metrics of masked prediction: its loss under masks that never change, and whether anything has collapsed.

Shape suffixes: B utterances, S encoder frames, D model width, K = 4 sums of a channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.config.objective import LatentConfig
from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.distributed.process_group import Ranks
from asr.model.features import FrontEnd, frame_mask
from asr.model.latent.network import LatentModel
from asr.model.latent.targets import Representations, representations
from asr.model.masks import masked_by
from asr.model.speech_model import SpeechModel
from asr.training.objectives.prediction import predicted, variances
from asr.training.objectives.spans import frame_ms, span_masks
from asr.training.validation.dev_sets import DevMetrics, DevSets, Share, Watch, sets_that_fit

_EPS = 1e-7


@dataclass(frozen=True)
class LatentMetrics(DevMetrics):
    """A model on a dev set."""

    dev_loss: float
    """Of masked prediction, a masked frame; what is predicted is the average's."""
    effective_rank: float
    """Of the encoder's output over all frames of clean speech: how many directions it uses."""
    target_variance: float
    """Over masked frames, the mean of the channels."""
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
class LatentDevSets(DevSets):
    """Dev sets, and how they are masked."""

    policy: LatentConfig

    @classmethod
    def load(cls, config: Config, front_end: FrontEnd, ranks: Ranks) -> LatentDevSets:
        """A recipe's. Raises UserError as `sets_that_fit` does."""
        sets, most_lost = sets_that_fit(config, front_end), config.corpus.max_lost_share
        return cls(sets, front_end, ranks, most_lost, config.objective.latent)

    def evaluate(
        self, network: SpeechModel, speech: SpeechSet, watch: Watch | None = None
    ) -> LatentMetrics:
        """By what the network itself makes of clean speech."""
        return self.evaluate_beside(network, network, speech, watch)

    @torch.no_grad()  # not inference mode: ZeRO 3 keeps some of what it gathers
    def evaluate_beside(
        self, network: SpeechModel, average: SpeechModel, speech: SpeechSet, watch: Watch | None
    ) -> LatentMetrics:
        width, device = network.encoder.width, self.ranks.device
        totals = _Totals.of(width, device)
        lost = list[str]()
        for share in self.shares(speech, lost):
            told = self._heard(average, share)
            own = told if network is average else self._heard(network, share)
            masks_BS = self._masks(network, share, told.frames_B.tolist())
            assert isinstance(network, LatentModel)
            with masked_by(network.spans(masks_BS)):
                predictions_BSD, _ = network(share.features_BTF.to(network.dtype), share.lengths_B)
            if share.is_mine:
                totals.add(predictions_BSD, told, own, masks_BS, self.policy)
        self.ranks.add_up(totals.packed)
        return totals.metrics(self.count_lost(speech, lost))

    def _heard(self, network: SpeechModel, share: Share) -> Representations:
        features_BTF = share.features_BTF.to(network.dtype)
        assert isinstance(network, LatentModel)
        return representations(network, features_BTF, share.lengths_B, self.policy.top_blocks)

    def _masks(self, network: SpeechModel, share: Share, frames: Sequence[int]) -> Tensor:
        """Those of an utterance of the set, in every run."""
        places = [(0, 0, segment.index) for segment in share.segments]
        width_ms = frame_ms(self.front_end, network.encoder)
        return span_masks(frames[: len(places)], self.policy, width_ms, places)


@dataclass(frozen=True)
class _Totals:
    """Sums over utterances, in one tensor: what ranks add up."""

    packed: Tensor
    """Loss, masked frames, frames, dead frames; channel sums (K, D); the encoder's output squared (D, D)."""
    width: int

    @classmethod
    def of(cls, width: int, device: torch.device) -> _Totals:
        return cls(torch.zeros(4 + 4 * width + width**2, dtype=torch.float64, device=device), width)

    def add(
        self,
        predictions_BSD: Tensor,
        told: Representations,
        own: Representations,
        masks_BS: Tensor,
        policy: LatentConfig,
    ) -> None:
        rows = range(len(masks_BS))
        found = predicted(predictions_BSD, told.targets_BSD, masks_BS, rows, policy.smooth_l1_beta)
        mask_BS = frame_mask(own.frames_B, own.hidden_BSD.shape[1])
        mask_BS[len(masks_BS) :] = False
        # No product: that of NaN and 0 is NaN.
        hidden_ND = own.hidden_BSD.masked_fill(~mask_BS[:, :, None], 0.0).flatten(0, 1).double()
        sums_4 = [
            found.losses_M.double().sum(),
            torch.ones_like(found.losses_M).double().sum(),
            mask_BS.sum().double(),
            (told.dead_BS & mask_BS).sum().double(),
        ]
        parts = [torch.stack(sums_4), found.sums_KD.flatten(), (hidden_ND.T @ hidden_ND).flatten()]
        self.packed.add_(torch.cat(parts))

    def metrics(self, lost: int) -> LatentMetrics:
        loss, masked, frames, dead = self.packed[:4].tolist()
        sums_KD = self.packed[4 : 4 + 4 * self.width].view(4, -1)
        target, prediction = variances(sums_KD, masked)
        return LatentMetrics(
            dev_loss=loss / max(1.0, masked),
            effective_rank=effective_rank(self.packed[4 + 4 * self.width :].view(self.width, -1)),
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
