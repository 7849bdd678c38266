"""Lhotse cuts -> the stream of global batches -> this rank's micro-batches, in order.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asr.config import Config
from asr.errors import UserError
from asr.files import read_json
from asr.stream import AudioStream, GlobalBatch, GroupedCorpus, Kind, Position, Segment, deal
from asr.tokenizer import Tokenizer

MANIFEST_SUFFIX = ".jsonl.gz"


@dataclass
class SpeechSet:
    """Prepared utterances in the order of their ids, with what is known of their text."""

    name: str
    cuts: list[MonoCut]
    references: list[str]
    """Transcripts; empty where there are none."""
    seconds: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = np.asarray([cut.duration for cut in self.cuts], dtype=np.float64)

    @classmethod
    def load(cls, manifest: Path) -> SpeechSet:
        """Read DIRECTORY/NAME.jsonl.gz; references kept aside in DIRECTORY/references/NAME.tsv win.

        Raises UserError if the manifest is missing, unreadable or empty.
        """
        name = manifest.name.removesuffix(MANIFEST_SUFFIX)
        if not manifest.is_file():
            others = sorted(
                p.name.removesuffix(MANIFEST_SUFFIX) for p in manifest.parent.glob("*.jsonl.gz")
            )
            found = f"it has {', '.join(others)}" if others else "it holds no manifests"
            raise UserError(f"{manifest}: no such set; {found}; run `asr prepare` or mend corpus.*")
        try:
            cuts = sorted(CutSet.from_file(manifest), key=lambda cut: cut.id)
        except Exception as error:  # gzip, zlib, json and lhotse each have their own
            raise UserError(
                f"{manifest}: not a readable manifest ({error}); run `asr prepare` again"
            ) from None
        if not cuts:
            raise UserError(f"{manifest}: holds no utterances; run `asr prepare` again")
        base_name = name.removesuffix(".features")
        aside = _references_aside(manifest.parent / "references" / f"{base_name}.tsv")
        references = [aside.get(cut.id, _text(cut)) for cut in cuts]
        return cls(name, cuts, references)

    def at_rate(self, sample_rate_hz: int) -> SpeechSet:
        """This set. Raises UserError unless all its audio has the given rate."""
        for cut in self.cuts:
            if cut.sampling_rate != sample_rate_hz:
                raise UserError(
                    f"utterance '{cut.id}' of '{self.name}' has {cut.sampling_rate} Hz, the recipe says "
                    f"features.sample_rate_hz={sample_rate_hz}; preparation makes 16000"
                )
        return self

    def within(self, min_seconds: float, max_seconds: float) -> SpeechSet:
        """The utterances whose length lies in the given range."""
        kept = [i for i, s in enumerate(self.seconds) if min_seconds <= s <= max_seconds]
        return SpeechSet(
            self.name, [self.cuts[i] for i in kept], [self.references[i] for i in kept]
        )


def _text(cut: MonoCut) -> str:
    return " ".join(supervision.text or "" for supervision in cut.supervisions).strip()


def _references_aside(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def load_role(config: Config, kind: Kind) -> SpeechSet:
    """All sets of one role, joined. Raises UserError where an id occurs twice."""
    names = config.corpus.labelled if kind is Kind.LABELLED else config.corpus.untranscribed
    if not names:
        raise UserError(f"corpus.{kind} is empty: name at least one prepared set")
    directory = Path(config.corpus.directory)
    if config.features.source == "precomputed":
        _check_stored_features(config, directory, names)
    sets = [SpeechSet.load(directory / f"{name}{MANIFEST_SUFFIX}") for name in names]
    order = sorted(
        ((cut, text) for s in sets for cut, text in zip(s.cuts, s.references, strict=True)),
        key=lambda pair: pair[0].id,
    )
    for (left, _), (right, _) in itertools.pairwise(order):
        if left.id == right.id:
            raise UserError(
                f"corpus.{kind}: utterance id '{left.id}' occurs twice; name each set once, and rename "
                "files that have the same name in two sets"
            )
    return SpeechSet("+".join(names), [cut for cut, _ in order], [text for _, text in order])


def _check_stored_features(config: Config, directory: Path, names: list[str]) -> None:
    """Stored features must be those that the recipe describes: dev sets are computed by it."""
    wanted = config.features.model_dump(mode="json", exclude={"source"})
    for name in names:
        path = directory / "features" / name.removesuffix(".features") / "features.json"
        stored = {**read_json(path)["features"]} if path.is_file() else {}
        stored.pop("source", None)
        if stored != wanted:
            raise UserError(
                f"{path}: set '{name}' has no stored features with this recipe's settings; run "
                f"`asr prepare features --data {directory} --sets {name.removesuffix('.features')} "
                "--recipe RECIPE` and name the sets SET.features"
            )


def load_waveforms(
    cuts: Sequence[MonoCut], speeds: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """Waveforms (B, N), fp32, zero-padded, and their lengths (B,) in samples."""
    waveforms = []
    for index, cut in enumerate(cuts):
        speed = 1.0 if speeds is None else speeds[index]
        try:
            audio = (cut if speed == 1.0 else cut.perturb_speed(speed)).load_audio()
        except Exception as error:  # lhotse raises a dozen kinds, depending on the backend
            source = cut.recording.sources[0].source if cut.has_recording else "no recording"
            raise UserError(
                f"{source} (utterance '{cut.id}'): cannot be read any more: {str(error).splitlines()[0]}; "
                "restore the file or run `asr prepare` again"
            ) from error
        waveforms.append(torch.from_numpy(np.ascontiguousarray(audio[0], dtype=np.float32)))
    samples_B = torch.tensor([len(waveform) for waveform in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), samples_B


def load_features(cuts: Sequence[MonoCut]) -> tuple[Tensor, Tensor]:
    """Precomputed features (B, T, F), fp32, zero-padded, and their lengths (B,) in frames.

    Raises UserError for a cut without them.
    """
    matrices = []
    for cut in cuts:
        if not cut.has_features:
            raise UserError(
                f"utterance '{cut.id}' has no precomputed features; run `asr prepare features` and name "
                "its sets (SET.features), or features.source=waveform"
            )
        matrices.append(torch.from_numpy(np.array(cut.load_features(), dtype=np.float32)))
    lengths_B = torch.tensor([len(matrix) for matrix in matrices])
    return torch.nn.utils.rnn.pad_sequence(matrices, batch_first=True), lengths_B


@dataclass
class MicroBatch:
    """This rank's share of one slot of a global batch; may be empty."""

    kind: Kind
    segments: list[Segment]
    ids: list[str]
    student_input: tuple[Tensor, Tensor] | None
    """Waveforms (B, N) and samples (B,), or precomputed features (B, T, F) and frames (B,)."""
    teacher_input: tuple[Tensor, Tensor] | None
    """The same at the original speed, for untranscribed speech only."""
    targets: list[list[int]]
    """Token ids of labelled utterances."""
    references: list[str]
    """Text of untranscribed utterances where it is known: measures labels, never trains."""


