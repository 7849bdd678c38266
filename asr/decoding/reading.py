"""What a network reads, whichever way: frame by frame (CTC), or token by token (an encoder-decoder).

Shape suffixes: B utterances, T input frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asr.decoding.generation import Generated, generate
from asr.decoding.greedy import Hypothesis, greedy
from asr.decoding.safeguards import GREEDY, most_tokens_of
from asr.model.criterion import Tokens
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.speech_model import SpeechModel
from asr.utils.devices import sent


@dataclass(frozen=True)
class Reading:
    """Of a batch."""

    hypotheses: list[Hypothesis]
    losses: Callable[[Sequence[int], Tokens], Tensor]
    """Places of utterances, and texts of these that the model can emit -> their losses, in nats."""
    frames: tuple[Tensor, Tensor] | None = None
    """Logits (B, S, V) and lengths (B,), of a network that is read frame by frame."""
    written: Sequence[Generated] = ()
    """By a network that is read token by token."""


@torch.no_grad()
def read(
    network: SpeechModel, features_BTF: Tensor, lengths_B: Tensor, seconds: Sequence[float]
) -> Reading:
    """Greedily, by a network in evaluation mode; features (B, T, F) and lengths (B,) as it wants them.

    An encoder-decoder that does not end is stopped by the `seconds` of speech.
    """
    features_BTF = features_BTF.to(network.dtype)
    if isinstance(network, EncoderDecoder):
        limits = [most_tokens_of(one, GREEDY.max_tokens_per_second) for one in seconds]
        written = generate(network, features_BTF, lengths_B, limits)

        plain = replace(network.criterion, label_smoothing=0.0)  # that is for training

        def losses(places: Sequence[int], tokens: Tokens) -> Tensor:
            rows = sent(torch.tensor(places), lengths_B.device)
            logits_BUV, counts_B = network(features_BTF[rows], lengths_B[rows], tokens=tokens)
            return plain.losses(logits_BUV, counts_B, tokens)

        return Reading([one.hypothesis() for one in written], losses, written=written)
    logits_BSV, frames_B = network(features_BTF, lengths_B)

    def ctc_losses(places: Sequence[int], tokens: Tokens) -> Tensor:
        rows = sent(torch.tensor(places), frames_B.device)
        return network.criterion.losses(logits_BSV[rows], frames_B[rows], tokens)

    return Reading(greedy(logits_BSV, frames_B), ctc_losses, frames=(logits_BSV, frames_B))
