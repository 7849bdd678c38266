"""A file of audio that is read block by block."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import soundfile
from numpy.typing import NDArray

from asr.data.sound.decoder_notes import folded

RATES_HZ = range(1000, 1_000_001)
"""Of recordings. What a header says beside them is wrong: a second at 1 Hz would be hours at 16 kHz."""


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """soundfile seeks after each block, and decoders of MP3 and Opus are wrong for a while after a seek."""

    def __init__(self, file: Any, *arguments: Any, **options: Any) -> None:
        """As soundfile's, which takes a name that is not UTF-8 as bytes alone."""
        if isinstance(file, (str, Path)) and not os.fsencode(file).isascii():
            file = os.fsencode(file)
        with folded(file):
            super().__init__(file, *arguments, **options)

    def read(self, *arguments: Any, **options: Any) -> NDArray[Any]:
        """As soundfile's."""
        with folded(self.name):
            found: NDArray[Any] = super().read(*arguments, **options)
        return found

    def seekable(self) -> bool:
        return False
