"""Scores with intervals, and greedy decoding."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import torch

from asr.decoding.greedy import greedy
from asr.evaluation.edit_distance import error_counts
from asr.evaluation.score import score
from asr.model.ctc import best_paths
from peers.race import Race

_UTTERANCES, _WORDS, _ERRORS, _DRAWS = 2_600, 20, 0.1, 1_000
"""As many as LibriSpeech's test-clean has; a tenth of the words is wrong."""


def made_up_texts() -> tuple[list[str], list[str]]:
    """References and hypotheses."""
    draw = random.Random(1)
    letters = "etaoinshrdlucmfw"
    words = ["".join(draw.choices(letters, k=draw.randint(1, 9))) for _ in range(5_000)]
    references = [" ".join(draw.choices(words, k=_WORDS)) for _ in range(_UTTERANCES)]

    def heard(word: str) -> list[str]:
        kind = draw.random() / _ERRORS
        if kind >= 1:
            return [word]
        if kind < 0.2:
            return []
        return [draw.choice(words), word] if kind < 0.4 else [draw.choice(words)]

    return references, [
        " ".join(one for word in text.split() for one in heard(word)) for text in references
    ]


def races() -> Iterator[Race]:
    """Words and characters; what others do of it."""
    import jiwer
    import kaldialign

    references, hypotheses = made_up_texts()
    words = [[text.split() for text in texts] for texts in (references, hypotheses)]
    characters = [list(map(list, texts)) for texts in (references, hypotheses)]
    yield Race(
        f"WER and CER with intervals, {_UTTERANCES:,} utterances, {_DRAWS:,} draws",
        lambda: score(references, hypotheses, draws=_DRAWS),
        {
            "kaldialign, words alone": lambda: kaldialign.bootstrap_wer_ci(
                *words, replications=_DRAWS
            ),
            "kaldialign": lambda: [
                kaldialign.bootstrap_wer_ci(*units, replications=_DRAWS)
                for units in (words, characters)
            ],
        },
        wanted=5.0,
    )
    yield Race(
        "WER and CER without intervals",
        lambda: error_counts(references, hypotheses),
        {
            "jiwer": lambda: (
                jiwer.process_words(references, hypotheses),
                jiwer.process_characters(references, hypotheses),
            )
        },
    )


def decoding_races() -> Iterator[Race]:
    """Best paths of 64 utterances of 16 s: as toolkits collapse them, and SpeechBrain's own."""
    from speechbrain.decoders.ctc import ctc_greedy_decode

    utterances, frames, vocabulary = 64, 400, 32
    torch.manual_seed(1)
    logits_BSV = torch.randn(utterances, frames, vocabulary)
    logits_BSV[..., 0] += 2.0
    lengths_B = torch.full((utterances,), frames)
    shares_B = torch.ones(utterances)

    def grouped() -> list[list[int]]:
        paths = logits_BSV.argmax(dim=-1).tolist()
        return [[token for token, _ in itertools.groupby(path) if token != 0] for path in paths]

    assert best_paths(logits_BSV, lengths_B) == grouped()
    assert grouped() == ctc_greedy_decode(logits_BSV.softmax(-1), shares_B, 0)
    yield Race(
        "greedy decoding",
        lambda: best_paths(logits_BSV, lengths_B),
        {
            "itertools.groupby (ESPnet, Hugging Face)": grouped,
            "SpeechBrain": lambda: ctc_greedy_decode(logits_BSV, shares_B, 0),
        },
    )
    yield Race(
        "greedy decoding with confidences",
        lambda: greedy(logits_BSV, lengths_B),
        {
            "SpeechBrain, probabilities alone": lambda: ctc_greedy_decode(
                logits_BSV.softmax(-1), shares_B, 0
            )
        },
    )
