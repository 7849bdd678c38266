"""Texts in memory, or in files, in every form that the Python interface takes -> a system to score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.evaluation.hypotheses import Utterance
from asr.evaluation.normalisers import make_normaliser
from asr.evaluation.systems import Source, System, make_system
from asr.evaluation.transcript_lines import Role

Texts = Mapping[str, str] | Sequence[str | Utterance] | str | Path
"""Texts by id; or in an order of their own; or what `asr.decode` returned; or a file of them."""

_TEXT_ALONE = {"is_text_alone": True}
"""Fields of an utterance that is made of one text here."""


def system_of(
    hypotheses: Texts,
    references: Texts | None = None,
    normaliser: str = "none",
    name: str = "hypotheses",
) -> System:
    """Hypotheses against references, which utterances of `asr.decode` and its files hold themselves.

    Both are of one form: mappings by id, lists in the same order, utterances, or files in any format that
    `asr score` reads. Raises UserError where they do not go together, or are something else.
    """
    chosen = make_normaliser(normaliser)
    paths = [isinstance(texts, (str, Path)) for texts in (hypotheses, references)]
    if paths[0] and (references is None or paths[1]):
        reference = None if references is None else Path(str(references))
        return Source(chosen).load(Path(str(hypotheses)), reference)
    if any(paths):
        raise UserError(
            "one of hypotheses and references is a file and the other is not", "give two files"
        )
    texts = _by_id(hypotheses, "hypothesis")
    if references is None:
        alone = [_of(key, one) for key, one in texts.items()]
        # Of utterances that a program made, empty references may be meant: they are of silence.
        are_meant = not any(one.fields for one in alone)
        if not are_meant and not any(one.reference for one in alone):
            raise UserError(
                f"{name}: none of {len(texts)} texts has a reference",
                "give references, or decode a set that was prepared with its transcripts",
            )
        return make_system(name, alone, chosen)
    known = _by_id(references, "reference")
    if texts.keys() != known.keys():
        odd = next(iter(texts.keys() ^ known.keys()))
        raise UserError(
            f"{len(texts)} hypotheses and {len(known)} references do not go together (first: '{odd}')",
            "give one of each for every utterance",
        )
    pairs = [_of(key, texts[key], one) for key, one in known.items()]
    return make_system(name, pairs, chosen)


def _of(key: str, heard: str | Utterance, reference: str | Utterance | None = None) -> Utterance:
    """What was recognised, against a reference; None where the utterance holds its own."""
    if isinstance(reference, Utterance):
        text, seconds, speaker = reference.reference, reference.seconds, reference.speaker
    else:
        text, seconds, speaker = reference or "", 0.0, None
    if isinstance(heard, str):
        return Utterance(key, text, heard, seconds, speaker, _TEXT_ALONE)
    if reference is None:
        return heard
    seconds, speaker = heard.seconds or seconds, heard.speaker or speaker
    return Utterance(heard.id, text, heard.hypothesis, seconds, speaker, heard.fields)


def _by_id(texts: Any, role: Role) -> dict[str, str | Utterance]:
    """The texts by id, in their order. Raises UserError for what are none, or have one id."""
    if isinstance(texts, Mapping):
        pairs = [(str(key), one) for key, one in texts.items()]
    elif isinstance(texts, Iterable):
        ones = list(texts)
        width = len(str(len(ones)))  # so that the order of the ids is that of the list
        pairs = [
            (one.id if isinstance(one, Utterance) else f"{place:0{width}d}", one)
            for place, one in enumerate(ones)
        ]
    else:
        pairs = [("", texts)]
    found: dict[str, str | Utterance] = {}
    for key, one in pairs:
        if key in found:
            raise UserError(f"two {role} texts have the id '{key}'", "keep one of them")
        if not isinstance(one, (str, Utterance)):
            raise UserError(
                f"a {role} text is a {type(one).__name__} ({str(one)[:40]!r})",
                "give texts: a list, a mapping by id, what asr.decode returned, or a file's path",
            )
        found[key] = one
    return found
