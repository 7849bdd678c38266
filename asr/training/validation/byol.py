"""Dev metrics of two views, which are changed in the same way in every run.

Shape suffixes: B utterances in both views, T feature frames, F mel bins, S encoder frames, P width of a
projection.
"""

from __future__ import annotations

from torch import Tensor

from asr.model.features import frame_mask
from asr.model.latent.network import ByolModel, RepresentationModel
from asr.model.latent.targets import projections
from asr.training.augmentation import linear_fade, spec_augment
from asr.training.objectives.prediction import agreed
from asr.training.validation.dev_sets import Share
from asr.training.validation.representations import Judged, RepresentationDevSets


class ByolDevSets(RepresentationDevSets):
    """What the average makes of the one view is predicted of the other: faded and masked, as in training."""

    def judged(
        self, network: RepresentationModel, average: RepresentationModel, share: Share
    ) -> Judged:
        assert isinstance(network, ByolModel)
        assert isinstance(average, ByolModel)
        views, normalises = self.config.objective.views, self.config.objective.byol.normalise_frames
        clean_BTF = share.features_BTF.to(network.dtype)
        own = projections(network, clean_BTF, share.lengths_B, normalises)
        lengths_B = share.lengths_B.repeat(views)
        features_BTF = self._views(share, views)
        told = projections(average, features_BTF.to(average.dtype), lengths_B, normalises)
        predictions_BSP, _ = network(features_BTF.to(network.dtype), lengths_B)
        masks_BS = frame_mask(told.frames_B.cpu(), told.hidden_BSD.shape[1])
        rows, level = range(len(masks_BS)), self.config.objective.byol.level
        found = agreed(predictions_BSP, told.targets_BSD, masks_BS, rows, level)
        return Judged(own, found, told.dead_BS)

    def _views(self, share: Share, views: int) -> Tensor:
        numbers = [segment.index for segment in share.segments] or [0]  # of silence
        seeds = [(0, 0, number, view) for view in range(views) for number in numbers]
        lengths_B = share.lengths_B.cpu().repeat(views)
        features_BTF = share.features_BTF.repeat(views, 1, 1)
        fade, policy = self.config.objective.byol.fade, self.config.augmentation.spec_augment
        features_BTF = linear_fade(features_BTF, lengths_B, fade, seeds)
        return spec_augment(features_BTF, lengths_B, policy, seeds)
