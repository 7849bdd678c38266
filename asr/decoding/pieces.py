"""Audio of any length -> an encoder-decoder's text: cut where it is quiet, in pieces that fit its window.

Words have times by forced alignment with the model's CTC head (`model.ctc_weight`). Without one, in a
recording, by where their piece is and how long they are: good to a second or so within a long piece.

Shape suffixes: B utterances, N samples, T input frames, F features of a frame, S encoder frames, V outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.data.quiet import frame_energies, quietest_frame
from asr.decoding.alignment import align_words, in_letters
from asr.decoding.safeguards import GenerationSettings, write
from asr.decoding.words import Word
from asr.errors import UserError
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.utils.devices import fetched, sent

if TYPE_CHECKING:
    from asr.model.loaded_model import LoadedModel

_LONGEST_SECONDS = 28.0
_QUIET_SECONDS = 0.3
_FRAME_SECONDS = 0.02


def quiet_pieces(
    blocks: Iterable[Tensor], rate_hz: int, longest_seconds: float = _LONGEST_SECONDS
) -> Iterator[Tensor]:
    """A recording in blocks (N,) -> pieces (N,) that follow each other, cut where it is quietest.

    In the memory of a block and a piece. What fits into one piece is not cut.
    """
    longest, pending_N = round(longest_seconds * rate_hz), torch.zeros(0)
    for block_N in blocks:
        pending_N = torch.cat([pending_N, block_N])
        while len(pending_N) > longest:
            cut = _quietest(pending_N[:longest], rate_hz)
            yield pending_N[:cut]
            pending_N = pending_N[cut:]
    if len(pending_N):
        yield pending_N


def _quietest(audio_N: Tensor, rate_hz: int) -> int:
    frame = round(_FRAME_SECONDS * rate_hz)
    width = max(1, round(_QUIET_SECONDS / _FRAME_SECONDS))
    return quietest_frame(frame_energies(audio_N, frame), width) * frame


@dataclass(frozen=True)
class Written:
    """The text of an utterance, whose pieces are joined."""

    text: str
    tokens: int
    confidence: float
    """Mean over its pieces, by their length."""
    words: list[Word] | None = None
    """With their times; None without a CTC head, or where a piece's text is longer than its audio."""
    head_logits_SV: Tensor | None = None
    """The CTC head's, of an utterance that is one piece."""


def write_pieces(
    model: LoadedModel,
    network: EncoderDecoder,
    waveforms_BN: Tensor,
    samples_B: Tensor,
    names: Sequence[str],
    settings: GenerationSettings,
) -> list[Written]:
    """The text of each utterance of a batch; one that is too long for the model is cut where it is quiet."""
    rate_hz, longest_seconds = model.front_end.sample_rate_hz, model.front_end.longest_seconds
    pieces, owners = list[Tensor](), list[int]()
    for place, samples in enumerate(samples_B.tolist()):
        own_N = waveforms_BN[place, :samples]
        is_long = 0 < longest_seconds < samples / rate_hz
        parts = list(quiet_pieces([own_N], rate_hz, longest_seconds)) if is_long else [own_N]
        pieces += parts
        owners += [place] * len(parts)
    lengths_B = torch.tensor([len(piece) for piece in pieces])
    features = model.front_end(sent(pad_sequence(pieces, True), model.device), lengths_B)
    seconds = [len(piece) / rate_hz for piece in pieces]
    labels = [f"{names[place]}/{own - owners.index(place)}" for own, place in enumerate(owners)]
    written = write(network, model.tokenizer, features, seconds, labels, settings)
    logits = _head_logits(model, network, features, seconds)
    found = []
    for place in range(len(names)):
        own = [number for number, owner in enumerate(owners) if owner == place]
        texts = [model.tokenizer.decode(written[number].tokens) for number in own]
        weights = [seconds[number] for number in own]
        sure = sum(written[n].confidence * w for n, w in zip(own, weights, strict=True))
        tokens = sum(len(written[number].tokens) for number in own)
        one = Written(" ".join(texts).strip(), tokens, sure / max(1e-9, sum(weights)))
        if logits is not None:
            parts = [logits[number] for number in own]
            words = _aligned(parts, texts, weights, model.frame_seconds)
            one = replace(one, words=words, head_logits_SV=parts[0] if len(parts) == 1 else None)
        found.append(one)
    return found


def _head_logits(
    model: LoadedModel,
    network: EncoderDecoder,
    features: tuple[Tensor, Tensor],
    seconds: Sequence[float],
) -> list[Tensor] | None:
    """The CTC head's (S, V) on the CPU over each piece, without the silence behind it; None without a head."""
    if network.ctc_head is None:
        return None
    features_BTF, lengths_B = features
    heard_BSD, frames_B = network.encoder(features_BTF.to(network.dtype), lengths_B, None)
    logits_BSV, frames_B = fetched(network.ctc_head(heard_BSD).float(), frames_B)
    own = [math.ceil(one / model.frame_seconds) for one in seconds]
    pairs = zip(logits_BSV, own, frames_B.tolist(), strict=True)
    return [logits_SV[: min(spoken, frames)] for logits_SV, spoken, frames in pairs]


def _aligned(
    logits: Sequence[Tensor], texts: Sequence[str], seconds: Sequence[float], frame_seconds: float
) -> list[Word] | None:
    """The words of pieces that follow each other; None where one has more text than audio."""
    begin, found = 0.0, list[Word]()
    for logits_SV, text, length in zip(logits, texts, seconds, strict=True):
        try:
            words = align_words(logits_SV, text, frame_seconds)
        except UserError:
            return None
        found += [
            replace(word, begin=begin + word.begin, end=begin + min(word.end, length))
            for word in words
        ]
        begin += length
    return found


@torch.inference_mode()
def written_words(
    model: LoadedModel, network: EncoderDecoder, blocks: Iterable[Tensor]
) -> tuple[float, list[Word]]:
    """Seconds of a recording, and its words; `blocks` (N,) at the model's sample rate."""
    rate_hz = model.front_end.sample_rate_hz
    longest_seconds = min(model.front_end.longest_seconds or _LONGEST_SECONDS, _LONGEST_SECONDS)
    settings, begin, words = GenerationSettings(), 0.0, list[Word]()
    for number, piece_N in enumerate(quiet_pieces(blocks, rate_hz, longest_seconds)):
        samples_B = torch.tensor([len(piece_N)])
        [one] = write_pieces(model, network, piece_N[None], samples_B, [str(number)], settings)
        seconds = len(piece_N) / rate_hz
        if one.words is None:
            words += _spread(one.text, begin, seconds, one.confidence)
        else:
            words += [replace(w, begin=begin + w.begin, end=begin + w.end) for w in one.words]
        begin += seconds
    return begin, words


def _spread(text: str, begin: float, seconds: float, confidence: float) -> Iterator[Word]:
    """Words over a piece, each as long as its letters are many."""
    parts = text.split()
    letters = sum(len(part) for part in parts)
    for part in parts:
        end = begin + seconds * len(part) / letters
        yield from in_letters(Word(part, begin, end, confidence))
        begin = end
