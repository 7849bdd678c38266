"""A tiny random Moonshine that knows letters and bytes; texts of 24 tokens."""

from __future__ import annotations

from pathlib import Path

import torch

UNKNOWN, START, END = range(3)
PLACES = 24


def write_moonshine(made: Path) -> None:
    """A tiny random one, as transformers saves it, with a tokenizer of letters and bytes as Llama's."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    pieces += list("abcdefghijklmnopqrstuvwxyz")
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    prepend, replace = normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([prepend, replace])
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in pieces[:3]])
    tokenizer.save(str(made / "tokenizer.json"))
    torch.manual_seed(5)
    model = transformers.MoonshineForConditionalGeneration(
        transformers.MoonshineConfig(
            vocab_size=len(pieces) + 2,
            hidden_size=32,
            intermediate_size=48,
            encoder_num_hidden_layers=2,
            decoder_num_hidden_layers=2,
            encoder_num_attention_heads=2,
            decoder_num_attention_heads=2,
            pad_head_dim_to_multiple_of=8,
            max_position_embeddings=PLACES,
            initializer_range=0.3,
        )
    )
    with torch.no_grad():  # else norms are 1 and biases 0, and much would go unnoticed
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(made)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(made)
