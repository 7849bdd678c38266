"""An encoder-decoder's text: token by token, the likeliest or drawn, in a batch with a key-value cache.

An utterance leaves the batch where its text ends, so that long ones do not wait. Nothing here is a
collective: ranks whose texts end at different lengths do not wait for each other either.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width,
U tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from asr.decoding.greedy import Hypothesis
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.utils.devices import fetched, sent


@dataclass(frozen=True)
class Generated:
    """What a decoder wrote of one utterance."""

    tokens: list[int]
    """Of the text: no special ones."""
    log_probabilities: list[float] = field(default_factory=list)
    """Of each token and of the end, natural; those that are never said aside."""
    no_speech_probability: float | None = None
    """By the model, before the first token; None where it has no token for that."""
    is_finished: bool = True
    """Whether the text ended before the limit of its tokens."""
    entropies: list[float] = field(default_factory=list)
    """Of the distribution of each token and of the end, in nats."""
    ctc_score: float | None = None
    """How surely the CTC head on the encoder reads the text, from 0 to 1; None without one."""

    @property
    def mean_log_probability(self) -> float:
        """Of a token, the end included; -inf of nothing."""
        said = self.log_probabilities
        return math.fsum(said) / len(said) if said else -math.inf

    @property
    def entropy(self) -> float:
        """Of a token's distribution on average, in nats; 0 of nothing."""
        return math.fsum(self.entropies) / len(self.entropies) if self.entropies else 0.0

    @property
    def confidence(self) -> float:
        """From 0 to 1: the text's probability, to the power of one over its tokens."""
        return math.exp(self.mean_log_probability)

    def hypothesis(self) -> Hypothesis:
        return Hypothesis(self.tokens, self.confidence)


@torch.no_grad()
def generate(
    network: EncoderDecoder,
    features_BTF: Tensor,
    lengths_B: Tensor,
    most_tokens: int | Sequence[int] | None = None,
    temperature: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
) -> list[Generated]:
    """The text of each utterance, by features (B, T, F) and lengths (B,); the network in evaluation mode.

    At `temperature` 0 each token is the likeliest; else it is drawn from softmax(logits / temperature) by the
    utterance's own generator of `generators`, on the CPU. `most_tokens` of a text, of all or of each; None for
    as many as the decoder has places for.
    """
    if not len(lengths_B):
        return []
    steps = Steps(network, features_BTF, lengths_B, most_tokens)
    found = [Generated([]) for _ in lengths_B]
    going = list(range(len(found)))  # places of the utterances whose text has not ended
    while going:
        log_BV = steps.next_logits().float().log_softmax(dim=-1)
        if steps.no_speech is not None:
            found = [Generated([], no_speech_probability=chance) for chance in steps.no_speech]
        if temperature == 0:
            chosen_B = log_BV.argmax(dim=-1)
        else:
            assert generators is not None
            chosen_B = _drawn(log_BV / temperature, [generators[place] for place in going])
        log_B = log_BV.gather(1, chosen_B[:, None])[:, 0]
        said = fetched(log_B, entropies(log_BV), chosen_B)
        noted = zip(*(values_B.tolist() for values_B in said), strict=True)
        rows = list[int]()
        for row, (log, entropy, token) in enumerate(noted):
            one = found[going[row]]
            one.log_probabilities.append(log)
            one.entropies.append(entropy)
            if token == network.special.end:
                continue
            one.tokens.append(token)
            if len(one.tokens) < steps.limits[going[row]]:
                rows.append(row)
            else:
                found[going[row]] = replace(one, is_finished=False)
        going = [going[row] for row in rows]
        steps.go_on(rows, [found[place].tokens[-1] for place in going])
    return steps.heard.scored(found)


@torch.no_grad()
def score(
    network: EncoderDecoder, features_BTF: Tensor, lengths_B: Tensor, texts: Sequence[list[int]]
) -> list[Generated]:
    """Given texts, as if the network had written them."""
    heard = Heard.by(network, features_BTF, lengths_B)
    logits_BUV, _ = network.read(heard.hidden_BSD, heard.frames_B, texts)
    found = []
    counts = (len(text) + 1 for text in texts)
    for logits_UV, text, count in zip(logits_BUV, texts, counts, strict=True):
        log_UV = logits_UV[:count].float().log_softmax(dim=-1)
        said_U1 = sent(torch.tensor([*text, network.special.end]), log_UV.device)[:, None]
        said_U, entropies_U = fetched(log_UV.gather(1, said_U1)[:, 0], entropies(log_UV))
        found.append(Generated(text, said_U.tolist(), entropies=entropies_U.tolist()))
    return heard.scored(found)


