"""Forced alignment: at what time is each token of a text spoken?

Shape suffixes: S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from asr.decoding.words import TimedToken, Word, is_no_word
from asr.errors import UserError
from asr.model.alignment import best_path
from asr.model.encoder_decoder.ctc_head import BOUNDARY, spelt_word


def align_tokens(
    logits_SV: Tensor, tokens: Sequence[int], frame_seconds: float
) -> list[TimedToken]:
    """Each token's time and confidence on the most probable path of `tokens` through the logits (S, V).

    A confidence is the token's highest posterior there. Raises UserError where there are fewer frames
    than the tokens need.
    """
    if not tokens:
        return []
    log_posteriors_SV = logits_SV.float().log_softmax(-1).cpu().numpy()
    path_S = best_path(log_posteriors_SV, [tokens])
    if path_S is None:
        raise UserError(
            f"{len(tokens)} tokens cannot be aligned with {len(log_posteriors_SV)} frames: "
            "the text is longer than the audio",
            "shorten the text, or give all of its audio",
        )
    sounding = np.flatnonzero(path_S >= 0)
    spans = np.searchsorted(path_S[sounding], np.arange(len(tokens) + 1))
    return [
        TimedToken(
            token,
            int(own[0]) * frame_seconds,
            (int(own[-1]) + 1) * frame_seconds,
            float(np.exp(log_posteriors_SV[own, token].max())),
        )
        for token, own in zip(tokens, np.split(sounding, spans[1:-1]), strict=True)
    ]


def align_words(logits_SV: Tensor, text: str, frame_seconds: float) -> list[Word]:
    """The words of a text by the CTC head of an encoder-decoder: its logits (S, 257).

    A confidence is the mean over the word's letters of their highest posteriors. What is not heard, as a dash,
    has no length, and the confidence of the word before it. Raises UserError where the text is longer than
    the audio.
    """
    words = text.split()
    letters = [spelt_word(word) for word in words]
    tokens: list[int] = []
    for own in filter(None, letters):
        tokens += [BOUNDARY, *own] if tokens else own
    timed = align_tokens(logits_SV, tokens, frame_seconds)
    found: list[Word] = []
    end, confidence, place = 0.0, 0.0, 0
    for word, own in zip(words, letters, strict=True):
        begin = end
        if own:
            place += 1 if place else 0  # the boundary
            parts = timed[place : place + len(own)]
            place += len(own)
            begin, end = parts[0].begin, parts[-1].end
            confidence = sum(part.confidence for part in parts) / len(parts)
        found += in_letters(Word(word, begin, end, confidence), parts if own else [])
    return found


def in_letters(word: Word, tokens: Sequence[TimedToken] = ()) -> list[Word]:
    """A text without spaces that is too long for a word as its letters, placed by `tokens`, its bytes.

    Without them, or where letters change as they are spelt, they are of equal length.
    """
    if not is_no_word(word.text, word.end - word.begin):
        return [word]
    sizes = [len(spelt_word(letter)) for letter in word.text]
    found, place, end = list[Word](), 0, word.begin
    for number, size in enumerate(sizes):
        begin, confidence = end, word.confidence
        if sum(sizes) != len(tokens):
            end = word.begin + (word.end - word.begin) * (number + 1) / len(sizes)
        elif size:
            parts = tokens[place : place + size]
            begin, end = parts[0].begin, parts[-1].end
            confidence = sum(part.confidence for part in parts) / size
            place += size
        found.append(Word(word.text[number], begin, end, confidence, word.joined or number > 0))
    return found
