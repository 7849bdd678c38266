"""The gradient noise scale against models whose noise and signal are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from asr.data.batching import (
    Part,
    deal_into_parts,
    part_numbers,
    split_into_micro_batches,
)
from asr.data.sampler import AudioStream, GlobalBatch, Position
from asr.data.segments import GroupedCorpus, Kind, Segment
from asr.distributed.process_group import Ranks
from asr.scaling.validity import GradientNoise
from asr.training.gradient_sketch import GradientSketch
from asr.training.noise_scale import ClippedShare, GradientNoiseScale, gradient_noise

ALONE = Ranks(0, 1, torch.device("cpu"))
LAYERS, WIDTH, LAYER_DROP = 6, 16, 0.3
GROUP_SECONDS, GROUPS = 10.0, 16
SIGNAL, KIND, LENGTH, NOISE = 1.0, 2.87, 2.0, 29.0
Array = NDArray[np.float64]


class Strata:
    """Speech of two kinds whose gradients depend on kind and length; each utterance draws its LayerDrop."""

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        count = 2000
        self.gradients: dict[Kind, Array] = {}
        """(utterances, layers, width): of an utterance's loss with all layers."""
        corpora = {}
        signal, by_kind, by_length = random.standard_normal((3, LAYERS, WIDTH))
        for kind, side in zip(Kind, (1.0, -1.0), strict=True):
            seconds = random.uniform(1.0, 5.0, count)
            slope = ((seconds - 3.0) / 2.0)[:, None, None]
            noise = random.standard_normal((count, LAYERS, WIDTH)) * math.sqrt(NOISE)
            mean = SIGNAL * signal + KIND * side * by_kind + LENGTH * slope * by_length
            audio = seconds[:, None, None]
            self.gradients[kind] = audio * mean + np.sqrt(audio) * noise
            corpora[kind] = GroupedCorpus(kind, seconds, GROUP_SECONDS, 1)
        self.corpora = corpora
        self.stream = AudioStream(*corpora.values(), (1, 1), 0.0, 1)

    def gradient(self, segment: Segment) -> Array:
        gates = np.random.default_rng(segment.seed(1)).random(LAYERS) >= LAYER_DROP
        return gates[:, None] * self.gradients[segment.kind][segment.index]

    def truth(self) -> GradientNoise:
        """Of the stream's batches: over all groups of ten passes, and the gates in closed form."""
        keep = 1.0 - LAYER_DROP
        means = [
            keep * self.gradients[kind].sum(axis=0) / corpus.seconds.sum()
            for kind, corpus in self.corpora.items()
        ]
        mean = np.mean(means, axis=0)  # the stream is half and half
        variances, seconds = [], []
        for kind, corpus in self.corpora.items():
            x = self.gradients[kind] * keep - corpus.seconds[:, None, None] * mean
            groups = [
                [s.index for s in corpus.group(number, place)]
                for number in range(10)
                for place in range(corpus.groups_in_pass(number))
            ]
            residuals = np.array([x[group].sum(axis=0).ravel() for group in groups])
            gates = keep * LAYER_DROP * np.square(self.gradients[kind]).sum(axis=(1, 2))
            of_gates = np.mean([gates[group].sum() for group in groups])
            variances.append(residuals.var(axis=0).sum() + of_gates)
            seconds.append(corpus.mean_group_seconds)
        return GradientNoise(
            float(np.square(mean).sum()), float(np.sum(variances) / np.sum(seconds))
        )

    def batches(self, count: int) -> Iterator[GlobalBatch]:
        position = Position()
        for _ in range(count):
            batch = self.stream.next_batch(position, GROUPS)
            yield batch
            position = batch.after

    def measured(self, batch: GlobalBatch) -> GradientNoise:
        """As a run measures it: backward passes of micro-batches, whose hooks fold gradients."""
        theta = nn.Parameter(torch.zeros(LAYERS, WIDTH, dtype=torch.float64))
        parts = deal_into_parts(batch.groups)
        numbers = part_numbers(parts)
        sketch = GradientSketch([theta], len(parts), (1, 2))
        for [micro_batch] in split_into_micro_batches(batch.segments, 1, 60.0, numbers):
            sketch.part = numbers[micro_batch[0]]
            (theta * torch.from_numpy(sum(map(self.gradient, micro_batch)))).sum().backward()
        sketch.remove_hooks()
        return gradient_noise(sketch.inner_products(ALONE), parts)

    def measured_on_sorted_micro_batches(self, batch: GlobalBatch) -> GradientNoise:
        """As 0.1.0 did: micro-batches of one kind and similar length for random samples."""
        kinds = [[s for s in batch.segments if s.kind is kind] for kind in Kind]
        cuts = [cut for own in kinds for [cut] in split_into_micro_batches(own, 1, 20.0)]
        parts = [Part(0, 1, sum(s.seconds for s in cut), tuple(cut)) for cut in cuts]
        sums = np.array([sum(map(self.gradient, cut)).ravel() for cut in cuts])
        return gradient_noise(sums @ sums.T, parts)


def mean(found: list[GradientNoise]) -> GradientNoise:
    noise, signal = ([getattr(one, name) for one in found] for name in ("noise", "signal"))
    return GradientNoise(float(np.mean(signal)), float(np.mean(noise)))


def test_a_run_on_kinds_and_lengths_that_differ_is_told_77_s_and_not_1812() -> None:
    strata, scale = Strata(), GradientNoiseScale()
    truth = strata.truth().scale_seconds
    assert truth == pytest.approx(77, abs=2)
    batches = list(strata.batches(150))
    before = mean([strata.measured_on_sorted_micro_batches(batch) for batch in batches])
    assert before.scale_seconds == pytest.approx(1812, rel=0.2)  # what a user read so far
    found = [strata.measured(batch) for batch in batches]
    for one in found:
        scale.observe(one)
    assert scale.seconds is not None
    assert scale.error_seconds is not None
    assert scale.error_seconds < 0.2 * truth
    assert abs(scale.seconds - truth) < 2 * scale.error_seconds
    assert mean(found).scale_seconds == pytest.approx(truth, rel=0.05)


