"""A CTC model for sherpa-onnx's recogniser of Moonshine models, the one that leaves a waveform as it is.

Moonshine writes its text token by token. Here its encoder is the whole CTC model with greedy search, and its
decoder says at each step which token is the next one; so there are no times. The name of each file is that
of the argument of `OfflineRecognizer.from_moonshine`.

Shape suffixes: B utterances, N samples, S encoder frames, R eight times as many, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.export.graphs import Features
from asr.export.onnx_files import joined, session, traced, write_graph
from asr.export.sherpa import write_tokens
from asr.model.features import FrontEnd
from asr.model.loaded_model import LoadedModel
from asr.model.tokenizer import BLANK

PREPROCESSOR, ENCODER, DECODER = "moonshine_preprocessor", "moonshine_encoder", "moonshine_decoder"
TOKENS = "moonshine_tokens.txt"
_BEGIN, _END = 1, 2
"""Their numbers in sherpa-onnx: our token t is t + 2 there, and so a blank, where no token is left, the end."""
_ROOM = 8
"""A frame of Moonshine's is 24 ms, and sherpa-onnx reads 6 tokens/s at most: 8 frames have room for one."""


class _AsItIs(nn.Module):
    """Moonshine's preprocessor: (B, N) -> (B, N)."""

    def forward(self, waveforms_BN: Tensor) -> Tensor:
        return waveforms_BN.clone()


class _Front(nn.Module):
    """Waveforms (B, N) and samples (B,), which sherpa-onnx has as int32 -> what the network takes."""

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.features = Features(front_end)

    def forward(self, waveforms_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.features(waveforms_BN, samples_B.long())
        return found


class _TokensOfFrames(nn.Module):
    """Log-probabilities (B, S, V) -> (B, R): the token that a frame begins by greedy CTC, else the blank."""

    def forward(self, log_probs_BSV: Tensor, _frames_B: Tensor) -> Tensor:
        best_BS = log_probs_BSV.argmax(-1)
        before_BS = torch.cat([torch.full_like(best_BS[:, :1], -1), best_BS[:, :-1]], dim=1)
        token_BS = torch.where(best_BS != before_BS, best_BS, BLANK)
        room = torch.full_like(token_BS, BLANK).repeat(1, _ROOM - 1)
        return torch.cat([token_BS, room], dim=1)


class _NextToken(nn.Module):
    """What was written last (B, 1), tokens of frames (B, R), which one is next (B,) from 1 -> (B, 1, V + 2).

    1 for the next token or, behind the last, the end; 0 for all others.
    """

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.numbers = vocabulary_size + _END

    def forward(self, _last_B1: Tensor, token_BR: Tensor, place_B: Tensor) -> Tensor:
        is_token_BR = token_BR != BLANK
        is_next_BR = is_token_BR & (is_token_BR.long().cumsum(1) == place_B[:, None])
        next_B = (token_BR * is_next_BR).sum(1) + _END
        return (next_B[:, None, None] == torch.arange(self.numbers)).float()


def encoder(model: LoadedModel, waveforms_BN: Tensor) -> Callable[[Any], Any]:
    """What makes the encoder of the network's graph, traced by these waveforms."""
    vocabulary_size = model.tokenizer.vocabulary_size
    samples_B = torch.full((len(waveforms_BN),), waveforms_BN.shape[1], dtype=torch.int32)
    inputs, outputs = ("waveforms", "samples"), ("front_features", "front_lengths")
    front = traced(_Front(model.front_end), (waveforms_BN, samples_B), inputs, outputs)
    log_probs = torch.zeros(2, 5, vocabulary_size), torch.tensor([5, 4])
    search = traced(_TokensOfFrames(), log_probs, ("log_probs", "frames"), ("tokens",))
    return lambda network: joined(joined(front, network), search)


def write_others(model: LoadedModel, folder: Path) -> None:
    """Write what the encoder has beside it: preprocessor, decoder and tokens."""
    waveforms = (torch.zeros(2, 5),)
    write_graph(
        traced(_AsItIs(), waveforms, ("waveform",), ("waveforms",)), folder / f"{PREPROCESSOR}.onnx"
    )
    given = (
        torch.full((2, 2), _BEGIN, dtype=torch.int32),
        torch.ones((2, 5), dtype=torch.long),
        torch.tensor([1, 2], dtype=torch.int32),
    )
    decoder = _NextToken(model.tokenizer.vocabulary_size)
    graph = traced(decoder, given, ("last", "tokens", "place"), ("scores",))
    write_graph(graph, folder / f"{DECODER}.onnx")
    write_tokens(model.tokenizer, folder / TOKENS, ("<blk>", "<begin>", "<end>"))


def texts_by(model: LoadedModel, folder: Path, waveforms: Sequence[Tensor]) -> list[str]:
    """What sherpa-onnx reads of waveforms (N,), step by step as it does."""
    preprocessor, network, decoder = (
        session(folder / f"{name}.onnx") for name in (PREPROCESSOR, ENCODER, DECODER)
    )
    found = []
    for wave in waveforms:
        [waveform] = preprocessor.run(None, {"waveform": wave[None].numpy()})
        samples = np.array([waveform.shape[1]], np.int32)
        [tokens] = network.run(None, {"waveforms": waveform, "samples": samples})
        found.append(model.tokenizer.decode(_written(decoder, tokens)))
    return found


def _written(decoder: Any, tokens_BR: NDArray[np.int64]) -> list[int]:
    """One token after the other, as many as Moonshine would speak at most."""
    written: list[int] = []
    last = _BEGIN
    for place in range(1, int(tokens_BR.shape[1] * 384 / 16_000 * 6) + 1):
        given = {
            "last": np.array([[last]], np.int32),
            "tokens": tokens_BR,
            "place": np.array([place], np.int32),
        }
        last = int(decoder.run(None, given)[0][0, 0].argmax())
        if last == _END:
            break
        written.append(last - _END)
    return written
