"""What is predicted of a frame is data2vec's target, whatever the utterance is batched with."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from model_helpers import VARIANTS
from torch.nn import functional

from asr.config.model import TransformerConfig
from asr.model.encoders.outputs import outputs_into
from asr.model.encoders.transformer import TransformerEncoder
from asr.model.latent.network import LatentModel
from asr.model.latent.targets import representations
from asr.model.masks import masked_by

FRAMES = [24, 60, 41]


def network(**options: object) -> LatentModel:
    torch.manual_seed(0)
    shape = {"width": 16, "heads": 2, "layers": 3, "feed_forward_width": 32, "layer_drop": 0.0}
    return LatentModel(
        TransformerEncoder(80, TransformerConfig.model_validate({**shape, **options}))
    ).eval()


def features() -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.randn(3, 64, 80, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(FRAMES)
    return values * (torch.arange(64)[None, :, None] < lengths[:, None, None]), lengths


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda one: str(one["positions"]))
def test_targets_are_the_mean_of_the_normalised_top_blocks_of_an_utterance_alone(
    variant: dict[str, object],
) -> None:
    model, (values, lengths) = network(**variant), features()
    together = representations(model, values, lengths, top_blocks=2)
    for row, frames in enumerate(FRAMES):
        blocks: deque[torch.Tensor] = deque()
        with torch.no_grad(), outputs_into(blocks):
            model(values[row : row + 1, :frames], lengths[row : row + 1])
        *_, last, before, hidden = blocks
        own = [
            functional.instance_norm(one.transpose(1, 2)).transpose(1, 2) for one in (last, before)
        ]
        expected, count = (own[0] + own[1])[0] / 2, len(last[0])
        assert together.frames_B[row] == count
        assert torch.allclose(together.targets_BSD[row, :count], expected, atol=1e-4)
        assert not together.targets_BSD[row, count:].any()
        assert torch.allclose(together.hidden_BSD[row, :count], hidden[0], atol=1e-4)


def test_frames_that_say_nothing_of_themselves_are_dead() -> None:
    model, (values, lengths) = network(), features()
    assert not representations(model, values, lengths, 3).dead_BS.any()
    with torch.no_grad():
        for block in model.encoder.blocks:  # type: ignore[attr-defined]
            block.norms[-1].weight.fill_(0.0)  # post-norm: each block says its bias
            block.norms[-1].bias.fill_(1.0)
    found = representations(model, values, lengths, 3)
    assert found.dead_BS.sum(1).tolist() == found.frames_B.tolist()
    assert float(found.targets_BSD.abs().max()) < 1e-3


def test_a_masked_frame_is_the_embedding_and_others_stay() -> None:
    model, (values, lengths) = network(positions="none", layers=1), features()
    entered: list[torch.Tensor] = []
    model.encoder.blocks[0].register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda module, given: entered.append(given[0])
    )
    mask_BS = torch.zeros(3, 5, dtype=torch.bool)  # shorter than what the encoder has
    mask_BS[1, 2:4] = True
    with masked_by(model.spans(mask_BS)):
        predicted, _ = model(values, lengths)
    model(values, lengths)
    with_masks, plain = entered
    assert torch.equal(with_masks[1, 2:4], model.latent["mask"].embedding.expand(2, -1))
    changed = (with_masks != plain).any(-1).nonzero().tolist()
    assert changed == [[1, 2], [1, 3]]
    predicted.sum().backward()
    assert all(weight.grad is not None for weight in model.latent.parameters())
    # Where nothing is masked the embedding has a gradient, too: ranks sum those that are there.
    model.zero_grad()
    with masked_by(model.spans(torch.zeros(0, 0, dtype=torch.bool))):
        model(values, lengths)[0].sum().backward()
    assert not model.latent["mask"].embedding.grad.any()
