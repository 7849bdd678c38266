"""An object store that stays away ends a run where it can go on: between two updates, saved, on all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from asr.data.dataloader import RankBatch, TrainingData
from asr.data.dataset import SpeechSet
from asr.distributed.agreement import fail_together
from asr.distributed.process_group import Ranks
from asr.errors import StoreAwayError, UserError
from asr.utils.signals import StopRequest


class StoreGuard:
    """Waits with all ranks for the audio of an update."""

    def __init__(
        self, data: TrainingData, ranks: Ranks, stop: StopRequest, save: Callable[[], None]
    ) -> None:
        """`save` writes a checkpoint, and raises what goes wrong with it."""
        self._data, self._ranks, self._stop, self._save = data, ranks, stop, save
        data.store.is_stopped = lambda: bool(stop.number)

    def next_of(self, batches: Iterator[RankBatch]) -> RankBatch | None:
        """The next batch; None where a signal came while it was waited for. A collective.

        Raises StoreAwayError on all ranks, saved, where one of them does not get its audio.
        """
        if not self._data.store.is_needed:
            return next(batches)
        batch = away = None
        try:
            batch = next(batches)
        except StoreAwayError as error:
            away = error
        missing, signals = self._ranks.sum([float(away is not None), float(self._stop.number)])
        if not missing:
            return batch
        if not signals:
            self._save()
            _end_together(self._ranks, away)
        return None


def bring_together(speech: SpeechSet, places: list[int], ranks: Ranks) -> None:
    """Each rank's utterances of a set. A collective. Raises StoreAwayError on all ranks where one fails."""
    if not speech.is_in_store:
        return
    away = None
    try:
        speech.bring(places)
    except StoreAwayError as error:
        away = error
    if ranks.sum([float(away is not None)])[0]:
        _end_together(ranks, away)


def _end_together(ranks: Ranks, away: StoreAwayError | None) -> None:
    """A collective. One message for all ranks, of the first that has something to say."""
    said = UserError(away.what, away.remedy) if away else None
    try:
        fail_together(ranks, said)
    except UserError as error:
        raise StoreAwayError(error.what, error.remedy).of_all(ranks.is_first) from None
