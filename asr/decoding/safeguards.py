"""Generation with Whisper's own safeguards (Radford et al. 2022, arXiv 2212.04356, section 4.5).

A text that loops, or of which the model is unsure, is written again: its tokens are drawn, more freely each
time. Where the model hears no speech, and is unsure of what it has written, the text is empty.

Shape suffixes: B utterances, T input frames, F features of a frame.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from asr.decoding.generation import Generated, generate
from asr.decoding.generation_beam import generate_beam
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.tokenizer import Tokenizer
from asr.utils.devices import sent
from asr.utils.seeds import SeedTag, hash_seed

_SPARE_TOKENS = 16


def compression_ratio(text: str) -> float:
    """Bytes of a text over those of its zlib compression; 0 of none."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def most_tokens_of(seconds: float, tokens_per_second: float) -> int:
    """Of a text: so many a second, and some for short utterances."""
    return _SPARE_TOKENS + round(tokens_per_second * seconds)


@dataclass(frozen=True)
class GenerationSettings:
    """How an encoder-decoder writes, and when its text is not believed."""

    temperatures: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Tried one after the other; 0 takes the likeliest token. The first alone is no safeguard."""
    max_compression_ratio: float = 2.4
    """A text whose bytes are more than so many times those of its zlib compression loops."""
    min_mean_log_probability: float = -1.0
    """Of a token, natural: below it the model is unsure."""
    max_no_speech_probability: float = 0.6
    """Above it, and where the model is unsure, there is no speech."""
    beam_size: int = 1
    """Of the search at temperature 0; 1 takes the likeliest token."""
    max_tokens_per_second: float = 20.0
    """A text that has more, and 16 besides, is stopped."""

    def stamp(self) -> dict[str, Any]:
        """What a hypothesis depends on, besides the model."""
        return {"decoder": "generation", **vars(self), "temperatures": list(self.temperatures)}

    def is_trusted(self, written: Generated, text: str) -> bool:
        """Whether nothing speaks against a text, or the model hears no speech anyway."""
        if self.is_silence(written):
            return True
        loops = not written.is_finished or compression_ratio(text) > self.max_compression_ratio
        return not loops and written.mean_log_probability >= self.min_mean_log_probability

    def is_silence(self, written: Generated) -> bool:
        """Whether the model hears no speech."""
        chance = written.no_speech_probability
        is_unsure = written.mean_log_probability < self.min_mean_log_probability
        return chance is not None and chance > self.max_no_speech_probability and is_unsure


GREEDY = GenerationSettings(temperatures=(0.0,), max_no_speech_probability=1.0)
"""The likeliest tokens, come what may."""


def write(
    network: EncoderDecoder,
    tokenizer: Tokenizer,
    features: tuple[Tensor, Tensor],
    seconds: Sequence[float],
    names: Sequence[str],
    settings: GenerationSettings,
) -> list[Generated]:
    """The text of each utterance; features (B, T, F) and lengths (B,) as the network wants them.

    `seconds` of speech, and `names`, on which alone what is drawn depends.
    """
    features_BTF, lengths_B = features
    limits = [most_tokens_of(one, settings.max_tokens_per_second) for one in seconds]
    found: list[Generated] = [Generated([])] * len(names)
    doubted = list(range(len(names)))
    for temperature in settings.temperatures:
        rows = sent(torch.tensor(doubted), lengths_B.device)
        given = network, features_BTF[rows], lengths_B[rows]
        own_limits = [limits[place] for place in doubted]
        if temperature == 0 and settings.beam_size > 1:
            written = generate_beam(*given, settings.beam_size, own_limits)
        else:
            draws = [_generator(names[place], temperature) for place in doubted]
            written = generate(*given, own_limits, temperature, draws)
        for place, one in zip(doubted, written, strict=True):
            found[place] = one
        doubted = [
            place
            for place in doubted
            if not settings.is_trusted(found[place], tokenizer.decode(found[place].tokens))
        ]
        if not doubted:
            break
    return [replace(one, tokens=[]) if settings.is_silence(one) else one for one in found]


def _generator(name: str, temperature: float) -> torch.Generator:
    own = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")
    seed = hash_seed(own, round(100 * temperature), SeedTag.GENERATION)
    return torch.Generator().manual_seed(seed)
