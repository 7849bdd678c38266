"""What a recipe's `corpus.store:` can say: audio that stays in an object store, and its cache here."""

from __future__ import annotations

from asr.config.fields import Count, NonNegative, Positive, Section


class StoreConfig(Section):
    """Addresses are no part of it: the file recording.url in NAME.shar has one. Nor are credentials."""

    cache_directory: str | None = None
    """Folder on a local disk for what was read, which runs share and a restart finds again. None: audio in
    $XDG_CACHE_HOME/asr, or in ~/.cache/asr."""
    cache_gigabytes: Positive = 20.0
    """Most that the cache takes (1 GB is 10^9 bytes); what was not heard for longest is given up for more."""
    updates_ahead: Count = 16
    """Audio of so many updates is brought before it is due, but no more than a quarter of the cache."""
    connections: Count = 16
    """Utterances that each process of a training asks for at a time."""
    timeout_seconds: Positive = 30.0
    """How long an answer is waited for."""
    patience_seconds: NonNegative = 300.0
    """A store that does not answer, is busy or has a fault is asked again for so long; then the run ends, with
    a checkpoint."""
