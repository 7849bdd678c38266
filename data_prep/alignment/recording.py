"""One recording and its transcript -> labelled pieces, the rest of the speech, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.model.frame_readers.letters import heard
from asr.model.frame_readers.reader import FrameReader, load_frame_reader
from asr.model.model_folder import choose_device

from ..segmentation.recording import Cutter, Parts
from ..segmentation.utterances import utterances
from ..segmentation.voice_activity import FRAME, Activity
from ..text.rules import TextRules
from ..validate import SAMPLE_RATE_HZ, check_text
from .alphabet import Alphabet
from .anchors import find_anchors, greedy_letters
from .forced import align
from .frames import Frames, read_frames
from .pieces import NOT_IN_TEXT, NOT_SPELT, Choice, Piece, Stretch
from .script import Script, make_script
from .transcripts import Line, read_transcript

EMPTY, OTHER, UNREADABLE = "empty_transcript", "other_transcript", "unreadable_transcript"
"""Why a whole transcript is of no use; its audio is untranscribed."""
_LEAST_LEFT = 0.5
"""Of the least length: less speech beside a labelled piece is the end of a word."""
_SHOWN_CHARACTERS = 12


@dataclass(frozen=True)
class ModelChoice:
    """Which model, as the command line says it."""

    name: str
    weights: Literal["teacher", "student"] = "teacher"
    best: bool = False

    def load(self) -> FrameReader:
        """Raises UserError for what is no CTC model."""
        return load_frame_reader(self.name, self.weights, choose_device(), self.best)


@lru_cache(maxsize=1)
def _alphabet(model: ModelChoice) -> Alphabet:
    """One a worker."""
    return Alphabet(model.load())


@dataclass(frozen=True)
class Aligner(Cutter):
    """What is the same for all recordings that have a transcript."""

    model: ModelChoice
    transcript: Path
    rules: TextRules
    sets: tuple[str, str]
    """Of what is labelled, and of the rest."""
    folder: Path
    """For what is too large for memory."""
    aligned: Callable[[float], None]
    """Is told seconds of audio as they are done."""

    def parts(self, path: Path, activity: Activity) -> Parts:
        """Labelled pieces and the rest of the speech, in order."""
        seconds = activity.samples / SAMPLE_RATE_HZ
        try:
            lines, _ = read_transcript(self.transcript)
            script = self._script(lines)
        except UserError as error:
            return self._unused(activity, UNREADABLE, f"{error.what} ({error.remedy})")
        if not script.words:
            return self._unused(activity, EMPTY, f"{self.transcript}: nothing is said in it")
        alphabet = _alphabet(self.model)
        frames = read_frames(path, alphabet, self.folder, self.aligned)
        spelt = [self._spelt(alphabet, script.word(n)) for n in range(len(script.words))]
        if not any(spelt):
            lacking = _foreign(script, alphabet)
            return self._unused(
                activity, NOT_SPELT, f"{self.transcript}: the model has no {lacking}"
            )
        best = greedy_letters(frames.log_posteriors_SK, alphabet.letters)
        words = ["".join(alphabet.letters[one] for one in tokens or ()) for tokens in spelt]
        anchors = find_anchors(best, words)
        if anchors.is_other:
            what = (
                f"{self.transcript}: {anchors.alike_share:.1%} of its letters are heard in runs of eight; "
                "a transcript of something else, or a model that cannot read this speech"
            )
            return self._unused(activity, OTHER, what)
        placement = align(frames, spelt, anchors)
        choice = Choice(placement, spelt, anchors, activity, self.limits, frames.frame_seconds)
        pieces = [one for one in choice.pieces() if one.begin < seconds]
        stretches = choice.left_out(pieces)
        left_out = list(_rows(stretches, script, best.letters, best.frames, frames))
        return self._joined(pieces, script, activity, frames, left_out)

    def _script(self, lines: Sequence[Line]) -> Script:
        apply = None if self.rules.is_idle else self.rules.made()[1]
        return make_script(lines, apply)

    def _spelt(self, alphabet: Alphabet, word: str) -> list[int] | None:
        fault = check_text(word, self.rules.characters) if self.rules.characters else None
        return None if fault is not None else alphabet.spelt(word)

    def _unused(self, activity: Activity, reason: str, detail: str) -> Parts:
        """All of the speech is untranscribed."""
        spans = utterances(activity, self.limits)
        row = [0.0, round(activity.samples / SAMPLE_RATE_HZ, 2), reason, 0, detail]
        return Parts(spans, [[self.sets[1], None, None, None]] * len(spans), [row])

    def _joined(
        self,
        pieces: Sequence[Piece],
        script: Script,
        activity: Activity,
        frames: Frames,
        left_out: list[list[Any]],
    ) -> Parts:
        found: list[tuple[tuple[int, int], list[Any]]] = []
        taken = list[tuple[int, int]]()
        for piece in pieces:
            first = round(piece.begin * SAMPLE_RATE_HZ)
            last = min(round(piece.end * SAMPLE_RATE_HZ), activity.samples)
            text, written = script.cut(piece.first, piece.last)
            own = None if self.rules.is_idle else written
            found.append(
                ((first, last - first), [self.sets[0], text, own, round(piece.confidence, 4)])
            )
            taken.append((first, last))
        for span in self._rest(taken, activity):
            sure = _confidence(frames, span[0] / SAMPLE_RATE_HZ, sum(span) / SAMPLE_RATE_HZ)
            found.append((span, [self.sets[1], None, None, sure]))
        found.sort(key=lambda one: one[0])
        return Parts([span for span, _ in found], [said for _, said in found], left_out)

    def _rest(
        self, taken: Sequence[tuple[int, int]], activity: Activity
    ) -> Iterator[tuple[int, int]]:
        """Speech in none of the spans (begin, end) in samples, as utterances."""
        least = _LEAST_LEFT * self.limits.min_seconds * SAMPLE_RATE_HZ / FRAME
        at = 0
        for begin, end in [*taken, (activity.samples, activity.samples)]:
            first, last = -(-at // FRAME), begin // FRAME
            is_end = begin == activity.samples
            samples = (begin if is_end else last * FRAME) - first * FRAME
            if samples > 0:
                own = slice(first, last + 1 if is_end else last)
                part = Activity(activity.speech_W[own], activity.energies_W[own], samples)
                for start, count in utterances(part, self.limits):
                    inside_W = part.speech_W[start // FRAME : -(-(start + count) // FRAME)]
                    if (inside_W >= 0.5).sum() >= least:
                        yield first * FRAME + start, count
            at = end


def _confidence(frames: Frames, begin: float, end: float) -> float:
    """Of the model's own best path: its probability, to the power of one over its tokens."""
    own = slice(int(begin / frames.frame_seconds), int(end / frames.frame_seconds))
    log_SK = np.asarray(frames.log_posteriors_SK[own], np.float32)
    if not len(log_SK):
        return 0.0
    path_S = log_SK.argmax(axis=1)
    tokens = int(((path_S != 0) & (path_S != np.append(0, path_S[:-1]))).sum())
    return round(math.exp(float(log_SK.max(axis=1).sum()) / max(1, tokens)), 4)


def _foreign(script: Script, alphabet: Alphabet) -> str:
    """The first characters that a model cannot spell."""
    found = dict.fromkeys(
        character for character in script.text if heard(character) and not alphabet.spelt(character)
    )
    shown = " ".join(map(repr, list(found)[:_SHOWN_CHARACTERS]))
    return shown + (
        f" and {len(found) - _SHOWN_CHARACTERS} others" if len(found) > _SHOWN_CHARACTERS else ""
    )


def _rows(
    stretches: Iterator[Stretch],
    script: Script,
    letters: str,
    places: NDArray[np.int64],
    frames: Frames,
) -> Iterator[list[Any]]:
    """Begin, end, reason, words, and which: of audio that is not in the text, the letters that were heard."""
    for one in stretches:
        if one.reason == NOT_IN_TEXT:
            first, last = (
                int(np.searchsorted(places, round(at / frames.frame_seconds)))
                for at in (one.begin, one.end)
            )
            words, text = 0, letters[first:last]
        else:
            words = one.last - one.first + 1
            text = " ".join(
                script.text[script.words[one.first][0] : script.words[one.last][1]].split()
            )
        yield [round(one.begin, 2), round(one.end, 2), one.reason, words, text]
