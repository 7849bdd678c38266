"""A file of audio that is read block by block."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import soundfile


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """soundfile seeks after each block, and decoders of MP3 and Opus are wrong for a while after a seek."""

    def __init__(self, file: Any, *arguments: Any, **options: Any) -> None:
        """As soundfile's, which takes a name that is not UTF-8 as bytes alone."""
        if isinstance(file, (str, Path)) and not os.fsencode(file).isascii():
            file = os.fsencode(file)
        super().__init__(file, *arguments, **options)

    def seekable(self) -> bool:
        return False