def test_the_stated_error_is_that_of_the_estimate() -> None:
    # 100 parameters; parts of unequal length; the gradient of a second is G with variance 0.7 in each.
    random = np.random.default_rng(0)
    seconds, groups = np.array([18.0, 21.0, 11.0, 30.0]), [2, 2, 1, 3]
    parts = [Part(0, n, s, ()) for n, s in zip(groups, seconds, strict=True)]
    truth = GradientNoise(100 * 0.2**2, 100 * 0.7)
    all_found, hits, runs = [], 0, 300
    for _ in range(runs):
        scale = GradientNoiseScale()
        for _ in range(40):
            own = random.standard_normal((4, 100)) * np.sqrt(0.7 * seconds)[:, None]
            sums = own + 0.2 * seconds[:, None]
            one = gradient_noise(sums @ sums.T, parts)
            all_found.append(one)
            scale.observe(one)
        assert scale.seconds is not None
        assert scale.error_seconds is not None
        assert truth.scale_seconds is not None
        hits += abs(scale.seconds - truth.scale_seconds) < 1.96 * scale.error_seconds
    assert mean(all_found).signal == pytest.approx(truth.signal, rel=0.01)
    assert mean(all_found).noise == pytest.approx(truth.noise, rel=0.05)  # groups of unequal length
    assert 0.88 <= hits / runs <= 0.99


def test_one_measurement_has_no_error_yet_and_what_is_not_finite_is_none() -> None:
    scale = GradientNoiseScale()
    scale.observe(GradientNoise(math.nan, 1.0))
    assert scale.seconds is None
    scale.observe(GradientNoise(2.0, 10.0))
    assert scale.seconds == 5.0
    assert scale.error_seconds is None


def test_a_signal_that_is_lost_in_the_noise_has_no_noise_scale() -> None:
    scale = GradientNoiseScale()
    scale.observe(GradientNoise(-1.0, 10.0))
    assert scale.seconds is None
    assert scale.metrics()["gradient_noise_seconds"] == 10.0


def test_the_state_of_an_older_run_is_not_continued() -> None:
    assert GradientNoiseScale.from_state({"noise": 4.0, "signal": 1.0}).seconds is None
    scale = GradientNoiseScale()
    scale.observe(GradientNoise(2.0, 10.0))
    assert GradientNoiseScale.from_state(asdict(scale)) == scale


def groups_of(*kinds: Kind) -> list[tuple[Segment, ...]]:
    return [
        (Segment(kind, i, 0, 5.0), Segment(kind, 100 + i, 0, 5.0)) for i, kind in enumerate(kinds)
    ]


def test_parts_are_of_whole_groups_and_of_one_kind_where_each_kind_has_two() -> None:
    one, other = Kind
    parts = deal_into_parts(groups_of(*[one, other] * 4))
    assert [(p.stratum, p.groups, p.seconds) for p in parts] == [(s, 2, 20.0) for s in (0, 0, 1, 1)]
    assert [len(deal_into_parts(groups_of(*[one] * n))) for n in (0, 1, 2, 3, 9)] == [0, 0, 2, 3, 4]
    assert not deal_into_parts(groups_of(one, other))
    assert not deal_into_parts(groups_of(one, other, other))
    pooled = deal_into_parts(groups_of(one, *[other] * 7))
    assert [(p.stratum, p.groups) for p in pooled] == [(0, 2)] * 4


def test_a_folded_gradient_has_the_inner_products_of_the_gradient() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2, 3, 1000)) + 0.5
    sums = vectors.reshape(2, -1)
    exact = sums @ sums.T

    def folded(width: int, seed: int) -> Array:
        weights = [nn.Parameter(torch.zeros(1000)) for _ in range(3)]
        sketch = GradientSketch(weights, 2, (seed,), width)
        for part, rows in enumerate(vectors):
            sketch.part = part
            for half in (0.25, 0.75):  # micro-batches add up
                pairs = zip(weights, torch.tensor(rows, dtype=torch.float32), strict=True)
                sum((half * w * row).sum() for w, row in pairs).backward()
        sketch.part = None
        sum(w.sum() for w in weights).backward()  # a micro-batch without a share
        sketch.remove_hooks()
        sketch.part = 0
        sum(w.sum() for w in weights).backward()  # the next batch is not measured
        return sketch.inner_products(ALONE)

    assert folded(1 << 16, 0) == pytest.approx(exact, rel=1e-5)
    draws = np.array([folded(256, seed) for seed in range(60)])
    assert draws.mean(axis=0) == pytest.approx(exact, rel=0.04)
    assert draws.std(axis=0).max() < 0.2 * exact.max()


def test_the_clipped_share_is_smoothed_over_audio_and_not_over_batches() -> None:
    small, large = ClippedShare(), ClippedShare()
    assert small.share is None
    for number in range(400):
        norm = 2.0 if number >= 200 else 0.5
        for _ in range(4):
            small.observe(norm, 1.0, 10.0, 10.0)
        large.observe(norm, 1.0, 40.0, 10.0)
    assert small.share == pytest.approx(large.share)
    assert 0.85 < small.share < 0.95
    large.observe(math.nan, 1.0, 40.0, 10.0)
    assert small.share == pytest.approx(large.share)
    never = ClippedShare()
    never.observe(100.0, 0.0, 10.0, 10.0)
    assert never.share == 0.0