@dataclass
class RankBatch:
    """A global batch, and this rank's micro-batches of it in slot order."""

    batch: GlobalBatch
    padding_share: float
    slots: int
    micro_batches: Iterator[MicroBatch]


@dataclass(frozen=True)
class _Share:
    kind: Kind
    segments: list[Segment]


class _Reader(Dataset["MicroBatch | UserError"]):
    """Reads the audio of a share; runs in the loader's workers.

    A fault of the user's is handed back and not raised: torch would bury its line in a traceback.
    """

    def __init__(
        self, sets: dict[Kind, SpeechSet], targets: dict[str, list[int]], precomputed: bool
    ) -> None:
        self.sets = sets
        self.targets = targets
        self.precomputed = precomputed

    def __getitem__(self, share: _Share) -> MicroBatch | UserError:
        try:
            return self._read(share)
        except UserError as error:
            return error

    def _read(self, share: _Share) -> MicroBatch:
        speech = self.sets[share.kind]
        cuts = [speech.cuts[segment.index] for segment in share.segments]
        labelled = share.kind is Kind.LABELLED
        student_input = teacher_input = None
        if cuts and self.precomputed:
            student_input = load_features(cuts)
        elif cuts:
            student_input = load_waveforms(cuts, [segment.speed for segment in share.segments])
        if cuts and not labelled:
            as_recorded = all(segment.speed == 1.0 for segment in share.segments)
            teacher_input = student_input if as_recorded else load_waveforms(cuts)
        return MicroBatch(
            share.kind,
            share.segments,
            [cut.id for cut in cuts],
            student_input,
            teacher_input,
            [self.targets[cut.id] for cut in cuts] if labelled else [],
            [] if labelled else [speech.references[segment.index] for segment in share.segments],
        )


