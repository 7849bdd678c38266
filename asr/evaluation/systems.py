"""A system under test: its utterances against references under a normaliser, and the stamp of that.

Two systems compare only if their stamps are equal: the same utterances, references and normaliser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr.errors import UserError
from asr.evaluation.ctm import into_segments, read_ctm
from asr.evaluation.diagnosis.mismatch import about_mismatch
from asr.evaluation.edit_distance import Aligned, align
from asr.evaluation.hypotheses import Utterance, read_hypotheses
from asr.evaluation.normalisers import Normaliser
from asr.evaluation.transcript_lines import Transcript
from asr.evaluation.transcripts import guess_format, read_transcripts


@dataclass(frozen=True)
class Stamp:
    """What makes two systems comparable."""

    references_sha256: str
    """Of the ids and normalised references, by id."""
    normaliser: str
    utterances: int


@dataclass(frozen=True)
class System:
    """What a system recognised, aligned once."""

    name: str
    aligned: list[Aligned]
    stamp: Stamp
    notes: list[str] = field(default_factory=list)
    """What was left out or taken for granted, and how much of it."""


@dataclass(frozen=True)
class Source:
    """How texts are read: common to `asr score` and `asr compare`."""

    normaliser: Normaliser
    reference_format: str | None = None
    hypothesis_format: str | None = None
    missing: str = "error"
    """What an utterance without a hypothesis is: error, deleted (an empty text) or left_out."""

    def load(self, hypothesis: Path, reference: Path | None) -> System:
        """A system: what `asr decode` wrote, with its own references, or texts and their references.

        Raises UserError with file, line and remedy.
        """
        if reference is None and self._is_nemo(hypothesis):
            return replace(self, reference_format="nemo").load(hypothesis, hypothesis)
        if reference is None:
            return make_system(str(hypothesis), read_hypotheses(hypothesis), self.normaliser)
        kinds = (
            self.reference_format or guess_format(reference),
            self.hypothesis_format or guess_format(hypothesis),
        )
        references = read_transcripts(reference, "reference", kinds[0])
        texts, notes = self._texts(hypothesis, kinds[1], references)
        if kinds == ("lines", "lines") and len(texts) != len(references):
            raise UserError(
                f"{reference} has {len(references)} lines and {hypothesis} {len(texts)}",
                "write one line for each utterance into both, empty where nothing was said",
            )
        utterances, more_notes = _pair(references, texts, self.missing, hypothesis)
        read = f"{reference} was read as {kinds[0]}, {hypothesis} as {kinds[1]}"
        return make_system(
            str(hypothesis), utterances, self.normaliser, [read, *notes, *more_notes]
        )

    def _is_nemo(self, path: Path) -> bool:
        """Whether a file alone is NeMo's, whose lines hold text and pred_text."""
        if self.hypothesis_format is not None:
            return self.hypothesis_format == "nemo"
        is_json = Path(path.name.removesuffix(".gz")).suffix in (".jsonl", ".json", ".manifest")
        return is_json and path.is_file() and guess_format(path) == "nemo"

    def _texts(
        self, path: Path, kind: str, references: Mapping[str, Transcript]
    ) -> tuple[dict[str, Transcript], list[str]]:
        by_segment = all(one.span is not None for one in references.values())
        if kind != "ctm" or not by_segment:
            return read_transcripts(path, "hypothesis", kind), []
        texts, outside = into_segments(read_ctm(path), references)
        return texts, [f"{outside} words of {path} lie in no segment"] if outside else []


def make_system(
    name: str, utterances: Sequence[Utterance], normaliser: Normaliser, notes: Sequence[str] = ()
) -> System:
    """Normalise and align. Raises UserError without utterances."""
    if not utterances:
        raise UserError(f"{name}: nothing to score", "give at least one utterance")
    normal = normalised(sorted(utterances, key=lambda u: u.id), normaliser)
    digest = hashlib.sha256("".join(f"{u.id}\t{u.reference}\n" for u in normal).encode())
    stamp = Stamp(digest.hexdigest(), normaliser.stamp, len(normal))
    aligned = align(normal)
    mismatch = about_mismatch(aligned)
    return System(name, aligned, stamp, [*notes, *([mismatch] if mismatch else [])])


def normalised(utterances: Iterable[Utterance], normaliser: Normaliser) -> list[Utterance]:
    """As they are compared; their fields stay as the file has them."""
    found = []
    for one in utterances:
        texts = normaliser.apply(one.reference), normaliser.apply(one.hypothesis)
        is_changed = texts != (one.reference, one.hypothesis)
        found.append(replace(one, reference=texts[0], hypothesis=texts[1]) if is_changed else one)
    return found


def _pair(
    references: Mapping[str, Transcript],
    texts: Mapping[str, Transcript],
    missing: str,
    path: Path,
) -> tuple[list[Utterance], list[str]]:
    without = [name for name in references if name not in texts]
    unknown = [name for name in texts if name not in references]
    if len(unknown) == len(texts):
        raise UserError(
            f"{path}: none of its ids is among the references (it has '{unknown[0]}', they "
            f"'{next(iter(references))}')",
            "use the same ids",
        )
    if without and missing == "error":
        raise UserError(
            f"{path}: no hypothesis for {len(without)} of {len(references)} references (first: "
            f"'{without[0]}')",
            "decode them, or say what they count as (asr score --missing deleted or left_out)",
        )
    notes = []
    if without:
        how = "count as deleted" if missing == "deleted" else "are left out"
        notes.append(
            f"{len(without)} utterances without a hypothesis {how} (first: '{without[0]}')"
        )
    if unknown:
        notes.append(
            f"{len(unknown)} hypotheses without a reference are left out (first: '{unknown[0]}')"
        )
    kept = [name for name in references if name in texts or missing == "deleted"]
    return [_utterance(references[name], texts.get(name)) for name in kept], notes


def _utterance(reference: Transcript, hypothesis: Transcript | None) -> Utterance:
    both = [reference, *([hypothesis] if hypothesis else [])]
    fields = {k: v for one in reversed(both) for k, v in one.fields.items()}
    return Utterance(
        reference.id,
        reference.text,
        hypothesis.text if hypothesis else "",
        next((one.seconds for one in both if one.seconds is not None), 0.0),
        next((one.speaker for one in both if one.speaker is not None), None),
        fields,
    )
