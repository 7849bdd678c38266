"""An encoder-decoder as the student: it is transformers' model, and batch-mates change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.transcripts import training_tokenizer
from asr.decoding.generation import Generated, generate, score
from asr.decoding.generation_beam import generate_beam
from asr.decoding.safeguards import GREEDY, GenerationSettings, write
from asr.errors import UserError
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.make import make_front_end, make_model

pytest.importorskip("transformers")

from whisper_helpers import (
    END,
    NO_SPEECH,
    PLACES,
    START,
    VOCABULARY,
    built,
    decoder_config,
    noise_features,
    write_whisper,
)

LENGTHS = (80_000, 31_000, 8_000)
TEXTS = ["ab c", "", "what is said, Is said."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("whisper")
    write_whisper(made, scale=8.0)
    return made


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    import transformers

    return transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()


def features_of(
    config: Config, network: EncoderDecoder, places: list[int]
) -> tuple[Tensor, Tensor]:
    return noise_features(config, network, LENGTHS, places)


def test_a_text_is_spelt_in_the_model_s_own_tokens_and_comes_back(folder: Path) -> None:
    tokenizer = training_tokenizer(decoder_config(folder))
    for text in [*TEXTS, "naïve 数"]:
        tokens = tokenizer.encode(text)
        assert max(tokens, default=0) < END
        assert tokenizer.decode(tokens) == text
    assert tokenizer.encode("a") == tokenizer.encode(" a"), (
        "a word has a space before it, the first one, too"
    )
    assert tokenizer.decode([*tokenizer.encode("a"), END, START]) == "a"
    with pytest.raises(UserError, match="endoftext"):
        tokenizer.encode("a <|endoftext|>")


def test_the_loss_is_transformers_own(folder: Path, theirs: Any) -> None:
    config = decoder_config(folder, window_seconds=5.0)
    network = built(config)
    tokens = [training_tokenizer(config).encode(text) for text in TEXTS]
    features_BTF, lengths_B = features_of(config, network, [0, 1, 2])
    losses_B = network.criterion.losses(*network(features_BTF, lengths_B, tokens=tokens), tokens)
    for place, text in enumerate(tokens):
        said = torch.tensor([[*network.special.prompt, *text, END]])
        labels = said[:, 1:].clone()
        labels[:, : len(network.special.prompt) - 1] = -100
        with torch.no_grad():
            own = theirs(
                input_features=features_BTF[place : place + 1].transpose(1, 2),
                decoder_input_ids=said[:, :-1],
                labels=labels,
            )
        assert losses_B[place].item() == pytest.approx(own.loss.item() * (len(text) + 1), rel=1e-5)


def test_generation_is_transformers_own_token_for_token(folder: Path, theirs: Any) -> None:
    config = decoder_config(folder, window_seconds=5.0)
    network = built(config)
    features_BTF, lengths_B = features_of(config, network, [0, 1, 2])
    found = generate(network, features_BTF, lengths_B)
    for place, one in enumerate(found):
        with torch.no_grad():
            own = theirs.generate(
                features_BTF[place : place + 1].transpose(1, 2),
                decoder_input_ids=torch.tensor([network.special.prompt]),
                suppress_tokens=list(network.special.suppressed),
                begin_suppress_tokens=[END],
                max_length=PLACES,
            )[0].tolist()
        text = own[len(network.special.prompt) :] if own[0] == START else own
        assert one.tokens == [token for token in text if token != END]
    assert len({tuple(one.tokens) for one in found}) == 3, (
        "a model that says one thing tests nothing"
    )


def test_batch_mates_change_nothing(folder: Path) -> None:
    config = decoder_config(folder)
    network = built(config)
    tokens = [training_tokenizer(config).encode(text) for text in TEXTS]
    features_BTF, lengths_B = features_of(config, network, [0, 1, 2])
    together, counts = network(features_BTF, lengths_B, tokens=tokens)
    written = generate(network, features_BTF, lengths_B)
    for place in range(3):
        own_BTF, own_B = features_of(config, network, [place])
        alone, _ = network(own_BTF, own_B, tokens=[tokens[place]])
        count = int(counts[place])
        assert count == len(tokens[place]) + 1
        torch.testing.assert_close(together[place, :count], alone[0], atol=1e-4, rtol=0)
        assert generate(network, own_BTF, own_B)[0].tokens == written[place].tokens


def test_what_is_written_scores_as_it_was_written(folder: Path) -> None:
    config = decoder_config(folder)
    network = built(config)
    features_BTF, lengths_B = features_of(config, network, [0, 1])
    written = generate(network, features_BTF, lengths_B, most_tokens=[6, 3])
    for one in written:
        assert set(one.tokens).isdisjoint(range(END, VOCABULARY)), "special tokens are no text"
        assert 0.0 <= (one.no_speech_probability or 0.0) <= 1.0
        assert one.is_finished == (len(one.log_probabilities) == len(one.tokens) + 1)
    assert [len(one.tokens) for one in written] == [6, 3]
    again = score(network, features_BTF, lengths_B, [one.tokens for one in written])
    for one, other in zip(written, again, strict=True):
        said = torch.tensor(other.log_probabilities[: len(one.tokens)])
        # Scored among all tokens, written among those that are text.
        assert (said <= torch.tensor(one.log_probabilities) + 1e-4).all()


def test_texts_beyond_the_decoder_s_places_are_refused_and_all_others_fit(folder: Path) -> None:
    network = built(decoder_config(folder))
    most = network.criterion.most_tokens
    assert most == PLACES - len(network.special.prompt)
    assert network.criterion.can_emit([1] * most, 10)
    assert not network.criterion.can_emit([1] * (most + 1), 10)
    features_BTF, lengths_B = features_of(decoder_config(folder), network, [2])
    logits, counts = network(features_BTF, lengths_B, tokens=[[1] * most])
    assert (logits.shape[1], counts.tolist()) == (most + 1, [most + 1])
    assert len(generate(network, features_BTF, lengths_B)[0].tokens) <= most


def test_a_window_depends_on_the_utterance_alone(folder: Path) -> None:
    network = built(decoder_config(folder))
    front_end = make_front_end(decoder_config(folder), network.encoder)
    assert front_end.frames(torch.tensor([8_000, 79_000])).tolist() == [500, 500], (
        "never above 5 s here"
    )
    longer = make_front_end(decoder_config(folder, window_seconds=1.0), network.encoder)
    assert longer.frames(torch.tensor([8_000, 20_000])).tolist() == [200, 300]


def test_what_is_read_has_a_window_of_its_own(folder: Path) -> None:
    config = decoder_config(folder, window_seconds=1.0, generation_window_seconds=4.0)
    encoder, samples_B = built(config).encoder, torch.tensor([8_000])
    assert make_front_end(config, encoder).frames(samples_B).tolist() == [200]
    assert make_front_end(config, encoder, reads=True).frames(samples_B).tolist() == [400]
    same = decoder_config(folder, window_seconds=1.0)
    assert same.model.least_read_seconds == 1.0, "as in training, unless it is said"


def test_a_text_that_loops_is_written_again_and_silence_is_empty(folder: Path) -> None:
    config = decoder_config(folder)
    network, tokenizer = built(config), training_tokenizer(config)
    features = features_of(config, network, [0, 2])
    given = network, tokenizer, features, [5.0, 0.5], ["a", "b"]
    greedy = write(*given, GREEDY)
    assert greedy == write(*given, GREEDY)
    strict = GenerationSettings(min_mean_log_probability=0.0, max_no_speech_probability=1.0)
    drawn = write(*given, strict)
    assert drawn == write(*given, strict), "draws are the utterance's own"
    assert [one.tokens for one in drawn] != [one.tokens for one in greedy]
    silent = GenerationSettings(min_mean_log_probability=0.0, max_no_speech_probability=0.0)
    assert [one.tokens for one in write(*given, silent)] == [[], []]
    looping = Generated([1] * 9, [-0.1] * 10, is_finished=True)
    assert not GenerationSettings().is_trusted(looping, "no " * 30)
    assert GenerationSettings().is_trusted(looping, "this is not a loop")
    assert network.special.no_speech == NO_SPEECH


def test_its_description_in_a_checkpoint_makes_it_again(folder: Path, tmp_path: Path) -> None:
    config = decoder_config(folder)
    network = built(config)
    network.save_description(tmp_path)
    training_tokenizer(config).save(tmp_path)
    gone = decoder_config(tmp_path / "gone")
    again = make_model(gone, VOCABULARY, tmp_path, with_weights=False).eval()
    weights = {name: weight.detach() for name, weight in network.named_weights()}
    again.load_weights(weights)
    assert len(set(map(id, weights.values()))) == len(weights), "tied weights are there once"
    features = features_of(config, network, [0])
    torch.testing.assert_close(
        again(*features, tokens=[[1, 2]]), network(*features, tokens=[[1, 2]])
    )
    assert isinstance(again, EncoderDecoder)
    assert again.special == network.special


def test_a_beam_as_wide_as_the_vocabulary_finds_the_best_text_there_is(folder: Path) -> None:
    config = decoder_config(folder)
    network = built(config)
    features_BTF, lengths_B = features_of(config, network, [0, 2])
    found = generate_beam(network, features_BTF, lengths_B, beam_size=VOCABULARY, most_tokens=2)
    special = network.special
    texts = [[token] for token in range(VOCABULARY)]
    for place, one in enumerate(found):
        alone = features_BTF[[place] * len(texts)], lengths_B[[place] * len(texts)]
        logits_V2V, _ = network(*alone, tokens=texts)
        logits_V2V[..., list(special.suppressed)] = -torch.inf
        logits_V2V[:, 0, list(special.suppressed_first)] = -torch.inf
        log_V2V = logits_V2V.log_softmax(dim=-1)
        pairs_VV = log_V2V[0, 0][:, None] + log_V2V[:, 1]
        pairs_VV[:, END] = -torch.inf  # no text of one token is among the likeliest here
        assert not one.is_finished
        assert one.tokens == list(divmod(int(pairs_VV.argmax()), VOCABULARY))
        assert one.mean_log_probability == pytest.approx(pairs_VV.max().item() / 2, abs=1e-4)
    narrow = generate_beam(network, features_BTF, lengths_B, beam_size=1)
    greedy = generate(network, features_BTF, lengths_B)
    for one, other in zip(narrow, greedy, strict=True):
        assert one.mean_log_probability >= other.mean_log_probability - 1e-5
