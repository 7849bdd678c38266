"""Words with times, and the formats in which people want them: text, JSON, SRT, VTT, CTM."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from asr.decoding.words import PAUSE_SECONDS, Cue, Transcription, Word, joined_text

_CUE_SECONDS = 7.0
_CUE_CHARACTERS = 84  # two lines of 42, as broadcasters have it
_SHORTEST_CUE_SECONDS = 0.5


def as_text(transcription: Transcription) -> str:
    """The words alone."""
    return transcription.text + "\n"


def as_json(transcription: Transcription) -> str:
    """One object on one line, with the times and confidences of the words."""
    record = {
        "file": transcription.file,
        "text": transcription.text,
        "confidence": round(transcription.confidence, 4),
        "seconds": transcription.seconds,
        "words": [
            {k: round(v, 4) if isinstance(v, float) else v for k, v in word.to_record().items()}
            for word in transcription.words
        ],
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def as_srt(transcription: Transcription) -> str:
    """SubRip."""
    cues = [
        f"{number}\n{_clock(begin, ',')} --> {_clock(end, ',')}\n{text}\n"
        for number, (begin, end, text) in enumerate(cues_of(transcription), start=1)
    ]
    return "\n".join(cues)


def as_vtt(transcription: Transcription) -> str:
    """WebVTT."""
    cues = [
        f"{_clock(begin, '.')} --> {_clock(end, '.')}\n{text.replace('&', '&amp;').replace('<', '&lt;')}\n"
        for begin, end, text in cues_of(transcription)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_ctm(transcription: Transcription) -> str:
    """NIST's time-marked words: file, channel, begin, duration, word, confidence."""
    name = ctm_name(transcription.file)
    return "".join(
        f"{name} 1 {w.begin:.2f} {w.end - w.begin:.2f} {w.text} {w.confidence:.3f}\n"
        for w in transcription.words
    )


def ctm_name(file: str) -> str:
    """What a ctm calls a recording: the file's name, without white space."""
    return "_".join(file.rsplit("/", 1)[-1].rsplit(".", 1)[0].split()) or "-"


FORMATS: dict[str, Callable[[Transcription], str]] = {
    "txt": as_text,
    "json": as_json,
    "srt": as_srt,
    "vtt": as_vtt,
    "ctm": as_ctm,
}
TIMED = tuple(name for name in FORMATS if name != "txt")
"""Those that say when words are spoken."""


def cues_of(transcription: Transcription) -> list[Cue]:
    """Words until a pause, or until a cue is long enough to be read; each is shown long enough to be seen.

    Where there are no spaces, a cue ends between any two letters.
    """
    cues: list[list[Word]] = []
    for word in transcription.words:
        if not cues or not _goes_on(cues[-1], word):
            cues.append([])
        cues[-1].append(word)
    found: list[Cue] = []
    for number, cue in enumerate(cues):
        begin, end = cue[0].begin, cue[-1].end
        if end - begin < _SHORTEST_CUE_SECONDS:
            # Later first, up to the next cue or the end of the recording; what is lacking then, earlier.
            after = cues[number + 1][0].begin if number + 1 < len(cues) else transcription.seconds
            end = max(end, min(begin + _SHORTEST_CUE_SECONDS, after))
            before = found[-1].end if found else 0.0
            begin = min(begin, max(end - _SHORTEST_CUE_SECONDS, before))
        found.append(Cue(begin, end, joined_text(cue)))
    return found


def _goes_on(cue: Sequence[Word], word: Word) -> bool:
    return (
        word.begin - cue[-1].end <= PAUSE_SECONDS
        and word.end - cue[0].begin <= _CUE_SECONDS
        and len(joined_text([*cue, word])) <= _CUE_CHARACTERS
    )


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