def entropies(log_BV: Tensor) -> Tensor:
    """In nats (B,), of log-probabilities (B, V) of which some are -inf."""
    entropies_B: Tensor = -(log_BV.exp() * log_BV).nan_to_num(0.0).sum(dim=-1)
    return entropies_B


def _drawn(log_BV: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """A token of each utterance by its own generator, whatever the batch."""
    cumulated_BV = log_BV.double().softmax(dim=-1).cumsum(dim=-1).cpu()
    drawn_B1 = torch.stack([torch.rand(1, generator=g, dtype=torch.float64) for g in generators])
    last = cumulated_BV.shape[1] - 1
    chosen_B: Tensor = torch.searchsorted(cumulated_BV, drawn_B1)[:, 0].clamp(max=last)
    return sent(chosen_B, log_BV.device)


@dataclass(frozen=True)
class Heard:
    """What the encoder makes of a batch."""

    network: EncoderDecoder
    hidden_BSD: Tensor
    frames_B: Tensor

    @classmethod
    def by(cls, network: EncoderDecoder, features_BTF: Tensor, lengths_B: Tensor) -> Heard:
        return cls(network, *network.encoder(features_BTF.to(network.dtype), lengths_B, None))

    def scored(self, written: list[Generated]) -> list[Generated]:
        """With the CTC head's word on the texts, where the network has one."""
        head, ctc = self.network.ctc_head, self.network.criterion.ctc
        if head is None or ctc is None:
            return written
        texts = [one.tokens for one in written]
        scores = ctc.scores(head(self.hidden_BSD), self.frames_B, texts)
        return [replace(one, ctc_score=s) for one, s in zip(written, scores, strict=True)]


class Steps:
    """A decoder's cache of texts under way, and the logits of what may follow them."""

    def __init__(
        self,
        network: EncoderDecoder,
        features_BTF: Tensor,
        lengths_B: Tensor,
        most_tokens: int | Sequence[int] | None,
    ) -> None:
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        self.network, self.special = network, network.special
        count, possible = len(lengths_B), network.criterion.most_tokens
        given = [most_tokens] * count if not isinstance(most_tokens, Sequence) else most_tokens
        self.limits = [possible if one is None else min(possible, one) for one in given]
        """Tokens of each text, at most."""
        self.heard = Heard.by(network, features_BTF, lengths_B)
        """Of all; and of those that are under way:"""
        self.heard_BSD, self.frames_B = self.heard.hidden_BSD, self.heard.frames_B
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.next_BU = sent(torch.tensor([self.special.prompt] * count), lengths_B.device)
        self.suppressed = _mask(self.special.suppressed, network)
        self.suppressed_first = _mask(self.special.suppressed_first, network) | self.suppressed
        self.no_speech: list[float] | None = None
        """By the first step, the probability of no speech in each; None after it, or without a token for it."""

    def next_logits(self) -> Tensor:
        """(B, V) of those that are under way; -inf of what is never said."""
        is_first = self.cache.get_seq_length() == 0
        logits_BUV = self.network.decoder(
            self.next_BU, self.heard_BSD, self.frames_B, cache=self.cache
        )
        self.no_speech = None
        if is_first and self.special.no_speech is not None:
            chances_BV = logits_BUV[:, 0].float().softmax(dim=-1)
            self.no_speech = chances_BV[:, self.special.no_speech].tolist()
        banned = self.suppressed_first if is_first else self.suppressed
        logits_BV: Tensor = logits_BUV[:, -1]
        return logits_BV.masked_fill(banned, -math.inf)

    def go_on(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """With these rows of the batch, perhaps some more than once, each by its token."""
        device = self.frames_B.device
        self.next_BU = sent(torch.tensor([[token] for token in tokens]), device)
        if rows and list(rows) != list(range(len(self.frames_B))):
            rows_B = sent(torch.tensor(rows), device)
            self.cache.batch_select_indices(rows_B)
            self.heard_BSD, self.frames_B = self.heard_BSD[rows_B], self.frames_B[rows_B]


def _mask(tokens: Sequence[int], network: EncoderDecoder) -> Tensor:
    weight = network.decoder.embed_tokens.weight
    mask_V = torch.zeros(weight.shape[0], dtype=torch.bool)
    mask_V[list(tokens)] = True
    return sent(mask_V, weight.device)
