"""A file of audio that is read block by block."""

from __future__ import annotations

import soundfile

RATES_HZ = range(1000, 1_000_001)
"""Of recordings. What a header says beside them is wrong: a second at 1 Hz would be hours at 16 kHz."""


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """soundfile seeks after each block, and decoders of MP3 and Opus are wrong for a while after a seek."""

    def seekable(self) -> bool:
        return False
