"""Utterances of a sound recording: all of it, the part that a corpus names, or the parts that were found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .journal import Outcome
from .manifests import Kept, Part, Source, Utterance
from .validate import SAMPLE_RATE_HZ, Fault

_END_SECONDS = 0.25
"""What ends so much after its recording, as durations that were rounded do, ends with it."""
_NEAR_END_SECONDS = 0.01
"""And so does what ends so near to its end."""


def listed_part(utterance: Utterance, outcome: Outcome) -> Kept | Fault:
    """An utterance of a sound recording, or the part of it that a corpus names: that may lie beside it."""
    whole = Kept(utterance, Path(outcome.path), outcome.samples, outcome.converted)
    span = utterance.span
    if span is None:
        return whole
    first = round(span.start_seconds * SAMPLE_RATE_HZ)
    last = outcome.samples if span.seconds is None else first + round(span.seconds * SAMPLE_RATE_HZ)
    beyond = (last - outcome.samples) / SAMPLE_RATE_HZ
    here = f"{first / SAMPLE_RATE_HZ:.3f} s to {last / SAMPLE_RATE_HZ:.3f} s"
    if first < 0 or first >= outcome.samples or beyond > _END_SECONDS:
        length = outcome.samples / SAMPLE_RATE_HZ
        return Fault("beyond_end", f"from {here} of a recording of {length:.3f} s: fix the times")
    if outcome.samples - last < _NEAR_END_SECONDS * SAMPLE_RATE_HZ:
        last = outcome.samples
    if last <= first:
        return Fault("empty", f"from {here} there is nothing: fix the times")
    if (first, last) == (0, outcome.samples):
        return whole
    part = Part(Source.mono_16khz(outcome.samples), first)
    return replace(whole, samples=last - first, part=part)


def found_parts(recording: Utterance, outcome: Outcome) -> Iterator[Kept]:
    """Utterances that were found in a recording; an id says where one is, in hundredths of a second."""
    source = Source(**(outcome.source or {}))
    for first, count, *place in outcome.parts or ():
        begin, end = (round(100 * at / SAMPLE_RATE_HZ) for at in (first, first + count))
        part = Part(source, first, tuple(place) or None)
        utterance = replace(recording, id=f"{recording.id}-{begin:07d}-{end:07d}")
        yield Kept(utterance, Path(outcome.path), count, False, part)
