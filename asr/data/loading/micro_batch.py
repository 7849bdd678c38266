"""This rank's share of a slot, and what reads it in the loader's workers.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from asr.config.features import FeatureConfig
from asr.data.dataset import SpeechSet
from asr.data.loading.shared_memory import shared
from asr.data.reading import load_features, load_samples, padded
from asr.data.segments import Kind, Segment, in_views
from asr.data.sound.augmentation import SoundAugmentation, one_thread
from asr.errors import LostAudioError, UserError
from asr.model.tokenizer import Tokenizer


@dataclass
class MicroBatch:
    """This rank's share of one slot of a global batch; may be empty."""

    kinds: tuple[Kind, ...]
    """In the slot, on whichever rank: in an order that all ranks share."""
    is_trained: bool
    """False: untranscribed speech that is only labelled."""
    segments: list[Segment]
    ids: list[str]
    student_input: tuple[Tensor, Tensor] | None
    """Waveforms (B, N) and samples (B,), or precomputed features (B, T, F) and frames (B,); or None. Where the
    student hears several views of speech, all in the first and then all in the next: B is larger."""
    teacher_input: tuple[Tensor, Tensor] | None
    """Of the untranscribed utterances alone, clean, where the teacher hears them now: at the original speed, or
    where frame is compared with frame at the student's. None where it hears the student's views."""
    targets: list[list[int]]
    """Token ids of each utterance; none of untranscribed ones."""
    references: list[str]
    """Text of untranscribed utterances where it is known: measures labels, never trains. Of others empty."""
    lost: dict[int, str] = field(default_factory=dict)
    """By their places, utterances whose audio cannot be read, and why: silence stands for it, and nothing is
    trained on it or labelled."""

    def places_of(self, kind: Kind) -> list[int]:
        """Of its utterances of one kind."""
        return [place for place, segment in enumerate(self.segments) if segment.kind is kind]

    def part(self, kind: Kind) -> MicroBatch:
        """Its utterances of one kind, as the teacher hears them: without what the student does."""
        places = self.places_of(kind)
        return MicroBatch(
            (kind,),
            self.is_trained,
            [self.segments[place] for place in places],
            [self.ids[place] for place in places],
            None,
            self.teacher_input if kind is Kind.UNTRANSCRIBED else None,
            [self.targets[place] for place in places],
            [self.references[place] for place in places],
            {at: self.lost[place] for at, place in enumerate(places) if place in self.lost},
        )


@dataclass(frozen=True)
class MicroBatchSpec:
    """What a rank reads for one slot of a global batch."""

    kinds: tuple[Kind, ...]
    is_trained: bool
    needs_pseudo_label: bool
    """Whether the teacher receives its untranscribed speech."""
    segments: list[Segment]


class Reader(Dataset["MicroBatch | UserError"]):
    """Reads the audio of a share; runs in the loader's workers.

    A fault of the user's is handed back and not raised: torch would bury its line in a traceback.
    """

    def __init__(
        self,
        sets: dict[Kind, SpeechSet],
        tokenizer: Tokenizer,
        features: FeatureConfig,
        sound: SoundAugmentation | None,
        has_one_speed: bool = False,
        views: int = 1,
    ) -> None:
        """`sound`: what is done to the student's waveforms, where anything is. `has_one_speed`: the teacher
        hears speech as fast as the student does, frame by frame. `views`: of each utterance, which with more
        than one the teacher hears as well."""
        self.sets = sets
        self.tokenizer = tokenizer
        self.features, self.precomputed = features, features.source == "precomputed"
        self.sound, self.has_one_speed, self.views = sound, has_one_speed, views

    def __getitem__(self, spec: MicroBatchSpec) -> MicroBatch | UserError:
        try:
            return cast(MicroBatch, shared(self._read(spec)))
        except UserError as error:
            return error

    def _read(self, spec: MicroBatchSpec) -> MicroBatch:
        segments = spec.segments
        student_input = teacher_input = None
        lost = dict[int, str]()
        everywhere = list(range(len(segments)))
        if segments and spec.is_trained:
            with one_thread() if self.sound else nullcontext():
                student_input = self._audio(segments, everywhere, False, lost)
        places = [p for p in everywhere if segments[p].kind is Kind.UNTRANSCRIBED]
        if places and spec.needs_pseudo_label and self.views == 1:
            is_same = self.has_one_speed or all(segments[p].speed == 1.0 for p in places)
            if student_input is not None and is_same:
                teacher_input = _rows(student_input, places)
            else:
                teacher_input = self._audio(segments, places, True, lost)
        if student_input is not None and self.views > 1:
            values, lengths_B = student_input
            student_input = torch.cat([values] * self.views), lengths_B.repeat(self.views)
        if student_input is not None and self.sound is not None:
            # The waveforms are perhaps the teacher's, too, which stay as they are.
            waveforms_BN, samples_B = student_input
            views = in_views(segments, self.views)
            student_input = self.sound(waveforms_BN, samples_B, views), samples_B
        ids = [self.sets[s.kind].ids[s.index] for s in segments]
        texts = [self.sets[s.kind].references[s.index] for s in segments]
        are_labelled = [s.kind is Kind.LABELLED for s in segments]
        return MicroBatch(
            spec.kinds,
            spec.is_trained,
            segments,
            ids,
            student_input,
            teacher_input,
            [
                self._encode(name, text) if labelled else []
                for name, text, labelled in zip(ids, texts, are_labelled, strict=True)
            ],
            ["" if labelled else t for t, labelled in zip(texts, are_labelled, strict=True)],
            lost,
        )

    def _audio(
        self, segments: list[Segment], places: list[int], as_recorded: bool, lost: dict[int, str]
    ) -> tuple[Tensor, Tensor]:
        """Waveforms or features of some; what cannot be read goes into `lost`, by its place among all."""
        parts = []
        for place in places:
            segment = segments[place]
            speed = 1.0 if as_recorded else segment.speed
            try:
                cut = self.sets[segment.kind].cuts[segment.index]
                parts.append(
                    load_features(cut) if self.precomputed else load_samples(cut, speed)[0]
                )
            except LostAudioError as error:
                lost[place] = error.what
                parts.append(self._silence(segment.seconds / speed))
        return padded(parts)

    def _silence(self, seconds: float) -> NDArray[np.float32]:
        """As long: shapes, and so what a micro-batch costs, stay."""
        features = self.features
        if self.precomputed:
            frames = max(1, round(1000 * seconds / features.hop_ms) - 2)
            return np.zeros((frames, features.mel_bins), np.float32)
        return np.zeros(max(1, round(seconds * features.sample_rate_hz)), np.float32)

    def _encode(self, utterance_id: str, text: str) -> list[int]:
        try:
            return self.tokenizer.encode(text)
        except UserError as error:
            raise error.at(f"utterance '{utterance_id}'") from None


def _rows(padded_input: tuple[Tensor, Tensor], places: list[int]) -> tuple[Tensor, Tensor]:
    """Some utterances of an input, without padding that only others need; of all of them the input itself."""
    values, lengths_B = padded_input
    if len(places) == len(lengths_B):
        return padded_input
    lengths_B = lengths_B[places]
    return values[places, : int(lengths_B.max())], lengths_B
