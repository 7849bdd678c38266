"""Command line of `asr prepare segment`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from asr.utils.options import finite

from ..pipeline import Settings

if TYPE_CHECKING:
    from .utterances import Limits

VOICE_ACTIVITY = ("silero", "energy")
"""What finds speech."""

_SEGMENT = """\
Cut recordings of any length, hours too, into utterances where speech is.

Nothing is copied or converted: the cuts refer to the files as they are, of any rate and number of
channels, and training reads its part of them. Speech is found by Silero's network where the package
silero-vad is installed (pip install 'asr-ema[vad]'), else by energy, which takes music for speech.
Labels come from `asr label`, or from a run's teacher.

  asr prepare segment --root podcasts --output data/mine"""

Add = Callable[[str, str, str], argparse.ArgumentParser]


def add_segment(command: Add, add_common: Callable[..., None]) -> None:
    """Its parser."""
    parser = command("segment", "long recordings, cut where speech is", _SEGMENT)
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the recordings")
    parser.add_argument(
        "--set-name", default="untranscribed", metavar="NAME", help="default %(default)s"
    )
    add_limits(parser)
    add_common(parser, None, has_texts=False)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """What finds speech, and how long utterances are."""
    parser.add_argument(
        "--vad",
        choices=VOICE_ACTIVITY,
        help="what finds speech (default: silero where it is installed)",
    )
    defaults = {
        "min": (1.0, "least length of an utterance"),
        "max": (20.0, "most; longer speech is cut where it is quietest"),
        "pause": (0.5, "speech with a shorter pause goes on"),
        "pad": (0.2, "audio before and after speech"),
    }
    for name, (seconds, text) in defaults.items():
        parser.add_argument(
            f"--{name}-seconds",
            type=finite,
            default=seconds,
            metavar="S",
            help=f"{text} (default %(default)g)",
        )


def limits_of(arguments: argparse.Namespace) -> Limits:
    """As they are given."""
    from .utterances import Limits  # imports torch

    names = ("min_seconds", "max_seconds", "pause_seconds", "pad_seconds")
    return Limits(**{name: getattr(arguments, name) for name in names})


def serve_segment(arguments: argparse.Namespace, settings: Settings) -> None:
    """`asr prepare segment`."""
    from .prepare import prepare_segments  # imports torch

    limits = limits_of(arguments)
    prepare_segments(arguments.root, settings, limits, arguments.vad, arguments.set_name)
