"""References and hypotheses that are written in two ways: in capitals and not, with punctuation and without."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from asr.evaluation.edit_distance import Aligned, error_counts, total
from asr.evaluation.normalisers import make_normaliser

WORST_WER = 95.0
"""Only where nearly all words differ is it asked why."""
_EXPLAINED = 0.5
"""Of that, what is left when a kind of difference does not count."""
_MOST_LOOKED_AT = 2_000
_WAYS = (("lower", "case does"), ("librispeech", "case, punctuation and accents do"))
"""By their normalisers, the smallest change first."""


def about_mismatch(aligned: Sequence[Aligned]) -> str | None:
    """A line with both figures and the remedy where most errors are none of hearing; else None."""
    if total(one.words for one in aligned).rate <= WORST_WER:
        return None
    return about_texts(
        [one.utterance.reference for one in aligned], [one.utterance.hypothesis for one in aligned]
    )


def about_texts(references: Sequence[str], hypotheses: Sequence[str]) -> str | None:
    """The same of texts that have not been aligned: of large sets some, spread over them, are looked at."""
    step = max(1, len(references) // _MOST_LOOKED_AT)
    left, right = list(references[::step]), list(hypotheses[::step])
    if not any(left) or not any(right):
        return None
    wer = error_counts(left, right)[0].rate
    if wer <= WORST_WER:
        return None
    for name, what in _WAYS:
        apply = make_normaliser(name).apply
        without = error_counts(list(map(apply, left)), list(map(apply, right)))[0].rate
        if without < _EXPLAINED * wer:
            return (
                f"WER {wer:.1f} % is {without:.1f} % when {what} not count, so texts are written in two "
                f"ways: score with --normaliser {name}; to train on one of them, asr prepare ... --normaliser "
                f"{name} or tokenizer.normaliser: {name}"
            )
    scripts = [_script("".join(texts)) for texts in (left, right)]
    if None not in scripts and scripts[0] != scripts[1]:
        return (
            f"WER {wer:.1f} %: references are in {scripts[0]} letters and hypotheses in {scripts[1]} ones, so "
            "no word can be right: take references in the model's alphabet, or another model"
        )
    return None


def _script(text: str) -> str | None:
    """That of most of its letters, as Latin or Cyrillic; None without letters, or where none has most."""
    names = Counter(unicodedata.name(c, "?").split()[0] for c in text[:100_000] if c.isalpha())
    if not names:
        return None
    name, count = names.most_common(1)[0]
    return name.capitalize() if 2 * count > names.total() else None
