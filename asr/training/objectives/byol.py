"""Two views: of one augmented view of speech the student predicts what the average makes of the other one.

BYOL (Grill et al. 2020, arXiv 2006.07733), for audio as BYOL-A (Niizumi et al. 2021, arXiv 2103.06695). The
views are as long as each other, and so compared frame by frame, too.

Shape suffixes: B utterances in both views, T feature frames, F mel bins, S encoder frames, P width of a
projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asr.data.segments import Segment
from asr.model.features import FeatureExtractor, frame_mask
from asr.model.latent.network import ByolModel, RepresentationModel
from asr.model.latent.targets import Representations, projections
from asr.teacher.teachers import TeacherContext
from asr.training.augmentation import linear_fade
from asr.training.objectives.objective import StudentInput
from asr.training.objectives.prediction import Prediction, agreed
from asr.training.objectives.representations import RepresentationObjective


class ByolObjective(RepresentationObjective):
    """The average's projections of the other view, predicted: of frames, and of their mean."""

    def __init__(self, models: TeacherContext, features: FeatureExtractor) -> None:
        super().__init__(models, features)
        self.policy, self.views = self.config.objective.byol, self.config.objective.views

    def augmented(
        self, features_BTF: Tensor, lengths_B: Tensor, segments: Sequence[Segment]
    ) -> Tensor:
        seeds = [segment.seed(self.config.seed) for segment in segments]
        return linear_fade(features_BTF, lengths_B, self.policy.fade, seeds)

    def count(self, frames: int, segment: Segment) -> float:
        return float(self.views * frames)

    def places(self, given: StudentInput) -> Tensor:
        return frame_mask(
            torch.tensor(given.frames, dtype=torch.long), max(given.frames, default=0)
        )

    def heard(self, given: StudentInput) -> tuple[Tensor, Tensor]:
        """Both views, as the student hears them."""
        return given.features

    def told(
        self, network: RepresentationModel, features_BTF: Tensor, lengths_B: Tensor
    ) -> Representations:
        assert isinstance(network, ByolModel)
        return projections(network, features_BTF, lengths_B, self.policy.normalise_frames)

    def compared(
        self, predictions_BSD: Tensor, told: Representations, places_BS: Tensor, rows: list[int]
    ) -> Prediction:
        return agreed(predictions_BSD, told.targets_BSD, places_BS, rows, self.policy.level)
