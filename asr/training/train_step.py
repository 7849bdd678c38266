"""One global batch -> accumulated gradients: read, augment, the objective's loss, backward.

Shape suffixes: B utterances, T feature frames, F mel bins, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.dataloader import RankBatch
from asr.data.loading.micro_batch import MicroBatch
from asr.data.segments import Segment, in_views
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.model.dropout import drawn_by
from asr.model.features import FeatureExtractor
from asr.model.masks import Masks, masked_by
from asr.scaling.validity import GradientNoise
from asr.training.augmentation import spec_augment
from asr.training.batch_stats import BatchStats
from asr.training.gradient_sketch import GradientSketch
from asr.training.noise_scale import gradient_noise
from asr.training.objectives.objective import Objective, StudentInput, Targets
from asr.training.regularisation import dropout_draws, kept_layers
from asr.utils.devices import sent
from asr.utils.seeds import SeedTag, hash_seed


@dataclass
class TrainStep:
    """Runs forward and backward passes of global batches."""

    config: Config
    engine: Engine
    features: FeatureExtractor
    ranks: Ranks
    objective: Objective
    measured: GradientNoise | None = field(init=False, default=None)
    """Of the last batch; None where it was not measured."""

    def accumulate(self, batch: RankBatch, number: int, hours: float) -> BatchStats:
        """Gradient of the global loss: the sum of the losses over the objective's divisor.

        `number` counts the batches of the run.
        """
        stats = BatchStats()
        divisor = self.objective.begin_batch(batch, number, hours)
        self.engine.student.train()
        self.engine.begin_batch()
        sketch = self._sketch(batch, number)
        for slot in range(batch.slots):
            started = time.perf_counter()
            micro_batch = next(batch.micro_batches)
            stats.wait_seconds += time.perf_counter() - started
            if not micro_batch.is_trained:
                self.objective.prepare(micro_batch)
                continue
            before = stats.trained_seconds
            given = self._given(micro_batch, (number, slot), hours)
            loss = self.objective.loss(given, stats)
            if sketch is not None:
                sketch.part = batch.part_of_slot[slot]
            self.engine.backward(loss / divisor, is_last=slot == batch.slots - 1)
            stats.micro_batches += stats.trained_seconds > before
        self.measured = None if sketch is None else self._noise(sketch, batch)
        self.objective.end_batch(batch)
        stats.lost, stats.lost_utterances = dict(batch.lost), len(batch.lost)
        stats.refetched = batch.refetched
        batch.lost.clear()
        return stats

    def _sketch(self, batch: RankBatch, number: int) -> GradientSketch | None:
        """Hooks on the gradients of a measured batch; others have none."""
        if not batch.parts:
            return None
        seed = (self.config.seed, SeedTag.GRADIENT_SKETCH, number)
        return GradientSketch(self.engine.student.parameters(), len(batch.parts), seed)

    def _noise(self, sketch: GradientSketch, batch: RankBatch) -> GradientNoise:
        """A collective."""
        sketch.remove_hooks()
        factor = batch.batch.seconds / self.ranks.world  # of the loss, and in Engine.backward
        return gradient_noise(factor**2 * sketch.inner_products(self.ranks), batch.parts)

    def _given(self, micro_batch: MicroBatch, place: tuple[int, int], hours: float) -> StudentInput:
        features_BTF, lengths_B = self.features(micro_batch.student_input)
        host_lengths_B = self.features.host_lengths(micro_batch.student_input)
        frames = self.engine.student.encoder.output_lengths(host_lengths_B).tolist()
        segments = in_views(micro_batch.segments, self.config.objective.views)
        masks = self._masks(segments, hours)
        features_BTF = self.objective.augmented(features_BTF, host_lengths_B, segments)
        masks_inside = not self.features.front_end.takes_masks
        if masks is not None and not masks_inside:
            features_BTF = masks(features_BTF, host_lengths_B)
        return StudentInput(
            micro_batch,
            (features_BTF, lengths_B),
            frames,
            partial(
                self._forward,
                (features_BTF, lengths_B, host_lengths_B),
                segments,
                place,
                hours if masks_inside else None,
            ),
            self.engine.is_cut,
        )

    def _masks(self, segments: Sequence[Segment], hours: float | None) -> Masks | None:
        """SpecAugment's for these utterances at `hours`, if there are any."""
        policy = self.config.augmentation.spec_augment
        if hours is None or hours < policy.start_hours or not segments:
            return None
        seeds = [segment.seed(self.config.seed) for segment in segments]
        return partial(spec_augment, config=policy, seeds=seeds)

    def _forward(
        self,
        given: tuple[Tensor, Tensor, Tensor],
        segments: Sequence[Segment],
        place: tuple[int, int],
        masked_at_hours: float | None,
        kept: list[int],
        targets: Targets,
    ) -> tuple[Tensor, ...]:
        encoder = self.engine.student.encoder
        # What cannot be drawn for each utterance: dropout of the attention weights, and all dropout on a GPU.
        own = (self.config.seed, SeedTag.DROPOUT, *place, self.ranks.rank)
        torch.manual_seed(hash_seed(*own))
        if kept:
            features_BTF, lengths_B = _select(*given, kept)
        else:
            # Nothing to train on, but the forward and backward passes are collectives.
            features_BTF, lengths_B = self.features.silence()
            targets = [[]]
        segments = [segments[index] for index in kept]
        kept_BL = kept_layers(self.config, encoder, segments, place[0])
        frames_B = encoder.output_lengths(lengths_B)
        masks = self._masks(segments, masked_at_hours)
        with drawn_by(dropout_draws(self.config, segments, frames_B)), masked_by(masks):
            return self.engine.logits(features_BTF, lengths_B, kept_BL, targets)


def _select(
    features_BTF: Tensor, lengths_B: Tensor, host_lengths_B: Tensor, kept: list[int]
) -> tuple[Tensor, Tensor]:
    if len(kept) == len(lengths_B):
        return features_BTF, lengths_B
    rows = sent(torch.tensor(kept), lengths_B.device)
    longest = int(host_lengths_B[kept].max())
    return features_BTF.index_select(0, rows)[:, :longest], lengths_B.index_select(0, rows)
