"""A CTC head beside the decoder: the joint loss is torch's own, and without the head nothing changes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.data.transcripts import training_tokenizer
from asr.decoding.generation import generate, score
from asr.decoding.generation_beam import generate_beam
from asr.distributed.fine_tuning import FineTuning
from asr.errors import UserError
from asr.model.criterion import Output
from asr.model.encoder_decoder.ctc_head import BOUNDARY, OUTPUTS, spelt, spelt_word
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.planning.estimates import parameter_count

pytest.importorskip("transformers")

from whisper_helpers import END, VOCABULARY, decoder_config, noise_features, write_whisper
from whisper_helpers import built as built_as_saved

LENGTHS = (64_000, 31_000, 16_000)
TEXTS = ["Ab -- c!", "naïve 数 7", "so it is"]
WEIGHT = 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("whisper")
    write_whisper(made, scale=8.0)
    return made


def config_of(folder: Path, **model: Any) -> Config:
    return decoder_config(folder, **{"window_seconds": 1.0, **model})


def built(config: Config) -> EncoderDecoder:
    torch.manual_seed(3)  # of the head
    return built_as_saved(config)


def features_of(
    config: Config, network: EncoderDecoder, places: list[int]
) -> tuple[Tensor, Tensor]:
    return noise_features(config, network, LENGTHS, places)


def tokens_of(config: Config) -> list[list[int]]:
    return [training_tokenizer(config).encode(text) for text in TEXTS]


def reference(
    output: Output, place: int, text: str, tokens: list[int], weights: list[float] | None = None
) -> float:
    """In float64, by torch's own losses, of one utterance on its own."""
    logits_UV = output.logits_BSV[place, : len(tokens) + 1].double()
    each_U = functional.cross_entropy(logits_UV, torch.tensor([*tokens, END]), reduction="none")
    if weights is not None:
        each_U = each_U * torch.tensor(weights, dtype=torch.float64)
    frames = int(output.frames_B[place])
    heard = "".join(one for one in text.lower() if one.isalnum() or one == " ").split()
    letters = [1 + byte for byte in " ".join(heard).encode()]
    ctc = functional.ctc_loss(
        output.ctc_BSV[place, :frames].double().log_softmax(-1)[:, None],
        torch.tensor([letters]),
        torch.tensor([frames]),
        torch.tensor([len(letters)]),
        reduction="sum",
    )
    return ((1 - WEIGHT) * each_U.sum() + WEIGHT * ctc).item()


def test_a_text_is_spelt_as_it_is_heard() -> None:
    assert spelt("It's  -- 7 O'clock!") == [1 + b for b in b"its 7 oclock"]
    assert spelt("ПРИВЕТ, мир") == [1 + b for b in "привет мир".encode()]
    assert spelt(" — ") == spelt("") == spelt_word("...") == []
    assert max(spelt("naïve 数")) < OUTPUTS
    assert spelt("a b")[1] == BOUNDARY


def frames_of(output: Output) -> list[int]:
    assert output.frames_B is not None
    return [int(frames) for frames in output.frames_B]


def test_the_joint_loss_is_torch_s_own_whatever_the_batch(folder: Path) -> None:
    config = config_of(folder, ctc_weight=WEIGHT)
    network, tokens = built(config).train(), tokens_of(config)
    together = Output(*network(*features_of(config, network, [0, 1, 2]), tokens=tokens))
    losses_B = network.criterion.training_losses(together, tokens, frames_of(together))
    for place, (text, own) in enumerate(zip(TEXTS, tokens, strict=True)):
        assert losses_B[place].item() == pytest.approx(
            reference(together, place, text, own), rel=1e-5
        )
        alone = Output(*network(*features_of(config, network, [place]), tokens=[own]))
        assert network.criterion.training_losses(
            alone, [own], frames_of(alone)
        ).item() == pytest.approx(losses_B[place].item(), rel=1e-4)
    losses_B.sum().backward()
    assert all(weight.grad is not None for _, weight in network.named_weights())
    # What is not trained on still has a graph, for ranks whose passes wait for each other.
    network.zero_grad()
    Output(*network(*features_of(config, network, [0]), tokens=[[]])).nothing().backward()
    assert all(float(p.grad.abs().sum()) == 0.0 for p in network.ctc_head.parameters())


