"""Dev metrics of masked prediction, under the same masks in every run.

Shape suffixes: B utterances, S encoder frames.
"""

from __future__ import annotations

from asr.model.latent.network import LatentModel, RepresentationModel
from asr.model.latent.targets import Representations, representations
from asr.model.masks import masked_by
from asr.training.objectives.prediction import predicted
from asr.training.objectives.spans import frame_ms, span_masks
from asr.training.validation.dev_sets import Share
from asr.training.validation.representations import Judged, RepresentationDevSets


class LatentDevSets(RepresentationDevSets):
    """What the average makes of clean speech is predicted of masked speech."""

    def judged(
        self, network: RepresentationModel, average: RepresentationModel, share: Share
    ) -> Judged:
        policy = self.config.objective.latent
        told = self._heard(average, share)
        own = told if network is average else self._heard(network, share)
        places = [(0, 0, segment.index) for segment in share.segments]
        frames, width_ms = told.frames_B.tolist(), frame_ms(self.front_end, network.encoder)
        masks_BS = span_masks(frames[: len(places)], policy, width_ms, places)
        assert isinstance(network, LatentModel)
        with masked_by(network.spans(masks_BS)):
            predictions_BSD, _ = network(share.features_BTF.to(network.dtype), share.lengths_B)
        rows, beta = range(len(masks_BS)), policy.smooth_l1_beta
        found = predicted(predictions_BSD, told.targets_BSD, masks_BS, rows, beta)
        return Judged(own, found, told.dead_BS)

    def _heard(self, network: RepresentationModel, share: Share) -> Representations:
        features_BTF = share.features_BTF.to(network.dtype)
        assert isinstance(network, LatentModel)
        top_blocks = self.config.objective.latent.top_blocks
        return representations(network, features_BTF, share.lengths_B, top_blocks)
