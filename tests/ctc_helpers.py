"""A tiny random CTC model in Hugging Face's layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def write_ctc(folder: Path) -> None:
    """A wav2vec 2.0 of the letters A to D, whose blank is not token 0."""
    import transformers

    letters = ["|", "A", "B", "C", "D", "<pad>", "<s>", "</s>", "<unk>"]
    (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    config = transformers.Wav2Vec2Config(
        vocab_size=9,
        pad_token_id=5,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8, 8],
        conv_kernel=[10, 3],
        conv_stride=[80, 2],
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    torch.manual_seed(3)
    model = transformers.Wav2Vec2ForCTC(config)
    torch.nn.init.normal_(model.lm_head.weight)  # so that it says something
    for part in (model, tokenizer, transformers.Wav2Vec2FeatureExtractor()):
        part.save_pretrained(folder)
