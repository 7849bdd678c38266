"""How sure a network is of what it reads: measures from 0 to 1, by name.

Shape suffixes: B utterances, S encoder frames, V vocabulary; K frames of one utterance that hold a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.model.ctc import ctc_losses
from asr.model.tokenizer import BLANK
from asr.utils.devices import fetched


def confidences(
    measure: str,
    logits_BSV: Tensor,
    lengths_B: Tensor,
    labels: Sequence[Sequence[int]],
) -> list[float]:
    """Of each utterance, by logits (B, S, V) in any precision and lengths (B,) in frames; computed in fp32.

    `labels` are tokens without blanks, however they were decided. `likelihood` is of these: CTC's probability
    of the label over all of its alignments (Graves et al. 2006), to the power of one over its tokens; 0 where
    it needs more frames than there are. The other measures are of the network's own greedy path, whatever
    the labels: `path`, its probability, likewise; and means of posteriors, `tokens` of each token's highest,
    `token_frames` of the frames that hold a token, `frames` of all.

    Always a number: 0 without frames, and where logits are NaN. Without tokens, `likelihood` and `path` are the
    probability of blanks alone, and `tokens` and `token_frames` are 0.
    """
    [host_lengths_B] = fetched(lengths_B)
    seen = of_device(measure, logits_BSV, host_lengths_B, labels)
    return of_host(measure, fetched(*seen), host_lengths_B, labels)


def of_device(
    measure: str, logits_BSV: Tensor, host_lengths_B: Tensor, labels: Sequence[Sequence[int]]
) -> list[Tensor]:
    """What `confidences` computes where the logits are; `of_host` makes the rest of it, on the host."""
    if measure != "likelihood":
        return list(logits_BSV.float().log_softmax(dim=-1).max(dim=-1))
    if not logits_BSV[..., 0].numel():
        return [logits_BSV.new_zeros(len(labels))]
    return [ctc_losses(logits_BSV, host_lengths_B, labels)]


def of_host(
    measure: str,
    seen: Sequence[Tensor],
    lengths_B: Tensor,
    labels: Sequence[Sequence[int]],
) -> list[float]:
    """The confidences, of what `of_device` gave, fetched."""
    if measure == "likelihood":
        [losses] = (one.tolist() for one in seen)

        def of_row(row: int, frames: int) -> float:
            return math.exp(-losses[row] / max(1, len(labels[row])))
    else:
        best_BS, path_BS = seen
        of_path = _OF_PATH[measure]

        def of_row(row: int, frames: int) -> float:
            return of_path(_Path(best_BS[row, :frames], path_BS[row, :frames]))

    found = [of_row(row, n) if n else 0.0 for row, n in enumerate(lengths_B.tolist())]
    return [0.0 if math.isnan(value) else value for value in found]


@dataclass(frozen=True)
class _Path:
    """One utterance's greedy path: of each frame, the best token and its log-posterior."""

    log_posteriors_S: Tensor
    tokens_S: Tensor

    def posteriors_of_tokens(self) -> list[float]:
        """Of each token of the collapsed path, the highest of its frames."""
        runs, run_S = torch.unique_consecutive(self.tokens_S, return_inverse=True)
        highest = torch.full((len(runs),), -math.inf).scatter_reduce(
            0, run_S, self.log_posteriors_S, "amax"
        )
        found: list[float] = highest[runs != BLANK].exp().tolist()
        return found


def _frames(path: _Path) -> float:
    return float(path.log_posteriors_S.exp().mean())


def _path(path: _Path) -> float:
    tokens = len(path.posteriors_of_tokens())
    return math.exp(float(path.log_posteriors_S.sum()) / max(1, tokens))


def _token_frames(path: _Path) -> float:
    posteriors_K = path.log_posteriors_S[path.tokens_S != BLANK].exp()
    return float(posteriors_K.mean()) if len(posteriors_K) else 0.0


def _tokens(path: _Path) -> float:
    posteriors = path.posteriors_of_tokens()
    return sum(posteriors) / len(posteriors) if posteriors else 0.0


_OF_PATH: dict[str, Callable[[_Path], float]] = {
    "path": _path,
    "token_frames": _token_frames,
    "tokens": _tokens,
    "frames": _frames,
}
MEASURES = ("likelihood", *_OF_PATH)
