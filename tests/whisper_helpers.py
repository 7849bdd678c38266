"""A tiny random Whisper that knows bytes, as transformers saves one; windows of 5 s, texts of 40 tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.config.recipe import dump_config, parse_config
from asr.config.schema import Config
from asr.data.transcripts import training_tokenizer
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.make import make_front_end, make_model

SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|nocaptions|>", "<|notimestamps|>")
BYTES = 256
END, START, NO_SPEECH, NO_TIMESTAMPS = range(BYTES, BYTES + 4)
VOCABULARY = BYTES + 4 + 3
"""The last three are timestamps, which the tokenizer does not know."""
PLACES = 40


def write_whisper(folder: Path, scale: float = 1.0) -> Any:
    """Write it; returns transformers' own, in evaluation mode. `scale` of its weights: larger says more."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        vocab_size=VOCABULARY,
        max_source_positions=250,
        max_target_positions=PLACES,
        pad_token_id=END,
        bos_token_id=END,
        eos_token_id=END,
        decoder_start_token_id=START,
        suppress_tokens=[],
        begin_suppress_tokens=[END],
        init_std=0.05 * scale,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():  # else biases are 0 and norms 1, and much would go unnoticed
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.generation_config.begin_suppress_tokens = [END]
    model.generation_config.suppress_tokens = []
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(chunk_length=5).save_pretrained(folder)
    return model


def decoder_config(folder: Path, **model: Any) -> Config:
    """Of an encoder-decoder of any family."""
    kind = {"kind": "encoder_decoder", "pretrained": str(folder)}
    return parse_config({"model": {**kind, **model}}, "test")


def whisper_config(whisper: Path, **model: Any) -> Config:
    return decoder_config(whisper, **{"window_seconds": 2.0, **model})


def built(config: Config) -> EncoderDecoder:
    """In evaluation mode."""
    network = make_model(config, training_tokenizer(config).vocabulary_size).eval()
    assert isinstance(network, EncoderDecoder)
    return network


def noise_features(
    config: Config, network: EncoderDecoder, lengths: Sequence[int], places: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Of utterances of noise of these lengths in samples, those at `places` in a batch: its features."""
    draws = torch.Generator().manual_seed(1)
    waves = [0.1 * torch.randn(length, generator=draws) for length in lengths]
    chosen = [waves[place] for place in places]
    samples_B = torch.tensor([len(wave) for wave in chosen])
    return make_front_end(config, network.encoder)(pad_sequence(chosen, True), samples_B)


def write_checkpoint(folder: Path, whisper: Path, **model: Any) -> Path:
    """A checkpoint that nobody has trained, with all that a model's folder needs."""
    config = whisper_config(whisper, **model)
    torch.manual_seed(1)
    network = make_model(config, VOCABULARY)
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(config))
    training_tokenizer(config).save(folder)
    network.save_description(folder)
    weights = {name: weight.detach().clone() for name, weight in network.named_weights()}
    save_file(weights, folder / "teacher.safetensors")
    return folder
