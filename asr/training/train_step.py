"""One global batch -> accumulated gradients: label, augment, CTC, backward.

Shape suffixes: B utterances, T feature frames, F mel bins, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor
from torch.nn import functional

from asr.config.schema import Config
from asr.data.dataloader import MicroBatch, RankBatch
from asr.data.segments import Kind
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.model.ctc import best_paths, ctc_losses, is_feasible
from asr.model.features import IDLE_FRAMES, LogMel
from asr.pseudo_labels.pseudo_labeler import Labelling
from asr.training.augmentation import spec_augment
from asr.utils.seeds import SeedTag, generator, hash_seed

# Batches are padded to a multiple of this many frames: oneDNN and cuDNN prepare a kernel for each new
# shape, and this makes shapes recur.
_FRAME_MULTIPLE = 64


@dataclass
class Tally:
    """Sums over a global batch; a rank's own until `summed`."""

    loss_labelled: float = 0.0
    """CTC loss in nats."""
    loss_pseudo_labelled: float = 0.0
    labelled_seconds: float = 0.0
    pseudo_labelled_seconds: float = 0.0
    """Untranscribed audio whose label was trained on."""
    micro_batches: int = 0
    """Those that were trained on."""
    micro_batch_squares: float = 0.0
    """Squared gradient norm of each micro-batch's mean loss per second, times its seconds."""
    infeasible_transcripts: int = 0
    non_finite: int = 0
    wait_seconds: float = 0.0
    non_finite_ids: list[str] = field(default_factory=list)
    """This rank's, by name; not summed."""

    @property
    def trained_seconds(self) -> float:
        """Audio whose transcript or label was trained on."""
        return self.labelled_seconds + self.pseudo_labelled_seconds

    def summed(self, ranks: Ranks) -> Tally:
        """The same over all ranks. A collective."""
        names = [f.name for f in fields(self) if f.name != "non_finite_ids"]
        sums = ranks.sum([float(getattr(self, name)) for name in names])
        return Tally(**dict(zip(names, sums, strict=True)))  # type: ignore[arg-type]