def test_tokens_weigh_what_they_are_given_in_the_cross_entropy_alone(folder: Path) -> None:
    config = config_of(folder, ctc_weight=WEIGHT)
    network, tokens = built(config).train(), tokens_of(config)
    output = Output(*network(*features_of(config, network, [0, 1, 2]), tokens=tokens))
    weights: list[list[float] | None] = [
        [0.1 * place for place in range(len(tokens[0]) + 1)],
        None,
        [2.0] * (len(tokens[2]) + 1),
    ]
    frames = frames_of(output)
    losses_B = network.criterion.training_losses(output, tokens, frames, weights)
    for place, (text, own) in enumerate(zip(TEXTS, tokens, strict=True)):
        expected = reference(output, place, text, own, weights[place])
        assert losses_B[place].item() == pytest.approx(expected, rel=1e-5)
    alike = network.criterion.training_losses(output, tokens, frames, [None] * 3)
    assert torch.equal(alike, network.criterion.training_losses(output, tokens, frames))


def test_without_a_weight_nothing_is_there_or_drawn(folder: Path) -> None:
    config = config_of(folder)
    before = built(config)
    drawn = torch.rand(1)
    assert built(config_of(folder, ctc_weight=0.0)).train().ctc_head is None
    assert torch.rand(1) == drawn
    names = [name for name, _ in before.named_weights()]
    with_head = [name for name, _ in built(config_of(folder, ctc_weight=0.5)).named_weights()]
    assert [*names, "ctc_head.weight", "ctc_head.bias"] == with_head
    before.train()
    assert len(before(*features_of(config, before, [0]), tokens=[[1]])) == 2
    plain = Output(*before(*features_of(config, before, [0]), tokens=[[1, 2]]))
    loss = before.criterion.training_losses(plain, [[1, 2]], [1])
    assert torch.equal(loss, before.criterion.losses(plain.logits_BSV, plain.lengths_B, [[1, 2]]))


def test_a_text_that_the_head_has_no_frames_for_is_not_trained_on(folder: Path) -> None:
    network = built(config_of(folder, ctc_weight=WEIGHT))
    tokens = tokens_of(config_of(folder))[2]
    assert network.criterion.can_emit(tokens, len("so it is"))
    assert not network.criterion.can_emit(tokens, len("so it is") - 1)
    assert replace(network.criterion, ctc=None).can_emit(tokens, 1)


def test_the_head_scores_what_the_decoder_writes(folder: Path) -> None:
    config = config_of(folder, ctc_weight=WEIGHT)
    network, tokens = built(config), tokens_of(config)
    features = features_of(config, network, [0, 1, 2])
    network.train()
    output = Output(*network(*features, tokens=tokens))
    network.eval()
    scored = score(network, *features, tokens)
    for place, (one, text) in enumerate(zip(scored, TEXTS, strict=True)):
        frames = int(output.frames_B[place])
        loss = functional.ctc_loss(
            output.ctc_BSV[place, :frames].double().log_softmax(-1)[:, None],
            torch.tensor([spelt(text)]),
            torch.tensor([frames]),
            torch.tensor([len(spelt(text))]),
            reduction="sum",
        )
        assert one.ctc_score == pytest.approx(math.exp(-loss.item() / len(spelt(text))), rel=1e-4)
    for written in (
        generate(network, *features, 6),
        generate_beam(network, *features, beam_size=2, most_tokens=3),
    ):
        again = score(network, *features, [one.tokens for one in written])
        assert [one.ctc_score for one in written] == [one.ctc_score for one in again]
    other = built(config_of(folder))
    assert generate(other, *features, 3)[0].ctc_score is None


def test_the_head_learns_at_its_own_rate_while_the_encoder_waits(folder: Path) -> None:
    tuned = {"freeze_encoder_until_hours": 1.0, "head_learning_rate_factor": 5.0}
    config = config_of(folder, ctc_weight=WEIGHT, **tuned)
    network = built(config)
    groups = FineTuning.of(config).groups(network)
    [head] = [g for g in groups if any(p is network.ctc_head.weight for p in g["params"])]
    assert (head["from_hours"], head["factor"], len(head["params"])) == (0.0, 5.0, 2)
    assert sum(len(g["params"]) for g in groups) == len(list(network.named_weights()))


def test_the_plan_counts_it(folder: Path) -> None:
    counts = [parameter_count(config_of(folder, ctc_weight=w), VOCABULARY) for w in (0.0, 0.3)]
    assert counts[1] - counts[0] == (32 + 1) * OUTPUTS


@pytest.mark.parametrize(
    ("model", "labels", "said"),
    [
        ({}, {"filters": {"min_ctc_score": 0.1}}, "min_ctc_score needs .* model.ctc_weight"),
        ({"ctc_weight": 1.0}, {}, "ctc_weight"),
        (
            {"kind": "transformer"},
            {"token_weights": "confidence"},
            "token_weights confidence needs",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    folder: Path, model: dict[str, Any], labels: dict[str, Any], said: str
) -> None:
    whisper = {"kind": "encoder_decoder", "pretrained": str(folder)}
    tree = {"model": model if "kind" in model else {**whisper, **model}, "pseudo_label": labels}
    with pytest.raises(UserError, match=said):
        parse_config(tree, "test")
