"""Masked prediction: of masked, augmented speech the student predicts what the average makes of the clean one.

data2vec (Baevski et al. 2022, arXiv 2202.03555). Masks belong to the utterance and its pass.

Shape suffixes: B utterances, T feature frames, F mel bins, S encoder frames, D model width.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from asr.data.segments import Segment
from asr.model.features import FeatureExtractor
from asr.model.latent.network import LatentModel, RepresentationModel
from asr.model.latent.targets import Representations, representations
from asr.model.masks import masked_by
from asr.teacher.teachers import TeacherContext
from asr.training.batch_stats import BatchStats
from asr.training.objectives.objective import StudentInput
from asr.training.objectives.prediction import Prediction, predicted
from asr.training.objectives.representations import RepresentationObjective
from asr.training.objectives.spans import frame_ms, span_mask, span_masks


class LatentObjective(RepresentationObjective):
    """The mean of the average's top blocks, predicted where frames are masked."""

    def __init__(self, models: TeacherContext, features: FeatureExtractor) -> None:
        super().__init__(models, features)
        self.policy = self.config.objective.latent
        self.frame_ms = frame_ms(features.front_end, self.student.encoder)

    def count(self, frames: int, segment: Segment) -> float:
        place = segment.seed(self.config.seed)
        return float(span_mask(frames, self.policy, self.frame_ms, place).sum())

    def places(self, given: StudentInput) -> Tensor:
        places = [segment.seed(self.config.seed) for segment in given.micro_batch.segments]
        return span_masks(given.frames, self.policy, self.frame_ms, places)

    def masked(self, places_BS: Tensor) -> AbstractContextManager[None]:
        assert isinstance(self.student, LatentModel)
        return masked_by(self.student.spans(places_BS))

    def heard(self, given: StudentInput) -> tuple[Tensor, Tensor]:
        return self.features(given.micro_batch.teacher_input)

    def told(
        self, network: RepresentationModel, features_BTF: Tensor, lengths_B: Tensor
    ) -> Representations:
        assert isinstance(network, LatentModel)
        return representations(network, features_BTF, lengths_B, self.policy.top_blocks)

    def compared(
        self, predictions_BSD: Tensor, told: Representations, places_BS: Tensor, rows: list[int]
    ) -> Prediction:
        beta = self.policy.smooth_l1_beta
        return predicted(predictions_BSD, told.targets_BSD, places_BS, rows, beta)

    def metrics(self, stats: BatchStats, seconds: float) -> dict[str, Any]:
        masked_share = stats.predicted_frames / max(1.0, stats.heard_frames)
        return {**super().metrics(stats, seconds), "masked_share": masked_share}
