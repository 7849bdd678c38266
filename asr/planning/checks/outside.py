"""What `asr check` says of labels from outside: files, how much they cover, what cannot be spelt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.data.transcripts import training_tokenizer
from asr.errors import UserError
from asr.planning.checks.finding import Finding, note
from asr.pseudo_labels.outside.outside_labels import OutsideLabels, no_label_fits


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
    unspelt = [one for one in labels.labels.values() if labels.spell(one.text) is None]
    if not unspelt:
        return
    finding = Finding(
        f"pseudo_label.outside: {len(unspelt):,} of {len(labels.labels):,} labels cannot be spelt with the "
        f"tokenizer and are left out, the first of '{unspelt[0].id}': '{unspelt[0].text[:80]}'",
        "pseudo_label.outside.normaliser takes punctuation away (librispeech), or spells numbers out "
        "(whisper-english, or FILE.py:FUNCTION of your own)",
    )
    yield finding if 2 * len(unspelt) > len(labels.labels) else note(finding.what, finding.remedy)
