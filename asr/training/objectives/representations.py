"""What is the same wherever the student predicts representations, whichever they are.

Losses are normalised over the frames of the global batch that are predicted, which are known beforehand.

Shape suffixes: B utterances in all their views, S encoder frames, D width of what is predicted, L losses of
which the mean is taken, K sums of a channel.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from asr.data.dataloader import RankBatch
from asr.data.segments import Segment
from asr.distributed.precision import Precision
from asr.model.features import FeatureExtractor
from asr.model.latent.network import RepresentationModel
from asr.model.latent.targets import Representations
from asr.teacher.teachers import TeacherContext, named_teacher
from asr.training.batch_stats import BatchStats
from asr.training.guards.collapse import CollapseGuard
from asr.training.objectives.objective import Objective, StudentInput, without_non_finite
from asr.training.objectives.prediction import Prediction, variances
from asr.training.validation.dev_sets import DevMetrics
from asr.training.validation.representations import RepresentationMetrics
from asr.utils.devices import fetched


class RepresentationObjective(Objective):
    """Representations that a teacher of the recipe's makes of the same speech, predicted."""

    def __init__(self, models: TeacherContext, features: FeatureExtractor) -> None:
        """`features`: of what the average hears."""
        self.models, self.features = models, features
        self.config, policy = models.config, models.config.objective.policy
        self.teacher = named_teacher(policy.teacher)(models)
        self.acts = policy.health.action != "warn"
        student = models.engine.student
        assert isinstance(student, RepresentationModel)
        self.student: RepresentationModel = student
        self.guard = CollapseGuard(policy.health, models)

    @abstractmethod
    def count(self, frames: int, segment: Segment) -> float:
        """How many predictions an utterance of so many encoder frames has, in all its views."""

    @abstractmethod
    def places(self, given: StudentInput) -> Tensor:
        """(B, S) booleans on the host: which frames of what the student hears are predicted."""

    @abstractmethod
    def heard(self, given: StudentInput) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) and lengths (B,) of what the teacher hears."""

    @abstractmethod
    def told(
        self, network: RepresentationModel, features_BTF: Tensor, lengths_B: Tensor
    ) -> Representations:
        """What is to be predicted, by the teacher's network."""

    @abstractmethod
    def compared(
        self, predictions_BSD: Tensor, told: Representations, places_BS: Tensor, rows: list[int]
    ) -> Prediction:
        """With what is told; the predictions are those of its `rows`."""

    def masked(self, places_BS: Tensor) -> AbstractContextManager[None]:
        """In which the student hears what is to be predicted there."""
        return nullcontext()

    @property
    def acts_on_evaluations(self) -> bool:
        return self.acts

    @property
    def is_sound(self) -> bool:
        return self.guard.is_sound

    def begin_batch(self, batch: RankBatch, number: int, hours: float) -> float:
        """Predictions of all ranks, by the lengths in the manifests; what cannot be read counts, too."""
        assert batch.places is not None
        front_end = self.features.front_end
        seconds = torch.tensor([s.augmented_seconds for s in batch.places], dtype=torch.float64)
        samples = (seconds * front_end.sample_rate_hz).round().long()
        frames = self.student.encoder.output_lengths(front_end.frames(samples)).tolist()
        own = sum(self.count(n, segment) for n, segment in zip(frames, batch.places, strict=True))
        return max(1.0, self.models.ranks.sum([own])[0])

    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """Utterances whose loss is NaN or infinite are counted, named, and left out."""
        whole, views = given.micro_batch, self.config.objective.views
        told, places_BS = self._told(given), self.places(given)

        def attempt(kept: list[int]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
            rows = self._rows(kept, len(whole.segments))
            own_BS = places_BS[rows]
            with self.masked(own_BS):
                predictions_BSD, _ = given.forward(rows, [])
            if told is None or not kept:
                shape = self.config.objective.parts, 4, self.student.prediction_width
                nothing = torch.zeros(shape, dtype=torch.float64)
                return torch.empty(0), (predictions_BSD.float().sum() * 0.0, nothing, nothing)
            found = self.compared(predictions_BSD, told, own_BS, rows)
            # The one wait for the device.
            losses_B, sums_LKD, dead_BS = fetched(found.losses_B, found.sums_LKD, told.dead_BS)
            return losses_B.view(views, -1).sum(0), (found.losses_M.sum(), sums_LKD, dead_BS)

        utterances = range(len(whole.segments))
        readable = [n for n in utterances if given.frames[n] and n not in whole.lost]
        kept, losses, (loss, sums_LKD, dead_BS) = without_non_finite(
            attempt, readable, given, stats, self.models.ranks
        )
        rows = self._rows(kept, len(whole.segments))
        stats.loss_representations += float(losses.sum())
        stats.heard_seconds += sum(whole.segments[place].seconds for place in kept)
        stats.heard_frames += sum(given.frames[row] for row in rows)
        stats.predicted_frames += float(places_BS[rows].sum())
        stats.dead_frames += float(dead_BS[rows].sum())
        stats.add_channel_sums(sums_LKD.flatten().tolist())
        return loss

    def _rows(self, utterances: list[int], count: int) -> list[int]:
        """Of all views, of `count` utterances each."""
        views = range(self.config.objective.views)
        return [view * count + place for view in views for place in utterances]

    def metrics(self, stats: BatchStats, seconds: float) -> dict[str, Any]:
        """`loss` a predicted frame; variances over these, means over channels; shares of all frames."""
        sums = torch.tensor(stats.channel_sums, dtype=torch.float64)
        sums_LKD = sums.view(self.config.objective.parts, 4, -1)
        target, found = variances(sums_LKD, stats.predicted_frames)
        return {
            "loss": stats.loss_representations / max(1.0, stats.predicted_frames),
            "target_variance": target,
            "prediction_variance": found,
            "dead_share": stats.dead_frames / max(1.0, stats.heard_frames),
        }

    def watch(self, stats: BatchStats, hours: float, seconds: float) -> list[str]:
        if not stats.predicted_frames:
            return []
        return self.guard.watch(self.metrics(stats, seconds), hours, seconds)

    def evaluated(self, hours: float, found: Mapping[str, Sequence[DevMetrics]]) -> list[str]:
        told = [one for one in found["teacher"] if isinstance(one, RepresentationMetrics)]
        ranks = [one.effective_rank for one in told]
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
    def _told(self, given: StudentInput) -> Representations | None:
        """What is to be predicted; None of a rank that hears nothing. A collective under ZeRO 1 to 3."""
        # Before a rank without a share turns back.
        with self.teacher.labelling() as network:
            assert isinstance(network, RepresentationModel)
            dtype = getattr(torch, Precision.of(self.config).activations)
            has_share = bool(given.micro_batch.segments)
            if not has_share and not self.teacher.forward_is_collective:
                return None
            features_BTF, lengths_B = self.heard(given) if has_share else self.features.silence()
            casts = network.dtype != dtype  # else it computes in that type as it is
            with torch.autocast(self.models.ranks.device.type, dtype, enabled=casts):
                return self.told(network, features_BTF.to(network.dtype), lengths_B)
