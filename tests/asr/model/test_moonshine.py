"""Moonshine as the student: it is transformers' model, and batch-mates change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.transcripts import training_tokenizer
from asr.decoding.generation import generate
from asr.decoding.generation_beam import generate_beam
from asr.distributed.fine_tuning import FineTuning
from asr.errors import UserError
from asr.model.criterion import Output
from asr.model.dropout import UtteranceDraws, drawn_by
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.make import make_model
from asr.planning.estimates import parameter_count
from asr.pseudo_labels.labelling.recogniser import Choice, load_recogniser

pytest.importorskip("transformers")

from moonshine_helpers import END, PLACES, START, UNKNOWN, write_moonshine
from whisper_helpers import built, decoder_config, noise_features

LENGTHS = (40_000, 21_000, 3_300)
TEXTS = ["ab c", "it is 数", "So."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("moonshine")
    write_moonshine(made)
    return made


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    import transformers

    return transformers.MoonshineForConditionalGeneration.from_pretrained(folder).eval()


def features_of(
    config: Config, network: EncoderDecoder, places: list[int]
) -> tuple[Tensor, Tensor]:
    return noise_features(config, network, LENGTHS, places)


def test_texts_come_back_and_the_prompt_is_its_start_alone(folder: Path) -> None:
    tokenizer = training_tokenizer(decoder_config(folder))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    special = built(decoder_config(folder)).special
    assert (special.prompt, special.end, special.no_speech) == ((START,), END, None)
    assert {UNKNOWN, START} <= set(special.suppressed)


def test_loss_and_text_are_transformers_own_and_batch_mates_change_nothing(
    folder: Path, theirs: Any
) -> None:
    config = decoder_config(folder)
    network, tokens = built(config), [training_tokenizer(config).encode(t) for t in TEXTS]
    features_BTF, lengths_B = features_of(config, network, [0, 1, 2])
    losses_B = network.criterion.losses(*network(features_BTF, lengths_B, tokens=tokens), tokens)
    written = generate(network, features_BTF, lengths_B)
    searched = generate_beam(network, features_BTF, lengths_B, 3)
    for place, text in enumerate(tokens):
        own_BTF, own_B = features_of(config, network, [place])
        said = torch.tensor([[START, *text, END]])
        with torch.no_grad():
            own = theirs(input_values=own_BTF, decoder_input_ids=said[:, :-1], labels=said[:, 1:])
            generated = theirs.generate(
                own_BTF,
                decoder_input_ids=torch.tensor([[START]]),
                suppress_tokens=list(network.special.suppressed),
                max_length=PLACES,
            )[0].tolist()
        assert losses_B[place].item() == pytest.approx(own.loss.item() * (len(text) + 1), rel=1e-4)
        assert written[place].tokens == [t for t in generated if t not in (START, END)]
        assert generate_beam(network, own_BTF, own_B, 3)[0].tokens == searched[place].tokens
    assert len({tuple(one.tokens) for one in written}) > 1, (
        "a model that says one thing tests nothing"
    )


def test_it_trains_with_a_head_and_dropout_that_are_the_utterance_s_own(folder: Path) -> None:
    noise = {"dropout": 0.2, "layer_drop": 0.0}
    tuned = {"freeze_front_end_until_hours": 1.0, "layer_decay": 0.5}
    config = decoder_config(folder, ctc_weight=0.3, **noise, **tuned)
    network = built(config).train()
    tokens = [training_tokenizer(config).encode(text) for text in TEXTS]

    def losses(places: list[int]) -> Tensor:
        features_BTF, lengths_B = features_of(config, network, places)
        draws = [torch.Generator().manual_seed(place) for place in places]
        frames = network.encoder.output_lengths(lengths_B).tolist()
        own = [tokens[place] for place in places]
        with drawn_by(UtteranceDraws(draws, frames)):
            output = Output(*network(features_BTF, lengths_B, tokens=own))
        return network.criterion.training_losses(output, own, frames)

    together = losses([0, 1])
    torch.testing.assert_close(together, torch.cat([losses([0]), losses([1])]), rtol=1e-4, atol=0)
    together.sum().backward()
    missing = [name for name, weight in network.named_weights() if weight.grad is None]
    assert not missing
    assert network.encoder.output_lengths(torch.tensor([LENGTHS[2]])).item() > 0
    network.eval()
    factors = {g["factor"]: g["from_hours"] for g in FineTuning.of(config).groups(network)}
    assert factors == {1.0: 0.0, 0.5: 0.0, 0.25: 0.0, 0.125: 1.0}


def test_its_description_in_a_checkpoint_makes_it_again(folder: Path, tmp_path: Path) -> None:
    config = decoder_config(folder)
    network = built(config)
    network.save_description(tmp_path)
    training_tokenizer(config).save(tmp_path)
    gone = decoder_config(tmp_path / "gone")
    again = make_model(gone, 1, tmp_path, with_weights=False).eval()
    weights = {name: weight.detach() for name, weight in network.named_weights()}
    again.load_weights(weights)
    features = features_of(config, network, [0])
    torch.testing.assert_close(
        again(*features, tokens=[[1, 2]]), network(*features, tokens=[[1, 2]])
    )
    count = sum(weight.numel() for weight in weights.values())
    assert parameter_count(config, 1) == count


def test_an_unknown_family_is_told_which_there_are(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bart", "vocab_size": 5}))
    with pytest.raises(UserError, match=r"'bart' is no encoder-decoder here; .*Moonshine.*Whisper"):
        make_model(decoder_config(tmp_path), 5)


def test_asr_label_takes_it_as_it_is(folder: Path) -> None:
    recogniser = load_recogniser(Choice(str(folder)), torch.device("cpu"))
    draws = torch.Generator().manual_seed(1)
    waveforms_BN = 0.1 * torch.randn(2, 40_000, generator=draws)
    both = recogniser(waveforms_BN, torch.tensor([40_000, 21_000]))
    alone = recogniser(waveforms_BN[:1], torch.tensor([40_000]))
    assert both[0].text == alone[0].text
    assert both[0].metrics.confidence == pytest.approx(alone[0].metrics.confidence, rel=1e-4)
