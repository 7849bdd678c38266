"""Two views: what is compared with what, and that nobody else's frames and no padding take part."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from asr.config.model import TransformerConfig
from asr.config.objective import ByolConfig
from asr.model.encoders.transformer import TransformerEncoder
from asr.model.latent.network import ByolModel
from asr.model.latent.targets import projections
from asr.training.augmentation import linear_fade
from asr.training.objectives.prediction import agreed, variances

FRAMES = [3, 5, 4]
KEPT = [0, 2]
ROWS = [0, 2, 3, 5]
"""Of the kept utterances, in both views."""


@pytest.mark.parametrize("level", ["frame", "utterance", "both"])
def test_each_view_is_compared_with_the_other_one_of_the_same_utterance(level: str) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(6, 6, 8, generator=generator)  # five frames, and the mean
    said = torch.randn(4, 5, 8, generator=generator)  # four frames, and the mean
    lengths = torch.tensor([FRAMES[place] for place in KEPT] * 2)
    masks = torch.arange(4)[None] < lengths[:, None]
    found = agreed(said, targets, masks, ROWS, level)  # type: ignore[arg-type]
    expected, frames, means = [], [], []
    for row, (place, other) in enumerate([(0, 3), (2, 5), (0, 0), (2, 2)]):
        cosines = functional.cosine_similarity(
            said[row, : FRAMES[place]], targets[other, :5][: FRAMES[place]]
        )
        of_mean = functional.cosine_similarity(said[row, -1], targets[other, -1], dim=0)
        by_level = {"frame": 2 - 2 * cosines, "utterance": (2 - 2 * of_mean).expand(FRAMES[place])}
        by_level["both"] = (by_level["frame"] + by_level["utterance"]) / 2
        expected.append(by_level[level].sum())
        frames.append(functional.normalize(targets[other, : FRAMES[place]], dim=-1))
        mean = functional.normalize(targets[other, -1:], dim=-1)
        means.append(mean.expand(FRAMES[place], -1))
    assert torch.allclose(found.losses_B, torch.stack(expected), atol=1e-5)
    assert found.losses_M.sum().item() == pytest.approx(sum(map(float, expected)), rel=1e-5)
    of_both = {"frame": frames, "utterance": means}
    spread = {
        name: float(torch.cat(one).var(0, unbiased=False).sum()) for name, one in of_both.items()
    }
    told, _ = variances(found.sums_LKD, len(found.losses_M))
    assert told == pytest.approx(spread.get(level, min(spread.values())), rel=1e-4)


def test_means_that_are_all_alike_are_seen_beside_frames_that_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    targets, said = (torch.randn(n, 6, 8, generator=generator) for n in (6, 4))
    targets[:, -1] = 1.0
    masks = torch.ones(4, 5, dtype=torch.bool)
    found = agreed(said, targets, masks, ROWS, "both")
    told, predicted = variances(found.sums_LKD, len(found.losses_M))
    assert told < 1e-6 < 0.1 < predicted


def network() -> ByolModel:
    torch.manual_seed(0)
    shape = TransformerConfig(width=16, heads=2, layers=2, feed_forward_width=32)
    policy = ByolConfig(hidden_width=12, projection_width=8)
    return ByolModel(TransformerEncoder(10, shape), policy).eval()


@pytest.mark.parametrize("normalises", [True, False])
def test_padding_changes_no_projection_and_no_mean(normalises: bool) -> None:
    model, lengths = network(), torch.tensor([40, 64])
    features = torch.randn(2, 64, 10, generator=torch.Generator().manual_seed(1))
    features[0, 40:] = 0.0
    together = projections(model, features, lengths, normalises)
    alone = projections(model, features[:1, :40], lengths[:1], normalises)
    frames = int(alone.frames_B[0])
    assert torch.allclose(
        together.targets_BSD[0, :frames], alone.targets_BSD[0, :frames], atol=1e-4
    )
    assert torch.allclose(together.targets_BSD[0, -1], alone.targets_BSD[0, -1], atol=1e-5)
    own = together.targets_BSD[0, :frames]
    is_normal = bool(torch.allclose(own.mean(0), torch.zeros(8), atol=1e-4))
    assert is_normal == normalises
    hidden = together.hidden_BSD[0, :frames].mean(0)
    assert torch.allclose(model.latent["projector"](hidden), together.targets_BSD[0, -1], atol=1e-5)
    assert not together.targets_BSD.requires_grad


def test_a_fade_belongs_to_the_utterance_and_its_view_and_leaves_padding() -> None:
    features, lengths = torch.zeros(3, 8, 2), torch.tensor([8, 5, 8])
    seeds = [(1, 2, 0, 7), (1, 2, 0, 8), (1, 2, 0, 7, 0, 1)]
    found = linear_fade(features, lengths, 1.0, seeds)
    assert not found[1, 5:].any()
    assert torch.equal(found[1:2, :5], linear_fade(features[:1, :5], lengths[1:2], 1.0, seeds[1:2]))
    assert not torch.allclose(found[0], found[2])
    assert found.abs().max() <= 1.0
    assert torch.allclose(found[0].diff(dim=0), found[0, 1] - found[0, 0], atol=1e-6)
    assert torch.equal(linear_fade(features, lengths, 0.0, seeds), features)
