"""What a preparation does to transcripts, by options that all corpora share; what was given is kept beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from asr.evaluation.normalisers import make_normaliser

from ..manifests import Listing, Utterance
from .number_words import make_number_words


@dataclass(frozen=True)
class TextRules:
    """First numbers become words, then the normaliser has the text."""

    normaliser: str = "none"
    number_words: str | None = None
    """A language as num2words names it."""
    characters: str | None = None
    """What transcripts are to consist of, when all is done, besides the space; None: of anything."""

    @property
    def is_idle(self) -> bool:
        """Whether transcripts stay as they are."""
        return self.normaliser == "none" and self.number_words is None

    def made(self) -> tuple[list[str], Callable[[str], str]]:
        """Names with versions of what is done, and one function that does it.

        Raises UserError for a normaliser or a language that is not there.
        """
        steps, stamps = [], []
        if self.number_words is not None:
            stamp, write = make_number_words(self.number_words)
            steps.append(write)
            stamps.append(stamp)
        if self.normaliser != "none":
            chosen = make_normaliser(self.normaliser)
            steps.append(chosen.apply)
            stamps.append(chosen.stamp)

        def apply(text: str) -> str:
            for step in steps:
                text = step(text)
            return " ".join(text.split())

        return stamps, apply


def written_down(listing: Listing, apply: Callable[[str], str]) -> Listing:
    """The listing with every transcript as `apply` makes it; the one given becomes its `written`."""
    changed = [_changed(one, apply) for one in listing.utterances]
    return Listing(changed, listing.rejects, listing.left_out)


def _changed(one: Utterance, apply: Callable[[str], str]) -> Utterance:
    given = one.text if one.text is not None else one.reference
    if given is None:
        return one
    return replace(
        one,
        text=None if one.text is None else apply(one.text),
        reference=None if one.reference is None else apply(one.reference),
        written=given if one.written is None else one.written,
    )
