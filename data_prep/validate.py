"""What makes a recording or a transcript unfit for training. Pure functions; nothing is written.

A header is not believed: the whole file is decoded once, block by block, because a bad recording
found here costs a line in rejects.jsonl, and one found in training costs the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.data.sequential import RATES_HZ, SequentialFile
from asr.data.sound.lengths import LengthFault, decoded_otherwise, is_unknown, stated_in

SAMPLE_RATE_HZ = 16_000
"""Rate of everything that training reads."""

_BLOCK_SAMPLES = 1 << 16
# Containers that Lhotse reads in the same way wherever it runs.
_PLAIN_FORMATS = {"WAV", "WAVEX", "FLAC"}
_NO_TEXT = re.compile("[\0-\x08\x0e-\x1b\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Fault:
    """Why something is left out: a short code for counting, and a sentence for the user."""

    reason: str
    detail: str


@dataclass(frozen=True)
class AudioCheck:
    """What decoding a file found; `fault` is None for a sound recording.

    `samples` counts per channel, at the file's own rate.
    """

    sample_rate_hz: int = 0
    channels: int = 0
    samples: int = 0
    peak: float = 0.0
    container: str = ""
    fault: Fault | None = None

    @property
    def needs_conversion(self) -> bool:
        """Whether training could not read it as it is: rate, channels, container, beyond full scale."""
        return (
            self.sample_rate_hz != SAMPLE_RATE_HZ
            or self.channels != 1
            or self.container not in _PLAIN_FORMATS
            or self.peak > 1.0
        )


def check_audio(path: Path) -> AudioCheck:
    """Decode a whole file and say what is wrong with it.

    Reasons: missing_audio, unreadable, empty, truncated, longer_than_stated, odd_rate, non_finite. Raises
    nothing for a bad file.
    """
    decoding = Decoding(path)
    for _ in decoding.blocks():
        pass
    return decoding.check


@dataclass
class Decoding:
    """A file as it is decoded, once; raises nothing for a bad one."""

    path: Path
    check: AudioCheck = AudioCheck()
    """Whole after the last block; rate, channels and container from the first one on."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Samples (N, channels) at the file's own rate."""
        try:
            if self.path.stat().st_size == 0:
                self.check = _faulty("empty", "the file has no bytes")
                return
            stated = stated_in(self.path)
            with SequentialFile(self.path) as file:
                self.check = AudioCheck(file.samplerate, file.channels, container=file.format)
                if file.samplerate not in RATES_HZ:
                    detail = (
                        f"the header says {file.samplerate} Hz: write the true rate, or convert it"
                    )
                    self.check = _faulty("odd_rate", detail)
                    return
                yield from self._decode(file, stated)
        except (FileNotFoundError, ValueError):  # the latter of what is no path
            self.check = _faulty("missing_audio", "no such file")
        except (OSError, soundfile.SoundFileError) as error:
            self.check = _faulty("unreadable", _one_line(error))

    def _decode(
        self, file: soundfile.SoundFile, stated: LengthFault | None
    ) -> Iterator[NDArray[np.float32]]:
        decoded, peak, fault, failure = 0, 0.0, None, None
        try:
            while len(block := file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                if fault is None and not np.isfinite(block).all():
                    first = int(np.argmin(np.isfinite(block).all(axis=1)))
                    seconds = (decoded + first) / file.samplerate
                    fault = Fault("non_finite", f"NaN or infinite samples from {seconds:.3f} s on")
                decoded, peak = decoded + len(block), max(peak, float(np.abs(block).max()))
                yield block
        except soundfile.SoundFileError as error:
            # libsndfile has no word for a stream that stops early: the decoder merely fails.
            failure = _decoding_fault(file, _one_line(error))
        fault = failure or _length_fault(file, decoded, stated) or fault
        self.check = replace(self.check, samples=decoded, peak=peak, fault=fault)


def check_text(text: str, characters: str | None) -> Fault | None:
    """Fault of a transcript: empty_text, or text_characters (not of `characters`; the space is).

    With `characters` None every character is allowed that is one: no control, no half of a surrogate pair.
    """
    if not text.strip():
        return Fault("empty_text", "the transcript is empty")
    none = sorted(set(_NO_TEXT.findall(text)))
    if none:
        shown = ", ".join(f"U+{ord(one):04X}" for one in none[:10])
        return Fault("text_characters", f"no characters of a text: {shown}; take them out")
    foreign = sorted(set(text) - set(characters) - {" "}) if characters is not None else []
    if not foreign:
        return None
    shown = " ".join(f"{character!r}" for character in foreign[:10])
    return Fault("text_characters", f"not among the allowed characters: {shown}")


def check_id(utterance_id: str) -> Fault | None:
    """Fault of an id that could not stand in a table or name a file: id_characters."""
    usable = utterance_id and utterance_id.isprintable() and utterance_id == utterance_id.strip()
    if usable and not utterance_id.startswith("/") and ".." not in utterance_id.split("/"):
        return None
    return Fault("id_characters", "an id has no tabs, line ends, outer spaces or '..'; rename it")


def _decoding_fault(file: soundfile.SoundFile, message: str) -> Fault:
    if is_unknown(file.frames):
        return Fault("unreadable", "the header does not state the length; encode the file again")
    detail = f"decoding failed before the end of the {file.frames} promised samples"
    return Fault("truncated", f"{detail} ({message})" if message else detail)


def _length_fault(
    file: soundfile.SoundFile, decoded: int, stated: LengthFault | None
) -> Fault | None:
    otherwise = stated or decoded_otherwise(file.format, file.frames, decoded)
    if otherwise is not None:
        return Fault(*otherwise)
    return Fault("empty", "the file holds no samples") if decoded == 0 else None


def _faulty(reason: str, detail: str) -> AudioCheck:
    return AudioCheck(fault=Fault(reason, detail))


def _one_line(error: Exception) -> str:
    # libsndfile's own words, without the path that the reject names already.
    text = getattr(error, "error_string", None) or str(error)
    return " ".join(text.split())
