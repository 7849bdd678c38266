"""Splits that depend on what is said or named alone: they stay as they are when a corpus grows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import soundfile

from asr.errors import UserError
from asr.utils.text_files import refuse_pipe

from ..manifests import Listing, Utterance


def position(text: str) -> float:
    """Where a text falls in [0, 1), by its hash: equal texts always fall on the same place."""
    # 53 bits are what a float holds exactly; more would round up to 1.
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2.0**53


def check_limit(limit_minutes: float | None) -> None:
    """Raise UserError for a --limit-minutes that is no length."""
    if limit_minutes is not None and not 0 < limit_minutes < math.inf:
        raise UserError(f"--limit-minutes {limit_minutes} is too few", "give a number above 0")


def limit(listing: Listing, minutes: float | None) -> Listing:
    """Keep the first `minutes` of each set in the order of the hashed id; a larger limit adds."""
    if minutes is None:
        return listing
    left: dict[str, float] = {}
    chosen = set()
    for utterance in sorted(listing.utterances, key=lambda utterance: position(utterance.id)):
        rest = left.get(utterance.set, minutes * 60) - stated_seconds(utterance.path)
        left[utterance.set] = rest
        if rest >= 0:
            chosen.add(utterance.id)
    return replace(listing, utterances=[one for one in listing.utterances if one.id in chosen])


def first_minutes(utterances: Iterable[Utterance], minutes: float) -> set[str]:
    """Ids of `minutes` of audio, in the order of the hashed transcript; equal transcripts go together.

    More minutes only add.
    """
    by_text: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_text.setdefault(utterance.text or "", []).append(utterance)
    left, chosen = minutes * 60, set()
    for text in sorted(by_text, key=lambda text: position(f"labelled {text}")):
        left -= sum(stated_seconds(one.path) for one in by_text[text])
        if left < 0:
            break
        chosen |= {one.id for one in by_text[text]}
    return chosen


def stated_seconds(path: Path) -> float:
    """Length that a file's header states; 0 where it cannot be read (validation says why)."""
    try:
        refuse_pipe(path)
        return float(soundfile.info(path).duration)
    except (OSError, soundfile.SoundFileError):
        return 0.0
