"""Prepared utterances: Lhotse cuts with what is known of their text, and their audio.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray
from torch import Tensor

from asr.config import Config
from asr.errors import UserError
from asr.files import read_json
from asr.stream import Kind

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
