"""What the worst utterances sound like: a player and a spectrogram, inside the page.

Only where the audio that the hypotheses file names can be read from here.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.evaluation.hypotheses import Utterance
from asr.report.plots import INK, figure_of, plain, svg_of
from asr.tracking.shapes import is_number
from asr.utils.text_files import refuse_pipe

_LONGEST_SECONDS = 60.0
_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.01
_RANGE_DECIBELS = 60.0
_CANCELLED = 0.1
"""A mean of channels with less of their peak is of one that is the other one turned over."""
_INCHES_PER_SECOND, _HEIGHT_INCHES = 1.15, 3.1
_WRONG = "#c2513f"


@dataclass(frozen=True)
class Sound:
    """The audio of one utterance."""

    samples: NDArray[np.float32]
    rate_hz: int


class NoSoundError(Exception):
    """Why an utterance's audio is not in the page."""


def read_sound(utterance: Utterance) -> Sound:
    """Its audio. Raises NoSoundError where the line names no file that can be read, or too much to embed."""
    path, begin = utterance.fields.get("audio"), utterance.fields.get("audio_begin", 0.0)
    if not isinstance(path, str) or not is_number(begin):
        raise NoSoundError("the hypotheses file names no audio (decode the set again)")
    if utterance.seconds > _LONGEST_SECONDS:
        raise NoSoundError(f"longer than {_LONGEST_SECONDS:g} s")
    import soundfile

    try:
        refuse_pipe(Path(path))
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            file.seek(round(begin * rate))
            samples_NC = file.read(round(utterance.seconds * rate), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError, OverflowError, ValueError):
        raise NoSoundError("its file cannot be read from here") from None
    if not len(samples_NC) or not np.isfinite(samples_NC).all():
        raise NoSoundError("its file holds no sound there, or no numbers")
    samples_N = samples_NC.mean(axis=1)
    if np.abs(samples_N).max() < _CANCELLED * np.abs(samples_NC).max():
        samples_N = samples_NC[:, 0]  # of a plug that is wired the wrong way, the mean is silence
    # An encoder may give up on what is far beyond full scale.
    return Sound(np.clip(samples_N, -1.0, 1.0), rate)


def player_source(sound: Sound) -> str:
    """A data URI that every browser plays: mp3, or wav where libsndfile cannot write mp3 at this rate."""
    import soundfile

    for kind in ("MP3", "WAV"):
        stream = io.BytesIO()
        try:
            soundfile.write(stream, sound.samples, sound.rate_hz, format=kind)
        except (soundfile.SoundFileError, ValueError):
            continue
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        return f"data:audio/{'mpeg' if kind == 'MP3' else 'wav'};base64,{data}"
    return ""


def spectrogram(
    sound: Sound,
    utterance: Utterance,
    tokens: Sequence[tuple[str, str, str]],
    name: str,
    normalise: Callable[[str], str] = str,
) -> str:
    """An `<svg>`: the spectrogram, under it reference and hypothesis where words have times, each in its place.

    `tokens` are the alignment's (kind, reference word, hypothesis word), under `normalise`; words in error are
    red.
    """
    seconds = len(sound.samples) / sound.rate_hz
    reference, hypothesis = (
        [
            (word, wrong)
            for word, wrong in _marked(words, aligned, normalise)
            if 0 <= word["begin"] < seconds
        ]
        for words, aligned in (
            (utterance.fields.get("reference_words"), [(k, s) for k, s, _ in tokens if s]),
            (utterance.fields.get("words"), [(k, h) for k, _, h in tokens if h]),
        )
    )
    with figure_of(max(4.0, _INCHES_PER_SECOND * seconds), _HEIGHT_INCHES) as figure:
        has_times = bool(reference or hypothesis)
        image, *under = figure.subplots(
            1 + has_times, 1, sharex=True, height_ratios=[3, 1][: 1 + has_times], squeeze=False
        )[:, 0]
        image.imshow(
            _decibels(sound),
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0.0, seconds, 0.0, sound.rate_hz / 2000),
            vmin=-_RANGE_DECIBELS,
            vmax=0.0,
        )
        image.set_ylabel("kHz")
        image.tick_params(labelbottom=not has_times)
        for rows in under:
            rows.set(xlim=(0.0, seconds), ylim=(0.0, 2.0))
            rows.set_yticks([1.5, 0.5], ["reference", "hypothesis"])
            rows.tick_params(axis="y", length=0)
            rows.patch.set_visible(False)
            rows.spines[["top", "right"]].set_visible(False)
            for height, words in ((1.5, reference), (0.5, hypothesis)):
                for number, (word, is_wrong) in enumerate(words):
                    # By turns higher and lower: short words would run into each other.
                    place = height + (0.2 if number % 2 else -0.2)
                    _write(rows, word, place, _WRONG if is_wrong else INK)
        (under or [image])[-1].set_xlabel("seconds")
        title = f"Spectrogram of {utterance.id}"
        return svg_of(figure, name, title, _in_words(reference, hypothesis))


def _write(axes: Any, word: Mapping[str, Any], height: float, colour: str) -> None:
    middle = min((word["begin"] + word["end"]) / 2, axes.get_xlim()[1])
    axes.plot([word["begin"]] * 2, [height - 0.2, height + 0.2], color=colour, linewidth=0.8)
    axes.text(
        middle, height, plain(word["text"]), ha="center", va="center", fontsize=9, color=colour
    )


def _decibels(sound: Sound) -> NDArray[np.float32]:
    """Power (F, T) below the loudest cell, in decibels."""
    window, hop = (
        max(1, round(seconds * sound.rate_hz)) for seconds in (_WINDOW_SECONDS, _HOP_SECONDS)
    )
    samples = np.pad(sound.samples, (0, max(0, window - len(sound.samples))))
    frames_TN = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    power_TF = np.abs(np.fft.rfft(frames_TN * np.hanning(window), axis=1)) ** 2
    loudest = max(float(power_TF.max()), 1e-12)
    decibels: NDArray[np.float32] = 10 * np.log10(np.maximum(power_TF / loudest, 1e-12)).T
    return decibels


def _marked(
    words: Any, aligned: Sequence[tuple[str, str]], normalise: Callable[[str], str]
) -> list[tuple[Mapping[str, Any], bool]]:
    """Timed words, each with whether it is an error; unknown, and so not marked, where texts differ.

    A timed word is what was written: it may be none of the words that are compared, or several.
    """
    if not isinstance(words, list):
        return []
    timed = [word for word in words if _is_timed(word)]
    parts = [normalise(word["text"]).split() for word in timed]
    same = [part for own in parts for part in own] == [text for _, text in aligned]
    kinds = iter([kind for kind, _ in aligned] if same else [])
    marks = [sum(next(kinds, "equal") != "equal" for _ in own) > 0 for own in parts]
    return list(zip(timed, marks, strict=True))


def _is_timed(word: Any) -> bool:
    return (
        isinstance(word, dict)
        and isinstance(word.get("text"), str)
        and is_number(word.get("begin"))
        and is_number(word.get("end"))
    )


def _in_words(*rows: Sequence[tuple[Mapping[str, Any], bool]]) -> str:
    """For a screen reader."""
    return ". ".join(
        f"{name}: " + ", ".join(f"{w['text']} at {w['begin']:.1f} s" for w, _ in row)
        for name, row in zip(("Said", "Heard"), rows, strict=True)
        if row
    )
