"""Masked prediction: of masked, augmented speech the student predicts what the average makes of the clean one.

data2vec (Baevski et al. 2022, arXiv 2202.03555). Losses are normalised over the masked frames of the global
batch; masks belong to the utterance and its pass.

Shape suffixes: B utterances, S encoder frames, D model width, K sums of a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from asr.data.dataloader import RankBatch
from asr.data.loading.micro_batch import MicroBatch
from asr.distributed.precision import Precision
from asr.model.features import FeatureExtractor
from asr.model.latent.network import LatentModel
from asr.model.latent.targets import Representations, representations
from asr.model.masks import masked_by
from asr.teacher.teachers import TeacherContext, named_teacher
from asr.training.batch_stats import BatchStats
from asr.training.guards.collapse import CollapseGuard
from asr.training.objectives.objective import Objective, StudentInput, without_non_finite
from asr.training.objectives.prediction import predicted, variances
from asr.training.objectives.spans import frame_ms, span_mask, span_masks
from asr.training.validation.dev_sets import DevMetrics
from asr.training.validation.latent import LatentMetrics
from asr.utils.devices import fetched


class LatentObjective(Objective):
    """The average's representations, predicted."""

    def __init__(self, models: TeacherContext, features: FeatureExtractor) -> None:
        """`features`: of what the average hears."""
        self.models, self.features = models, features
        self.config, self.policy = models.config, models.config.objective.latent
        self.teacher = named_teacher(self.policy.teacher)(models)
        student = models.engine.student
        assert isinstance(student, LatentModel)
        self.student = student
        self.guard = CollapseGuard(self.policy.health, models)
        self.frame_ms = frame_ms(features.front_end, student.encoder)

    @property
    def acts_on_evaluations(self) -> bool:
        return self.policy.health.action != "warn"

    @property
    def is_sound(self) -> bool:
        return self.guard.is_sound

    def begin_batch(self, batch: RankBatch, number: int, hours: float) -> float:
        """Masked frames of all ranks, by the lengths in the manifests; what cannot be read counts, too."""
        assert batch.places is not None
        front_end = self.features.front_end
        seconds = torch.tensor([s.augmented_seconds for s in batch.places], dtype=torch.float64)
        samples = (seconds * front_end.sample_rate_hz).round().long()
        frames = self.student.encoder.output_lengths(front_end.frames(samples)).tolist()
        masked = sum(
            float(
                span_mask(count, self.policy, self.frame_ms, segment.seed(self.config.seed)).sum()
            )
            for count, segment in zip(frames, batch.places, strict=True)
        )
        return max(1.0, self.models.ranks.sum([masked])[0])

    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """Utterances whose loss is NaN or infinite are counted, named, and left out."""
        whole = given.micro_batch
        told = self._told(whole)
        places = [segment.seed(self.config.seed) for segment in whole.segments]
        masks_BS = span_masks(given.frames, self.policy, self.frame_ms, places)

        def attempt(kept: list[int]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
            own_BS = masks_BS[kept]
            with masked_by(self.student.spans(own_BS)):
                predictions_BSD, _ = given.forward(kept, [])
            if told is None or not kept:
                nothing_KD = torch.zeros(4, predictions_BSD.shape[-1], dtype=torch.float64)
                return torch.empty(0), (predictions_BSD.float().sum() * 0.0, nothing_KD, nothing_KD)
            beta = self.policy.smooth_l1_beta
            found = predicted(predictions_BSD, told.targets_BSD, own_BS, kept, beta)
            # The one wait for the device.
            losses_B, sums_KD, dead_BS = fetched(found.losses_B, found.sums_KD, told.dead_BS)
            return losses_B, (found.losses_M.sum(), sums_KD, dead_BS)

        readable = [n for n, frames in enumerate(given.frames) if frames and n not in whole.lost]
        kept, losses_B, (loss, sums_KD, dead_BS) = without_non_finite(
            attempt, readable, given, stats, self.models.ranks
        )
        stats.loss_latent += float(losses_B.sum())
        stats.heard_seconds += sum(whole.segments[place].seconds for place in kept)
        stats.heard_frames += sum(given.frames[place] for place in kept)
        stats.masked_frames += float(masks_BS[kept].sum())
        stats.dead_frames += float(dead_BS[kept].sum())
        stats.add_channel_sums(sums_KD.flatten().tolist())
        return loss

    def metrics(self, stats: BatchStats, seconds: float) -> dict[str, Any]:
        """`loss` a masked frame; variances over masked frames, means over channels; shares of all frames."""
        sums_KD = torch.tensor(stats.channel_sums, dtype=torch.float64).view(4, -1)
        target, found = variances(sums_KD, stats.masked_frames)
        frames = max(1.0, stats.heard_frames)
        return {
            "loss": stats.loss_latent / max(1.0, stats.masked_frames),
            "target_variance": target,
            "prediction_variance": found,
            "dead_share": stats.dead_frames / frames,
            "masked_share": stats.masked_frames / frames,
        }

    def watch(self, stats: BatchStats, hours: float, seconds: float) -> list[str]:
        if not stats.masked_frames:
            return []
        return self.guard.watch(self.metrics(stats, seconds), hours, seconds)

    def evaluated(self, hours: float, found: Mapping[str, Sequence[DevMetrics]]) -> list[str]:
        ranks = [one.effective_rank for one in found["teacher"] if isinstance(one, LatentMetrics)]
        return self.guard.evaluated(sum(ranks) / len(ranks), hours) if ranks else []

    def state(self) -> dict[str, Any]:
        return {"collapse": self.guard.state()}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return self.guard.tensors()

    def load(self, state: Mapping[str, Any], read: Callable[[str], Mapping[str, Tensor]]) -> None:
        if state.get("collapse"):
            self.guard.load(state["collapse"], read)

    def stepped(self, hours: float, average_moved: bool) -> None:
        self.teacher.stepped(hours, average_moved)

    @torch.no_grad()
    def _told(self, whole: MicroBatch) -> Representations | None:
        """What is to be predicted; None of a rank that hears nothing. A collective under ZeRO 1 to 3."""
        # Before a rank without a share turns back.
        with self.teacher.labelling() as network:
            assert isinstance(network, LatentModel)
            dtype = getattr(torch, Precision.of(self.config).activations)
            if not whole.segments and not self.teacher.forward_is_collective:
                return None
            heard = whole.teacher_input if whole.segments else None
            features_BTF, lengths_B = (
                self.features.silence() if heard is None else self.features(heard)
            )
            casts = network.dtype != dtype  # else it computes in that type as it is
            with torch.autocast(self.models.ranks.device.type, dtype, enabled=casts):
                given = features_BTF.to(network.dtype), lengths_B
                return representations(network, *given, self.policy.top_blocks)
