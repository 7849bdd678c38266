"""Words with times, and the formats in which people want them: text, JSON, SRT, VTT, CTM."""

from __future__ import annotations

import json
from collections.abc import Callable

from asr.decoding.captions.cues import cues_of, lines_of
from asr.decoding.words import Transcription


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
        f"{number}\n{_clock(begin, ',')} --> {_clock(end, ',')}\n{_in_lines(text)}\n"
        for number, (begin, end, text) in enumerate(cues_of(transcription), start=1)
    ]
    return "\n".join(cues)


def as_vtt(transcription: Transcription) -> str:
    """WebVTT."""
    cues = [
        f"{_clock(begin, '.')} --> {_clock(end, '.')}\n{_escaped(_in_lines(text))}\n"
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


def _in_lines(text: str) -> str:
    return "\n".join(lines_of(text))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
