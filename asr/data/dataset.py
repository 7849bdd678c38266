"""Prepared utterances: Lhotse cuts with what is known of their text, and their audio.

Shape suffixes: N utterances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from lhotse import MonoCut
from numpy.typing import NDArray

from asr.config.schema import Config
from asr.config.store import StoreConfig
from asr.data.manifest.admission import FILES, FILES_AND_TARS, admit
from asr.data.manifest.index import MANIFEST_SUFFIX, ManifestIndex, open_index
from asr.data.manifest.rows import key_of, text_of
from asr.data.manifest.shar import SHAR_SUFFIX, is_in_store, remote_part, with_audio
from asr.data.segments import Kind
from asr.data.store.bringing import Part
from asr.data.store.fetcher import bring_all
from asr.errors import UserError
from asr.utils.faults import first_line
from asr.utils.files import read_json
from asr.utils.text_files import read_pairs

T = TypeVar("T")
_STORE = StoreConfig()
_MOST_UNKNOWN = 0.5
"""Share of references kept aside that may be of utterances that are not (any more) in a set."""


class _ByPlace(Sequence[T]):
    """What a function gives for each place of a set, when it is asked for."""

    def __init__(self, places: Sequence[int], get: Callable[[int], T]) -> None:
        self._places, self._get = places, get

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> _ByPlace[T]: ...
    def __getitem__(self, place: int | slice) -> T | _ByPlace[T]:
        if isinstance(place, slice):
            return _ByPlace(self._places[place], self._get)
        return self._get(self._places[place])


@dataclass
class SpeechSet:
    """Prepared utterances, and what is known of their text. Of the manifests nothing is held but an index.

    Those of a set come in the order of their ids, sets one after the other.
    """

    name: str
    manifests: list[ManifestIndex]
    reference_overrides: list[dict[str, str]]
    """Of each manifest, references by id that are kept beside it and win over its own text."""
    manifest_of: NDArray[np.int16]
    """(N,) which of the manifests an utterance is in."""
    rows: NDArray[np.int64]
    """(N,) its place there."""
    store: StoreConfig = _STORE
    """How audio is read that is in an object store."""
    seconds: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = self._gathered([manifest.seconds for manifest in self.manifests])

    @classmethod
    def load(cls, manifest: Path, store: StoreConfig = _STORE) -> SpeechSet:
        """Open DIRECTORY/NAME.jsonl.gz or DIRECTORY/NAME.shar.

        References kept aside in DIRECTORY/references/NAME.tsv win over its own transcripts. Raises UserError
        if the manifest is missing, unreadable or empty, and for references that are not of its utterances.
        """
        index = open_index(manifest)
        name = manifest.name.removesuffix(MANIFEST_SUFFIX)
        base_name = name.removesuffix(".features").removesuffix(SHAR_SUFFIX)
        aside = manifest.parent / "references" / f"{base_name}.tsv"
        reference_overrides = _read_overrides(aside, index) if aside.is_file() else {}
        count = len(index)
        return cls(
            name, [index], [reference_overrides], np.zeros(count, np.int16), np.arange(count), store
        )

    @classmethod
    def joined(cls, sets: Sequence[SpeechSet]) -> SpeechSet:
        """Sets of one manifest each, one after the other."""
        return cls(
            "+".join(speech.name for speech in sets),
            [speech.manifests[0] for speech in sets],
            [speech.reference_overrides[0] for speech in sets],
            np.concatenate([np.full(len(s), number, np.int16) for number, s in enumerate(sets)]),
            np.concatenate([speech.rows for speech in sets]),
            sets[0].store,
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def records(self) -> Sequence[dict[str, Any]]:
        """The lines of the manifests, read when asked for."""
        return _ByPlace(range(len(self)), self._record)

    @property
    def cuts(self) -> Sequence[MonoCut]:
        """Lhotse cuts, each read when it is asked for."""
        return _ByPlace(range(len(self)), self._cut)

    @property
    def references(self) -> Sequence[str]:
        """Transcripts, read when asked for; empty where there are none."""
        return _ByPlace(range(len(self)), self._reference)

    @property
    def ids(self) -> Sequence[str]:
        """Read when asked for."""
        return _ByPlace(range(len(self)), lambda place: str(self._record(place)["id"]))

    @property
    def files(self) -> Sequence[str]:
        """Path of each recording, read when asked for; empty where it lies in a shard, or there is none."""
        return _ByPlace(range(len(self)), self._recording_file)

    @property
    def keys(self) -> NDArray[np.uint64]:
        """(N,) hashes of the ids."""
        return self._gathered([manifest.keys for manifest in self.manifests])

    @property
    def characters(self) -> str:
        """All that occur in the transcripts of its manifests."""
        return "".join(sorted({c for manifest in self.manifests for c in manifest.characters}))

    def places_of(self, ids: Sequence[str]) -> list[int | None]:
        """Where utterances are in this set; None for those that are not."""
        keys = self.keys
        order = np.argsort(keys, kind="stable")
        found: list[int | None] = []
        for name in ids:
            key = key_of(name)
            first, last = (
                int(np.searchsorted(keys, key, side, sorter=order)) for side in ("left", "right")
            )
            found.append(next((int(p) for p in order[first:last] if self.ids[p] == name), None))
        return found

    def without_text(self) -> NDArray[np.int64]:
        """Places of the utterances that have no transcript."""
        silent = ~self._gathered([manifest.has_text for manifest in self.manifests])
        places: NDArray[np.int64] = np.flatnonzero(silent)
        if any(self.reference_overrides):
            places = np.array([p for p in places if not self.references[int(p)]], dtype=np.int64)
        return places

    @property
    def rejects(self) -> dict[str, dict[str, Any]]:
        """What damaged shards have lost, by their names."""
        return {
            f"{manifest.manifest.name}/{name}": lost
            for manifest in self.manifests
            for name, lost in manifest.rejects.items()
        }

    @property
    def lost_tars(self) -> dict[str, dict[str, Any]]:
        """Of these, tars: their utterances are in the set, and cannot be read."""
        return {name: lost for name, lost in self.rejects.items() if name.endswith(".tar")}

    def at_rate(self, sample_rate_hz: int) -> SpeechSet:
        """This set. Raises UserError unless all its audio has the given rate."""
        for manifest in self.manifests:
            for rate, name in manifest.rates.items():
                if rate != sample_rate_hz:
                    raise UserError(
                        f"utterance '{name}' of '{self.name}' has {rate} Hz, the recipe says "
                        f"features.sample_rate_hz={sample_rate_hz}",
                        "set it to the audio's rate, or prepare again: preparation makes 16000",
                    )
        return self

    def within(self, min_seconds: float, max_seconds: float) -> SpeechSet:
        """The utterances whose length lies in the given range."""
        kept = np.flatnonzero((self.seconds >= min_seconds) & (self.seconds <= max_seconds))
        return SpeechSet(
            self.name,
            self.manifests,
            self.reference_overrides,
            self.manifest_of[kept],
            self.rows[kept],
            self.store,
        )

    @property
    def is_in_store(self) -> bool:
        """Whether some of its audio may be in an object store."""
        return any(is_in_store(one.manifest) for one in self.manifests)

    def remote_part(self, place: int) -> Part | None:
        """Where in a store an utterance is; None of one that is here."""
        return remote_part(self._record(place))

    def bring(self, places: Sequence[int]) -> None:
        """Have utterances in a store brought here, many at a time. Raises StoreAwayError where it is away."""
        if self.is_in_store:
            bring_all([self.remote_part(place) for place in places], self.store)

    def _record(self, place: int) -> dict[str, Any]:
        manifest = self.manifests[int(self.manifest_of[place])]
        return manifest.record(int(self.rows[place]))

    def _cut(self, place: int) -> MonoCut:
        folder = self.manifests[self.manifest_of[place]].manifest
        record = self._record(place)
        try:
            admit(record, FILES_AND_TARS if folder.is_dir() else FILES)
            record = with_audio(record, folder, self.store)
            cut: MonoCut = MonoCut.from_dict({k: v for k, v in record.items() if k != "type"})
        except UserError:  # which says what it is
            raise
        except (TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            raise UserError(
                f"{folder}: utterance '{record['id']}' is no cut of Lhotse's: {first_line(error)[:200]}",
                "prepare the set again",
            ) from None
        return cut

    def _recording_file(self, place: int) -> str:
        sources = (self._record(place).get("recording") or {}).get("sources") or [{}]
        return str(sources[0]["source"]) if sources[0].get("type") == "file" else ""

    def _reference(self, place: int) -> str:
        record = self._record(place)
        overrides = self.reference_overrides[int(self.manifest_of[place])]
        return overrides.get(record["id"], text_of(record))

    def _gathered(self, columns: list[NDArray[Any]]) -> NDArray[Any]:
        gathered = np.empty(len(self.rows), columns[0].dtype)
        for number, column in enumerate(columns):
            mine = self.manifest_of == number
            gathered[mine] = column[self.rows[mine]]
        return gathered


def _read_overrides(path: Path, index: ManifestIndex) -> dict[str, str]:
    pairs = read_pairs(path, what="reference")
    unknown = unmatched(list(pairs), index.keys)
    if len(unknown) > _MOST_UNKNOWN * len(pairs):
        raise UserError(
            f"{path}:{pairs[unknown[0]][0]}: '{unknown[0]}' is no utterance of {index.manifest}, and "
            f"{len(unknown)} of {len(pairs)} ids are none",
            "write the ids of the manifest, or take the file away",
        )
    return {name: text for name, (_, text) in pairs.items()}


def unmatched(names: Sequence[str], keys: NDArray[np.uint64]) -> list[str]:
    """Ids that are none of a manifest's, by its hashes."""
    own = np.array([key_of(name) for name in names], np.uint64)
    return [names[place] for place in np.flatnonzero(~np.isin(own, keys)).tolist()]