class TrainingData:
    """The labelled and untranscribed speech of a recipe as one stream."""

    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        """Read the manifests. Raises UserError for what is missing or does not fit the tokenizer."""
        self.config = config
        self.sets: dict[Kind, SpeechSet] = {}
        self.left_out: dict[str, int] = {}
        for kind in Kind:
            if kind is Kind.LABELLED or config.pseudo_label.start_hours is not None:
                whole = load_role(config, kind).at_rate(config.features.sample_rate_hz)
                kept = whole.within(config.corpus.min_seconds, config.corpus.max_seconds)
                self.left_out[f"{kind}_by_length"] = len(whole.cuts) - len(kept.cuts)
                self.sets[kind] = kept
        labelled = self.sets[Kind.LABELLED]
        self.targets = {
            cut.id: _encode(tokenizer, cut.id, text)
            for cut, text in zip(labelled.cuts, labelled.references, strict=True)
        }
        corpora = {
            kind: GroupedCorpus(
                kind,
                speech.seconds,
                config.group_seconds,
                config.seed,
                config.augmentation.speed_factors,
            )
            for kind, speech in self.sets.items()
        }
        self.stream = AudioStream(
            corpora[Kind.LABELLED],
            corpora.get(Kind.UNTRANSCRIBED),
            config.pseudo_label.labelled_to_untranscribed,
            config.pseudo_label.start_hours,
            config.seed,
        )

    @property
    def tokens_per_second(self) -> float:
        """Of the transcripts: what healthy labels should come near."""
        tokens = sum(len(target) for target in self.targets.values())
        return tokens / float(self.sets[Kind.LABELLED].seconds.sum())

    @property
    def fingerprints(self) -> dict[str, str]:
        """What a data position refers to: changed, if utterances or their durations change."""
        return {
            str(kind): hashlib.sha256(
                "\n".join(f"{c.id} {c.duration}" for c in speech.cuts).encode()
            ).hexdigest()
            for kind, speech in self.sets.items()
        }

    def utterance_id(self, segment: Segment) -> str:
        return str(self.sets[segment.kind].cuts[segment.index].id)

    def batches(
        self, position: Position, batch_seconds: float, rank: int, ranks: int
    ) -> Iterator[RankBatch]:
        """Global batches from `position` on, for ever; every rank must consume them in step.

        The number of loader workers changes how far audio is read ahead, never the order.
        """
        planned: deque[tuple[GlobalBatch, list[list[list[Segment]]]]] = deque()

        def shares() -> Iterator[_Share]:
            here = position
            while True:
                batch = self.stream.next_batch(here, self.config.groups_per_batch(batch_seconds))
                slots = deal(batch.segments, ranks, self.config.batch.max_seconds_per_micro_batch)
                planned.append((batch, slots))
                for slot in slots:
                    kind = next(part[0].kind for part in slot if part)
                    yield _Share(kind, slot[rank])
                here = batch.after

        cores = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        workers = min(self.config.trainer.loader_workers, cores)
        precomputed = self.config.features.source == "precomputed"
        loader: DataLoader[MicroBatch | UserError] = DataLoader(
            _Reader(self.sets, self.targets, precomputed),
            sampler=shares(),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
        )
        micro_batches = _raising(iter(loader))
        while True:
            first = next(micro_batches)
            batch, slots = planned.popleft()
            yield RankBatch(
                batch, _padding_share(slots), len(slots), _chain(first, micro_batches, len(slots))
            )


def _raising(items: Iterator[MicroBatch | UserError]) -> Iterator[MicroBatch]:
    for item in items:
        if isinstance(item, UserError):
            raise item
        yield item


def _chain(first: MicroBatch, rest: Iterator[MicroBatch], count: int) -> Iterator[MicroBatch]:
    yield first
    for _ in range(count - 1):
        yield next(rest)


def _padding_share(slots: list[list[list[Segment]]]) -> float:
    """Share of the processed audio that is padding, idle ranks of a slot included."""
    longest = [max(s.played_seconds for part in slot for s in part) for slot in slots]
    widest = [max(len(part) for part in slot) for slot in slots]
    processed = sum(a * b * len(slot) for a, b, slot in zip(longest, widest, slots, strict=True))
    played = sum(s.played_seconds for slot in slots for part in slot for s in part)
    return 1.0 - played / processed


def _encode(tokenizer: Tokenizer, utterance_id: str, text: str) -> list[int]:
    if not text:
        raise UserError(
            f"utterance '{utterance_id}' of corpus.labelled has no transcript; "
            "move it to an untranscribed set"
        )
    try:
        return tokenizer.encode(text)
    except UserError as error:
        raise UserError(f"utterance '{utterance_id}': {error}") from None
