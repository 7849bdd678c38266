"""What `asr check` says of labels from outside: files, how much they cover, what cannot be spelt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.data.spelling import count_lacking, shown_counts
from asr.data.transcripts import training_tokenizer
from asr.errors import UserError
from asr.evaluation.normalisers import make_normaliser
from asr.planning.checks.finding import Finding, note
from asr.pseudo_labels.outside.outside_labels import OutsideLabels, no_label_fits

_NORMALISERS = ("librispeech", "whisper-english")
"""Capitals alone are spelt as they are: labels are tried in either case."""


def check_outside(config: Config, untranscribed: Sequence[SpeechSet]) -> Iterator[Finding]:
    """Of `pseudo_label.teacher: file`; nothing of another teacher."""
    if config.pseudo_label.teacher != "file":
        return
    yield from _hours(config)
    try:
        tokenizer = training_tokenizer(config)
    except UserError:  # said elsewhere
        return
    try:
        labels = OutsideLabels.load(config, tokenizer)
    except UserError as error:
        yield Finding.of(error)
        return
    assert labels is not None
    yield from _coverage(labels, untranscribed)
    yield from _spelling(labels)


def _hours(config: Config) -> Iterator[Finding]:
    policy = config.pseudo_label
    until, start, total = (
        policy.outside.until_hours,
        policy.start_hours or 0.0,
        config.trainer.total_hours,
    )
    if until is not None and until <= start:
        yield Finding(
            f"pseudo_label.outside.until_hours {until:g} is not after the start of pseudo-labelling "
            f"({start:g}): no label from outside is used",
            "raise it, or take teacher ema",
        )
    if until is not None and until >= total:
        yield note(
            f"pseudo_label.outside.until_hours {until:g}: the run ends before the average takes over"
        )
    acts_on_labels = policy.teacher_from_hours is None and policy.health.action != "warn"
    if acts_on_labels and "action" in policy.health.model_fields_set:
        yield note(
            f"pseudo_label.health.action {policy.health.action}: labels from files alone do not feed back on "
            "themselves, so an alarm only says that they look ill; filters drop them one by one"
        )


def _coverage(labels: OutsideLabels, untranscribed: Sequence[SpeechSet]) -> Iterator[Finding]:
    found = [(speech, labels.of(speech).covered(speech)) for speech in untranscribed]
    if found and not any(covered for _, covered in found):
        yield Finding.of(no_label_fits(labels, found[0][0]))
        return
    for speech, covered in found:
        share = covered / max(1, len(speech))
        yield note(
            f"labels from outside: of {covered:,} of {len(speech):,} utterances of '{speech.name}' "
            f"({share:.0%})" + ("" if covered == len(speech) else "; the others are left out")
        )


def _spelling(labels: OutsideLabels) -> Iterator[Finding]:
    texts = {n: one.text for n, one in labels.labels.items() if labels.spell(one.text) is None}
    if not texts:
        return
    first, text = next(iter(texts.items()))
    said = [labels.normaliser.apply(one) for one in texts.values()]
    lacking = min(
        (count_lacking(labels.tokenizer, map(case, said)) for case in (str, str.upper, str.lower)),
        key=Counter.total,
    )
    listed = f": it lacks {shown_counts(lacking)}" if lacking else ""
    finding = Finding(
        f"pseudo_label.outside: {len(texts):,} of {len(labels.labels):,} labels cannot be spelt with the "
        f"tokenizer and are left out, the first of '{first}' ('{text[:80]}'){listed}",
        _what_would_spell(labels, list(texts.values()), lacking),
    )
    yield finding if 2 * len(texts) > len(labels.labels) else note(finding.what, finding.remedy)


def _what_would_spell(labels: OutsideLabels, texts: Sequence[str], lacking: Iterable[str]) -> str:
    """The normaliser under which most of these are spelt, of those that are installed."""
    # Our normalisers would make 'a' of 'ä', and that is no remedy.
    letters = {case for one in lacking if one.isalpha() for case in (one, one.upper(), one.lower())}
    plain = [text for text in texts if letters.isdisjoint(text)]
    spelt = Counter[str]()
    for name in _NORMALISERS:
        with suppress(UserError):  # its package is not installed
            other = replace(labels, normaliser=make_normaliser(name))
            spelt[name] = sum(other.spell(text) is not None for text in plain)
    has = "a tokenizer that has these characters"
    own = "a normaliser of your own (pseudo_label.outside.normaliser: FILE.py:FUNCTION)"
    if not spelt.total():
        return f"take {has}, or {own}"
    [(name, count)] = spelt.most_common(1)
    rest = "" if count == len(texts) else f", and for the others take {has}, or {own}"
    return f"set pseudo_label.outside.normaliser: {name}: it spells {count:,} of them{rest}"