def load_role(config: Config, kind: Kind) -> SpeechSet:
    """All sets of one role, joined in the order of their names. Raises UserError where an id occurs twice."""
    names = config.sets_of(kind)
    if not names:
        raise UserError(f"corpus.{kind} is empty", "name at least one prepared set")
    directory = Path(config.corpus.directory)
    if config.features.source == "precomputed":
        check_stored_features(config, directory, names)
    # Without what says how a set is stored, so that this does not change the order.
    ordered = sorted(
        names, key=lambda name: name.removesuffix(".features").removesuffix(SHAR_SUFFIX)
    )
    store = config.corpus.store
    sets = [SpeechSet.load(directory / f"{name}{MANIFEST_SUFFIX}", store) for name in ordered]
    joined = SpeechSet.joined(sets)
    joined.name = "+".join(names)
    twice = first_duplicate(joined)
    if twice is not None:
        raise UserError(
            f"corpus.{kind}: utterance id '{twice}' occurs twice",
            "name each set once, and rename files that have the same name in two sets",
        )
    return joined


def load_dev_sets(config: Config) -> list[SpeechSet]:
    """The dev sets, in the recipe's order. Raises UserError where one is missing or of another rate."""
    corpus, rate = config.corpus, config.features.sample_rate_hz
    paths = [Path(corpus.directory) / f"{name}{MANIFEST_SUFFIX}" for name in corpus.dev]
    return [SpeechSet.load(path, corpus.store).at_rate(rate) for path in paths]


