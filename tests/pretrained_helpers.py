"""Tiny models of every pretrained family, random and as transformers saves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as t
from safetensors.torch import save_file

from asr.config.recipe import dump_config, parse_config
from asr.data.transcripts import training_tokenizer
from asr.model.make import make_model

WAVES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (5, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 12,
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CONFORMER = {
    "initializer_range": 0.2,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def _wave_extractor() -> Any:
    return t.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def _parakeet() -> Any:
    encoder = t.ParakeetEncoderConfig(
        **CONFORMER, num_key_value_heads=2, subsampling_conv_channels=8, num_mel_bins=80
    )
    return t.ParakeetForCTC(
        t.ParakeetCTCConfig(encoder_config=encoder.to_dict(), vocab_size=12, pad_token_id=11)
    )


def _whisper() -> Any:
    small = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "vocab_size": 99}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    widths = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1)
    return t.WhisperForConditionalGeneration(
        t.WhisperConfig(**small, **heads, **widths, **tokens, decoder_start_token_id=1)
    )


FAMILIES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "whisper": (_whisper, lambda: t.WhisperFeatureExtractor()),
    "wav2vec2": (lambda: t.Wav2Vec2Model(t.Wav2Vec2Config(**WAVES)), _wave_extractor),
    "wav2vec2-large": (
        lambda: t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**WAVES, **LAYER_NORM)),
        _wave_extractor,
    ),
    "hubert": (lambda: t.HubertModel(t.HubertConfig(**WAVES)), _wave_extractor),
    "hubert-bn": (
        lambda: t.HubertModel(
            t.HubertConfig(**WAVES, conv_pos_batch_norm=True, feat_extract_norm="layer")
        ),
        _wave_extractor,
    ),
    "wavlm": (lambda: t.WavLMModel(t.WavLMConfig(**WAVES)), _wave_extractor),
    "wavlm-large": (lambda: t.WavLMModel(t.WavLMConfig(**WAVES, **LAYER_NORM)), _wave_extractor),
    "data2vec-audio": (
        lambda: t.Data2VecAudioModel(
            t.Data2VecAudioConfig(**{**WAVES, "num_conv_pos_embeddings": 3}, conv_pos_kernel_size=7)
        ),
        _wave_extractor,
    ),
    "wav2vec2-bert": (
        lambda: t.Wav2Vec2BertModel(t.Wav2Vec2BertConfig(**CONFORMER, add_adapter=False)),
        lambda: t.SeamlessM4TFeatureExtractor(padding_value=1.0),
    ),
    "parakeet": (_parakeet, lambda: t.ParakeetFeatureExtractor()),
}


def write_pretrained(folder: Path, family: str) -> Any:
    """A random model of a family in `folder`; returns transformers' own, in evaluation mode."""
    torch.manual_seed(3)
    make_model, make_extractor = FAMILIES[family]
    model = make_model().eval()
    with torch.no_grad():  # else biases are 0 and norms 1, and much would go unnoticed
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.3)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    model.save_pretrained(folder)
    make_extractor().save_pretrained(folder)
    return model


def pretrained_checkpoint(
    folder: Path, family: str, tokenizer_settings: Mapping[str, Any] | None = None, **model: Any
) -> Path:
    """A checkpoint that nobody has trained, on a tiny pretrained model of a family."""
    source = folder / "source"
    write_pretrained(source, family)
    settings = {"model": {"kind": "pretrained", "encoder": str(source), **model}}
    config = parse_config({**settings, "tokenizer": tokenizer_settings or {}}, "t")
    tokenizer = training_tokenizer(config)
    torch.manual_seed(1)
    network = make_model(config, tokenizer.vocabulary_size)
    with torch.no_grad():  # else adapters would be zero
        for _, weight in network.named_weights():
            weight.add_(0.05 * torch.randn_like(weight))
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    tokenizer.save(checkpoint)
    network.save_description(checkpoint)
    weights = {name: weight.detach().clone() for name, weight in network.named_weights()}
    save_file(weights, checkpoint / "teacher.safetensors")
    return checkpoint


def speech(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour change, (N,) in fp32."""
    noise = np.random.default_rng(seed).standard_normal(samples + 1)
    slow = np.abs(np.sin(np.arange(samples) / 3000 + seed))
    return (0.1 * slow * (noise[1:] + slow * noise[:-1])).astype(np.float32)


def own_output(
    family: str, model: Any, extractor: Any, waveform: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (1, T, F), or a waveform (1, T), and hidden states (1, S, D), by transformers alone."""
    made = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
    if family == "whisper":
        network = getattr(model, "model", model).encoder
        return made.input_features.transpose(1, 2), network(made.input_features).last_hidden_state
    features = made.get("input_features", made.get("input_values"))
    part = "encoder" if family == "parakeet" else model.base_model_prefix
    network = getattr(model, part, model)
    return features, network(features, attention_mask=made["attention_mask"]).last_hidden_state
