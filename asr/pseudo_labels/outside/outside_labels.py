"""Labels from files in a run: by the utterance's id, spelt by the recipe's tokenizer, beside a teacher's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from asr.config.pseudo_label import OutsideConfig
from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.data.manifest.rows import key_of
from asr.errors import UserError
from asr.evaluation.normalisers import Normaliser, make_normaliser
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.filters import Dropped, token_error_rate
from asr.pseudo_labels.label import OUTSIDE, Label, LabelMetrics
from asr.pseudo_labels.outside.label_files import read_labels, sha256_of
from asr.pseudo_labels.outside.lines import WrittenLabel

_MEASURE = "outside"


@dataclass(frozen=True)
class OutsideLabels:
    """The labels of `pseudo_label.outside`, and the choice between them and a teacher's."""

    policy: OutsideConfig
    tokenizer: Tokenizer
    normaliser: Normaliser
    labels: Mapping[str, WrittenLabel]
    """By the utterance's id."""
    sha256: Sequence[str]
    """Of each file."""

    @classmethod
    def load(cls, config: Config, tokenizer: Tokenizer) -> OutsideLabels | None:
        """None where the recipe has none. Raises UserError for what is missing, or lacks the confidences."""
        if config.pseudo_label.teacher != "file":
            return None
        policy = config.pseudo_label.outside
        labels: dict[str, WrittenLabel] = {}
        for path in map(Path, policy.files):
            if not path.exists():
                raise UserError(
                    f"pseudo_label.outside.files: {path} does not exist",
                    "fix the path; it is relative to the working directory",
                )
            found = read_labels(path)
            twice = next((name for name in found if name in labels), None)
            if twice is not None:
                raise UserError(
                    f"pseudo_label.outside.files: utterance '{twice}' is in {path} and in a file before it",
                    "name one of the files, or leave the utterance out of one",
                )
            labels |= found
        needs = _needs_confidence(config)
        if needs and all(label.confidence is None for label in labels.values()):
            raise UserError(
                f"{needs} needs confidences, and {', '.join(policy.files)} have none",
                "write them (asr/pseudo_labels/outside/label_files.py says where), or set it back",
            )
        sums = [sha256_of(Path(path)) for path in policy.files]
        return cls(
            policy,
            tokenizer,
            make_normaliser(policy.normaliser, "pseudo_label.outside.normaliser"),
            labels,
            sums,
        )

    @property
    def stamp(self) -> Mapping[str, Any]:
        """What the labels depend on: noted where it changes in mid-run."""
        return {
            "outside files": list(self.sha256),
            "outside normaliser": self.normaliser.stamp,
            "outside choice": self.policy.model_dump(exclude={"files", "normaliser"}),
        }

    def of(self, speech: SpeechSet) -> OutsideLabels:
        """The same by the ids of a set: what a file names by its recording alone is looked up."""
        by_path = {
            str(Path(name).absolute()): label
            for name, label in self.labels.items()
            if label.is_named_by_path
        }
        if not by_path:
            return self
        files = list(speech.files)
        count = Counter(files)
        named = {
            name: replace(by_path[path], id=name)
            for name, file in zip(speech.ids, files, strict=True)
            for path in [str(Path(file).absolute()) if file else ""]
            # Of several utterances of one recording nobody knows which is meant.
            if path in by_path and count[file] == 1
        }
        others = {n: label for n, label in self.labels.items() if not label.is_named_by_path}
        return replace(self, labels={**named, **others})

    def covered(self, speech: SpeechSet) -> int:
        """Utterances of a set that have a label here."""
        keys = np.array([key_of(name) for name in self.labels], np.uint64)
        return int(np.isin(speech.keys, keys).sum())

    def spell(self, text: str) -> list[int] | None:
        """Tokens of a text, also in capitals or in small letters where only these can be spelt; or None."""
        text = self.normaliser.apply(text)
        for form in dict.fromkeys((text, text.upper(), text.lower())):
            try:
                return self.tokenizer.encode(form)
            except UserError:
                continue
        return None

    def choose(
        self, ids: Sequence[str], hours: float, ask_teacher: Callable[[], list[Label]]
    ) -> list[Label]:
        """A label for each utterance; the teacher is asked on all ranks or on none.

        Labels that nobody wrote or that cannot be spelt are dropped already; so are those on which the two
        disagree. The teacher's stand where they are surer, or where there are no others to choose from.
        """
        policy = self.policy
        if policy.until_hours is not None and hours >= policy.until_hours:
            return ask_teacher()
        ours = [self._label(name) for name in ids]
        if policy.choose == "outside":
            return ours
        choice = self._surer if policy.choose == "more_confident" else self._agreed
        return [choice(one, other) for one, other in zip(ours, ask_teacher(), strict=True)]

    def _label(self, name: str) -> Label:
        found = self.labels.get(name)
        confidence = math.nan if found is None or found.confidence is None else found.confidence
        nothing = Label([], LabelMetrics(confidence, math.nan, math.nan, _MEASURE), source=OUTSIDE)
        if found is None:
            return replace(nothing, dropped=Dropped.UNLABELLED)
        tokens = self.spell(found.text)
        if tokens is None:
            return replace(nothing, dropped=Dropped.UNSPELLABLE, text=found.text)
        return replace(nothing, tokens=tokens)

    @staticmethod
    def _surer(outside: Label, teacher: Label) -> Label:
        is_surer = (
            outside.metrics.confidence >= teacher.metrics.confidence
        )  # not, where it is unknown
        return outside if outside.dropped is None and is_surer else teacher

    def _agreed(self, outside: Label, teacher: Label) -> Label:
        if outside.dropped is not None:
            return outside
        texts = (self.tokenizer.decode(label.tokens) for label in (teacher, outside))
        rate = token_error_rate(*(list(map(ord, text)) for text in texts))
        agree = rate <= self.policy.max_disagreement
        return outside if agree else replace(outside, dropped=Dropped.DISAGREEING)


def _needs_confidence(config: Config) -> str | None:
    """Which setting does."""
    policy = config.pseudo_label
    if policy.outside.choose == "more_confident":
        return "pseudo_label.outside.choose more_confident"
    if policy.filters.min_confidence:
        return f"pseudo_label.filters.min_confidence {policy.filters.min_confidence:g}"
    return None


def no_label_fits(labels: OutsideLabels, speech: SpeechSet) -> UserError:
    """What to say where no utterance of a set has a label."""
    return UserError(
        f"pseudo_label.outside.files: of {len(speech):,} untranscribed utterances of '{speech.name}' none "
        f"has a label; ids there are like '{next(iter(labels.labels), '')}', and here like '{speech.ids[0]}'",
        "name the files of these sets, or write their ids as the manifest has them",
    )
