"""The decoder of a pretrained encoder-decoder: text so far and what the encoder heard -> the next token.

Its layers are transformers' own. The loop around them is ours: transformers' does not mask the encoder's
padding, so that an utterance would read otherwise beside a longer one.

Shape suffixes: B utterances, U tokens, S encoder frames, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.model.encoders.pretrained.constants import Constants
from asr.model.encoders.pretrained.moonshine import rotation
from asr.model.features import frame_mask

if TYPE_CHECKING:
    from transformers.cache_utils import EncoderDecoderCache


class TextDecoder(nn.Module):
    """Whisper's decoder (Radford et al. 2022, arXiv 2212.04356). The output is tied to the embedding."""

    def __init__(self, decoder: Any) -> None:
        """`decoder` is transformers' WhisperDecoder; its modules become this one's."""
        super().__init__()
        self.config = decoder.config
        self.embed_tokens = decoder.embed_tokens
        self.embed_positions = decoder.embed_positions
        self.layers = decoder.layers
        self.layer_norm = decoder.layer_norm
        self.dropout = float(decoder.dropout)
        self.scale = float(decoder.embed_scale)
        self.constants = Constants(self)

    @property
    def places(self) -> int:
        """Tokens that a text may have, special ones included."""
        return int(self.config.max_target_positions)

    def set_dropout(self, dropout: float) -> None:
        """Change the dropout of all blocks from here on, where the family has any in them."""
        self.dropout = dropout
        for layer in self.layers:
            layer.dropout = dropout

    @property
    def attention(self) -> list[nn.Module]:
        """The attention of its layers, to the text and to what was heard."""
        return [one for layer in self.layers for one in (layer.self_attn, layer.encoder_attn)]

    def depth(self, name: str) -> int:
        """How deep the parameter of this name lies: 0 places, 1 to L the layers, L + 1 what gives tokens."""
        if name.startswith("layers."):
            return int(name.split(".")[1]) + 1
        return 0 if name.startswith("embed_positions.") else len(self.layers) + 1

    def set_attention_dropout(self, rate: float) -> None:
        """Of the attention weights, which torch draws for the micro-batch."""
        for layer in self.layers:
            layer.self_attn.dropout = layer.encoder_attn.dropout = rate

    def forward(
        self,
        tokens_BU: Tensor,
        heard_BSD: Tensor,
        lengths_B: Tensor,
        cache: EncoderDecoderCache | None = None,
    ) -> Tensor:
        """Logits (B, U, V) of the token after each of `tokens_BU`, which go on from those in the `cache`.

        `heard_BSD` are the encoder's hidden states and `lengths_B` their frames.
        """
        self.constants.cast(next(self.parameters()).dtype)
        before = 0 if cache is None else cache.get_seq_length()
        places_U = torch.arange(before, before + tokens_BU.shape[1], device=tokens_BU.device)
        hidden_BUD, positions = self._embedded(tokens_BU, places_U)
        hidden_BUD = functional.dropout(hidden_BUD, self.dropout, self.training)
        mask_B11S = _heard_mask(heard_BSD, lengths_B)
        for layer in self.layers:
            hidden_BUD = layer(
                hidden_BUD,
                attention_mask=None,  # causal, where there is more than one token
                encoder_hidden_states=heard_BSD,
                encoder_attention_mask=mask_B11S,
                cache=cache,
                use_cache=cache is not None,
                **positions,
            )
        return functional.linear(self._last_norm(hidden_BUD), self.embed_tokens.weight)

    def _embedded(self, tokens_BU: Tensor, places_U: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Hidden states (B, U, D) of tokens at these places, and what else of the places each block takes."""
        hidden_BUD = self.embed_tokens(tokens_BU) * self.scale
        return hidden_BUD + self.embed_positions(tokens_BU, position_ids=places_U[None]), {}

    def _last_norm(self, hidden_BUD: Tensor) -> Tensor:
        normed_BUD: Tensor = self.layer_norm(hidden_BUD)
        return normed_BUD


class MoonshineTextDecoder(TextDecoder):
    """Moonshine's decoder (Jeffries et al. 2024, arXiv 2410.15608): rotary positions, no dropout of its own."""

    def __init__(self, decoder: Any) -> None:
        """`decoder` is transformers' MoonshineDecoder; its modules become this one's."""
        nn.Module.__init__(self)
        self.config = decoder.config
        self.embed_tokens = decoder.embed_tokens
        self.layers = decoder.layers
        self.norm = decoder.norm
        self.rotary_emb = decoder.rotary_emb
        self.dropout = 0.0
        self.constants = Constants(self)

    @property
    def places(self) -> int:
        return int(self.config.max_position_embeddings)

    def set_attention_dropout(self, rate: float) -> None:
        for layer in self.layers:
            layer.self_attn.attention_dropout = layer.encoder_attn.attention_dropout = rate

    def _embedded(self, tokens_BU: Tensor, places_U: Tensor) -> tuple[Tensor, dict[str, Any]]:
        hidden_BUD = self.embed_tokens(tokens_BU)
        turned = rotation(self.rotary_emb, places_U, hidden_BUD.dtype)
        return hidden_BUD, {"position_embeddings": turned}

    def _last_norm(self, hidden_BUD: Tensor) -> Tensor:
        normed_BUD: Tensor = self.norm(hidden_BUD)
        return normed_BUD


def _heard_mask(heard_BSD: Tensor, lengths_B: Tensor) -> Tensor | None:
    """(B, 1, 1, S) of the encoder's own frames of each; None where none is padded, which a GPU is not asked."""
    if lengths_B.device.type == "cpu" and int(lengths_B.min()) >= heard_BSD.shape[1]:
        return None
    return frame_mask(lengths_B.clamp(min=1), heard_BSD.shape[1])[:, None, None]