@dataclass
class Updater:
    """Runs forward and backward passes of global batches."""

    config: Config
    engine: Engine
    log_mel: LogMel
    ranks: Ranks
    labelling: Labelling | None = None
    """None in a supervised run."""

    def accumulate(self, batch: RankBatch, number: int, hours: float) -> Tally:
        """Gradient of the global loss: the sum of CTC losses over the global batch's audio seconds.

        The divisor is global and known beforehand, so ranks and accumulation only change the order of
        summation. `number` counts the batches of the run: it seeds dropout, so that a resumed run
        needs no generator state.
        """
        tally = Tally()
        are_labels_shared = True
        if self.labelling is not None:
            self.labelling.begin_batch(batch.batch, number, hours)
        self.engine.student.train()
        self.engine.begin_batch()
        for slot in range(batch.slots):
            started = time.perf_counter()
            micro_batch = next(batch.micro_batches)
            tally.wait_seconds += time.perf_counter() - started
            if not micro_batch.is_trained:
                assert self.labelling is not None
                self.labelling.only_label(micro_batch)
                are_labels_shared = False
                continue
            if not are_labels_shared and self.labelling is not None:
                self.labelling.share_labels()
                are_labels_shared = True
            before = tally.trained_seconds
            loss = self._loss(micro_batch, (number, slot), hours, tally)
            self.engine.backward(loss / batch.batch.seconds, is_last=slot == batch.slots - 1)
            square = self.engine.gradient_squares.take()
            trained_seconds = tally.trained_seconds - before
            if trained_seconds > 0:
                tally.micro_batches += 1
                share = batch.batch.seconds / self.ranks.world  # of the factor in Engine.backward
                tally.micro_batch_squares += square * share**2 / trained_seconds
        if self.labelling is not None:
            self.labelling.end_batch(batch.batch)
        return tally

    def _loss(
        self, micro_batch: MicroBatch, place: tuple[int, int], hours: float, tally: Tally
    ) -> Tensor:
        """Summed CTC loss of a micro-batch, in nats; zero, with a graph, if there is nothing to train on."""
        features_BTF, lengths_B = self.features(micro_batch.student_input)
        frames = self.engine.student.output_lengths(lengths_B).tolist()
        if micro_batch.kind is Kind.LABELLED:
            targets, kept = self._transcripts(micro_batch, frames, tally)
        else:
            targets, kept = self.labels(micro_batch, frames)
        features_BTF = self._augment(features_BTF, lengths_B, micro_batch, hours)
        losses_B = torch.empty(0)
        while True:
            logits_BSV, output_lengths_B = self._forward(features_BTF, lengths_B, kept, place)
            if kept:
                losses_B = ctc_losses(logits_BSV, output_lengths_B, [targets[i] for i in kept])
            finite = torch.isfinite(losses_B).tolist()
            # All ranks go round together, since the forward pass may be a collective.
            if not self.ranks.sum([float(len(finite) - sum(finite))])[0]:
                break
            bad = [i for i, good in zip(kept, finite, strict=True) if not good]
            tally.non_finite += len(bad)
            tally.non_finite_ids += [micro_batch.ids[i] for i in bad]
            kept = [i for i in kept if i not in bad]
            losses_B = torch.empty(0)
        if not kept:
            return logits_BSV.float().sum() * 0.0
        loss = losses_B.sum()
        seconds = sum(micro_batch.segments[i].seconds for i in kept)
        if micro_batch.kind is Kind.LABELLED:
            tally.loss_labelled += loss.item()
            tally.labelled_seconds += seconds
            return loss
        tally.loss_pseudo_labelled += loss.item()
        tally.pseudo_labelled_seconds += seconds
        assert self.labelling is not None
        said = best_paths(logits_BSV.detach(), output_lengths_B)
        self.labelling.compare(said, [targets[i] for i in kept])
        return loss * self.config.pseudo_label.loss_weight

    def features(self, given: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) and lengths (B,) on the device; an idle micro-batch has none (B = 0)."""
        if given is None:
            bins = self.config.features.mel_bins
            return (
                torch.zeros(0, IDLE_FRAMES, bins, device=self.ranks.device),
                torch.zeros(0, dtype=torch.long, device=self.ranks.device),
            )
        values, lengths_B = (tensor.to(self.ranks.device, non_blocking=True) for tensor in given)
        if self.config.features.source == "waveform":
            values, lengths_B = self.log_mel(values, lengths_B)
        return functional.pad(values, (0, 0, 0, -values.shape[1] % _FRAME_MULTIPLE)), lengths_B

    def _transcripts(
        self, micro_batch: MicroBatch, frames: list[int], tally: Tally
    ) -> tuple[list[list[int]], list[int]]:
        targets = micro_batch.targets
        kept = [i for i, target in enumerate(targets) if is_feasible(target, frames[i])]
        tally.infeasible_transcripts += len(targets) - len(kept)
        return targets, kept

    def labels(
        self, micro_batch: MicroBatch, frames: list[int]
    ) -> tuple[list[list[int]], list[int]]:
        """Targets of untranscribed speech, and the places of those to train on."""
        assert self.labelling is not None
        return self.labelling.targets(micro_batch, frames)

    def _augment(
        self, features_BTF: Tensor, lengths_B: Tensor, micro_batch: MicroBatch, hours: float
    ) -> Tensor:
        policy = self.config.augmentation.spec_augment
        if hours < policy.start_hours or not micro_batch.segments:
            return features_BTF
        seeds = [segment.seed(self.config.seed) for segment in micro_batch.segments]
        return spec_augment(features_BTF, lengths_B, policy, seeds)

    def _forward(
        self, features_BTF: Tensor, lengths_B: Tensor, kept: list[int], place: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        student = self.engine.student
        # One draw a global batch, as in slimIPL, so that it is the same however the batch is cut; every
        # rank draws its own dropout.
        layers = generator(self.config.seed, SeedTag.LAYER_DROP, place[0])
        kept_layers = (layers.random(len(student.blocks)) >= student.layer_drop).tolist()
        own = (self.config.seed, SeedTag.DROPOUT, *place, self.ranks.rank)
        torch.manual_seed(hash_seed(*own))
        if kept:
            features_BTF, lengths_B = _select(features_BTF, lengths_B, kept)
        else:
            # Nothing to train on, but the forward and backward passes are collectives.
            features_BTF = features_BTF.new_zeros(1, IDLE_FRAMES, features_BTF.shape[2])
            lengths_B = torch.full((1,), IDLE_FRAMES, device=features_BTF.device)
        return self.engine.logits(features_BTF, lengths_B, kept_layers)


def _select(features_BTF: Tensor, lengths_B: Tensor, kept: list[int]) -> tuple[Tensor, Tensor]:
    if len(kept) == len(lengths_B):
        return features_BTF, lengths_B
    lengths_B = lengths_B[kept]
    return features_BTF[kept][:, : int(lengths_B.max())], lengths_B
