"""A file of audio that is read block by block."""

from __future__ import annotations

import soundfile


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """soundfile seeks after each block, and decoders of MP3 and Opus are wrong for a while after a seek."""

    def seekable(self) -> bool:
        return False
