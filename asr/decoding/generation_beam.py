"""A beam search over an encoder-decoder's texts: those with the highest mean log-probability of a token.

Shape suffixes: B utterances, K hypotheses of an utterance, N their likeliest
tokens, T input frames, F features of a frame, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from asr.decoding.generation import Generated, Steps, entropies
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.utils.devices import fetched


@dataclass
class _Search:
    """Of one utterance."""

    limit: int
    """Tokens of a text, at most."""
    open: list[Generated]
    """Texts under way, the best one first."""
    ended: list[Generated] = field(default_factory=list)

    def best(self) -> Generated:
        """Of those that have ended; where none has, the best of those that were stopped."""
        found = self.ended or [replace(one, is_finished=False) for one in self.open]
        return max(found, key=lambda one: one.mean_log_probability)

    def is_done(self, beam_size: int) -> bool:
        """Whether enough have ended, or all that is open is too long or cannot win any more."""
        if len(self.ended) >= beam_size or not self.open:
            return True
        return len(self.open[0].tokens) >= self.limit


@torch.no_grad()
def generate_beam(
    network: EncoderDecoder,
    features_BTF: Tensor,
    lengths_B: Tensor,
    beam_size: int,
    most_tokens: int | Sequence[int] | None = None,
) -> list[Generated]:
    """The best text of each utterance among `beam_size` that are kept at each token.

    By the mean over the tokens and the end, as Whisper's own search has it (Radford et al. 2022, section 4.5):
    by the sum short texts would win. Features (B, T, F), lengths (B,) and `most_tokens` are `generate`'s.
    """
    if not len(lengths_B):
        return []
    steps = Steps(network, features_BTF, lengths_B, most_tokens)
    searches = [_Search(limit, [Generated([])]) for limit in steps.limits]
    going = list(range(len(searches)))
    while going:
        log_BV = steps.next_logits().float().log_softmax(dim=-1)
        if steps.no_speech is not None:
            for place, chance in zip(going, steps.no_speech, strict=True):
                first = searches[place].open[0]
                searches[place].open = [replace(first, no_speech_probability=chance)]
        rows, tokens, row, still = list[int](), list[int](), 0, list[int]()
        # An utterance's 2 K likeliest continuations, of which at least K do not end, are among each row's.
        found = log_BV.topk(min(2 * beam_size, log_BV.shape[1]))
        likeliest = fetched(found.values, found.indices, entropies(log_BV))
        for place in going:
            search, count = searches[place], len(searches[place].open)
            log_KN, token_KN, entropy_K = (values[row : row + count] for values in likeliest)
            parents = _extend(search, (log_KN, token_KN), entropy_K, beam_size, network.special.end)
            if not search.is_done(beam_size):
                still.append(place)
                rows += [row + parent for parent in parents]
                tokens += [one.tokens[-1] for one in search.open]
            row += count
        going = still
        steps.go_on(rows, tokens)
    return steps.heard.scored([search.best() for search in searches])


def _extend(
    search: _Search, likeliest: tuple[Tensor, Tensor], entropy_K: Tensor, beam_size: int, end: int
) -> list[int]:
    """Each hypothesis by its likeliest tokens; returns which one each of the new ones goes on from.

    `likeliest`: of each one, log-probabilities (K, N) and tokens (K, N).
    """
    log_KN, token_KN = likeliest
    before_K = torch.tensor([math.fsum(one.log_probabilities) for one in search.open])
    total_KN = before_K[:, None] + log_KN
    found = total_KN.flatten().topk(min(2 * beam_size, total_KN.numel()))
    parents, extended = list[int](), list[Generated]()
    for value, flat in zip(found.values.tolist(), found.indices.tolist(), strict=True):
        if value == -math.inf:
            break
        parent, place = divmod(flat, log_KN.shape[1])
        token = int(token_KN[parent, place])
        one = search.open[parent]
        grown = replace(
            one,
            tokens=one.tokens if token == end else [*one.tokens, token],
            log_probabilities=[*one.log_probabilities, float(log_KN[parent, place])],
            entropies=[*one.entropies, float(entropy_K[parent])],
        )
        if token == end:
            search.ended.append(grown)
        elif len(extended) < beam_size:
            parents.append(parent)
            extended.append(grown)
    search.open = extended
    return parents