def first_duplicate(speech: SpeechSet) -> str | None:
    """An id that occurs twice; None where there is none."""
    keys = speech.keys
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    for place in same.tolist():
        left, right = (speech.ids[int(order[place + step])] for step in (0, 1))
        if left == right:  # and not two ids of one hash
            return left
    return None


def check_stored_features(config: Config, directory: Path, names: list[str]) -> None:
    """Stored features must be those that the recipe describes: dev sets are computed by it.

    Raises UserError for a set without such.
    """
    wanted = config.features.model_dump(mode="json", exclude={"source"})
    for name in names:
        path = directory / "features" / name.removesuffix(".features") / "features.json"
        try:
            stored = {**read_json(path)["features"]}
        except (OSError, ValueError, KeyError, TypeError):  # missing or damaged
            stored = {}
        stored.pop("source", None)
        if stored != wanted:
            raise UserError(
                f"{path}: set '{name}' has no stored features with this recipe's settings",
                "run "
                f"`asr prepare features --data {directory} --sets {name.removesuffix('.features')} "
                "--recipe RECIPE` and name the sets SET.features",
            )


def check_lost_tars(config: Config, sets: Sequence[SpeechSet]) -> None:
    """Raises UserError where more is lost with tars than may be."""
    lost = [(name, one) for s in sets for name, one in s.lost_tars.items()]
    count, total = sum(one["count"] for _, one in lost), sum(map(len, sets))
    if count > config.corpus.max_lost_share * total:
        raise UserError(
            f"{lost[0][0]} {lost[0][1]['reason']}: {count:,} of {total:,} utterances are lost, more than "
            f"corpus.max_lost_share {config.corpus.max_lost_share:g}",
            "copy the shards again, or make them again (asr prepare shar --data DIR --sets SET)",
        )
