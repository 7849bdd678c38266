"""`asr prepare align`: a folder of long recordings with rough transcripts -> a labelled set, and the rest."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from asr.errors import UserError
from asr.model.model_folder import choose_device
from asr.utils.files import replacing
from asr.utils.hashes import file_sha256

from ..contents import opened_contents
from ..corpora.folder import check_folder
from ..corpora.formats.listing import CORPUS, claim, set_names
from ..journal import Outcome
from ..manifests import Listing, Reject, Utterance, encodable
from ..pipeline import Settings, prepare
from ..segmentation.prepare import (
    cut_in_parallel,
    list_recordings,
    say_what_is_left_out,
    tell_seconds,
)
from ..segmentation.recording import Cutter
from ..segmentation.utterances import Limits
from ..segmentation.voice_activity import chosen
from ..text.rules import TextRules
from .pieces import NOT_HEARD, NOT_IN_TEXT, NOT_SPELT, POOR, SHORT
from .recording import EMPTY, OTHER, UNREADABLE, Aligner, ModelChoice
from .transcripts import EXTENSIONS, find_transcript, read_transcript

_TRANSCRIPT = "transcript"
"""Field of a recording's custom ones."""
_COLUMNS = ("recording", "begin", "end", "reason", "words", "text")
_WHOLE = (EMPTY, OTHER, UNREADABLE)
_MEANING = {
    NOT_HEARD: "words of the text of which nothing is heard",
    POOR: "words that the model does not hear",
    NOT_SPELT: "words with characters that the model cannot spell",
    SHORT: "words that are heard, in pieces below --min-seconds",
    NOT_IN_TEXT: "audio of which the text says nothing",
    EMPTY: "transcripts without a word",
    OTHER: "transcripts of something else",
    UNREADABLE: "transcripts that cannot be read",
}


def prepare_aligned(
    root: Path,
    settings: Settings,
    limits: Limits,
    model: ModelChoice,
    vad: str | None = None,
    set_name: str | None = None,
) -> None:
    """Align every recording under `root` with the text beside it; nothing is copied.

    What aligns well goes to `labelled` (or `set_name`), the rest of the speech to `untranscribed` (or
    `set_name`-untranscribed), and what is left out of the text to OUT/SET.left_out.tsv with its reason. Raises
    UserError for what `asr prepare segment` does, a model that is none of CTC, and a folder without
    transcripts.
    """
    check_folder(root, settings.output)
    sets = set_names(set_name)
    limits.check()
    detector = chosen(vad)
    settings.text.made()  # raises for what there is not
    stamp = dict(model.load().stamp)
    print(f"aligning with {model.name}; voice activity by {detector}")
    listing = _list(root, settings.output, sets)
    options = {
        "root": os.path.abspath(root),
        "sets": list(sets),
        "cut_by": detector,
        "aligned_by": stamp,
        **asdict(limits),
    }
    with opened_contents(settings.output, CORPUS) as there:
        claim(there, sets, root, sets)
    work = _Work(limits, detector, model, settings.text, sets, settings.output)
    # A GPU is shared by no more than one.
    jobs = settings.jobs if choose_device().type == "cpu" else 1
    table = settings.output / f"{sets[0]}.left_out.tsv"
    try:
        kept = prepare(
            CORPUS,
            sets,
            options,
            listing,
            replace(settings, jobs=jobs),
            cut=partial(cut_in_parallel, cutter=work, doing="aligning"),
            noted=partial(_write_table, table),
        )
    finally:
        for name in sets:
            say_what_is_left_out(settings.output, name)
    if kept:
        _say(table, sum(len((one.utterance.text or "").split()) for one in kept))


def _list(root: Path, output: Path, sets: tuple[str, str]) -> Listing:
    """Recordings with the transcripts beside them; those without are cut where speech is."""
    found = list_recordings(root, output, sets[1]).utterances
    listed = list[Utterance]()
    for one in found:
        path = find_transcript(one.path)
        if path is None:
            listed.append(one)
            continue
        custom = {_TRANSCRIPT: os.path.abspath(path), "sha256": _sha256(path)}
        listed.append(replace(one, set=sets[0], custom=custom))
        try:
            note = read_transcript(path)[1]
        except UserError:
            continue  # said of the recording
        if note:
            print(f"note: {path}: {note}")
    transcribed = sum(one.set == sets[0] for one in listed)
    if not transcribed:
        shown = ", ".join(f"{found[0].path.stem}.{kind}" for kind in EXTENSIONS)
        raise UserError(
            f"--root {root}: no transcript beside any of {len(found)} recordings",
            f"put one beside each, as in {shown}; or cut them without: asr prepare segment --root {root}",
        )
    if transcribed < len(listed):
        print(f"note: {len(listed) - transcribed} of {len(listed)} recordings have no transcript")
    return Listing(listed)


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


@dataclass(frozen=True)
class _Work:
    """What a worker is sent."""

    limits: Limits
    vad: str
    model: ModelChoice
    rules: TextRules
    sets: tuple[str, str]
    output: Path

    def __call__(self, one: Utterance) -> Outcome:
        if _TRANSCRIPT not in one.custom:
            return Cutter(self.limits, self.vad, tell_seconds)(one.path)
        return Aligner(
            self.limits,
            self.vad,
            lambda seconds: None,
            self.model,
            Path(one.custom[_TRANSCRIPT]),
            self.rules,
            self.sets,
            self.output,
            tell_seconds,
        )(one.path)


def _write_table(path: Path, seen: list[tuple[Utterance, Outcome]]) -> list[Reject]:
    """What is left out of texts, and of audio that texts do not say; of whole transcripts a reject each."""
    rejects = list[Reject]()
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar="\\"
    )
    writer.writerow(_COLUMNS)
    for one, outcome in seen:
        for begin, end, reason, words, what in outcome.left_out or ():
            writer.writerow([one.id, f"{begin:.2f}", f"{end:.2f}", reason, words, what])
            if reason in _WHOLE or (reason == NOT_SPELT and not words):
                rejects.append(Reject(one.id, str(one.path), one.set, reason, what))
    with replacing(path) as file:
        file.write(encodable(text.getvalue()).encode())
    return rejects


def _say(table: Path, labelled: int) -> None:
    """Words and minutes by reason."""
    counts, words, seconds = Counter[str](), Counter[str](), defaultdict[str, float](float)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            reason = row["reason"]
            counts[reason] += 1
            words[reason] += int(row["words"])
            seconds[reason] += float(row["end"]) - float(row["begin"])
    total = labelled + sum(words.values())
    print(
        f"{labelled:,} of {total:,} words of the transcripts are labelled; see {table} for the rest:"
    )
    for reason, count in counts.most_common():
        what = f"{words[reason]:,} words" if words[reason] else f"{seconds[reason]:.0f} s"
        print(f"  {reason}: {what} in {count:,} places: {_MEANING[reason]}")
