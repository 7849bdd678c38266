"""What a recipe's `augmentation:` can say: how the student's speech is made harder than the teacher's."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from asr.config.fields import Count, Natural, NonNegative, Positive, Section, Share

Range = tuple[
    Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]
]
"""The least and the most of what is drawn."""
_MOST_DB = 100.0
"""A gain of 800 dB is none that float32 holds."""


class SpecAugmentConfig(Section):
    """Of features; with a pretrained encoder that takes waveforms, and with w2v-BERT, of what its own front end
    makes of them: frames are then encoder frames, mostly of 20 ms, and bins are channels."""

    frequency_masks: Natural = 2
    """Number of frequency masks (slimIPL: 2)."""
    frequency_mask_bins: Natural = 30
    """Widest frequency mask (slimIPL: 30 of 80)."""
    time_masks: Natural = 10
    """Number of time masks (slimIPL: 10)."""
    time_mask_frames: Natural = 50
    """Widest time mask, in feature frames (slimIPL: 50)."""
    time_mask_max_share: Share = 0.1
    """Widest time mask as a share of the utterance (slimIPL: 0.1)."""
    start_hours: NonNegative = 0.0
    """Masks are applied from this many hours of audio on."""


class _Change(Section):
    """Something that is done to some of the student's waveforms."""

    probability: Share = 0.0
    """Share of the utterances, drawn anew in each pass, to which this is done; 0: to none."""

    def check_range(self, name: str, most: float = math.inf) -> tuple[float, float]:
        """A field's range. Raises ValueError unless it ascends, and lies in -`most` to `most`."""
        low, high = getattr(self, name)
        if low > high:
            raise ValueError(f"{name} [{low:g}, {high:g}] must ascend: the least, then the most")
        if max(-low, high) > most:
            raise ValueError(f"{name} [{low:g}, {high:g}] must lie in {-most:g} to {most:g}")
        return low, high


class NoiseConfig(_Change):
    sources: list[Annotated[str, Field(min_length=1)]] = []
    """Folders of audio, searched through and through (of MUSAN: its noise and music), or prepared sets by their
    names in corpus.directory. Each recording is drawn as often, and of it a piece; one that is shorter than the
    utterance is repeated, one of another rate resampled, of several channels the first is taken."""
    snr_db: Range = (5.0, 20.0)
    """Power of the utterance over that of the noise behind it, in dB, drawn from this range. A silent utterance
    stays silent."""

    @model_validator(mode="after")
    def _check(self) -> NoiseConfig:
        self.check_range("snr_db", _MOST_DB)
        if self.probability > 0 and not self.sources:
            raise ValueError(
                f"probability {self.probability:g} needs sources: name a folder of noise, or a prepared set"
            )
        return self


class ReverberationConfig(_Change):
    sources: list[Annotated[str, Field(min_length=1)]] = []
    """Folders or prepared sets of recorded room impulse responses, as noise has them; none: simulated rooms."""
    simulated_rooms: Count = 1000
    """Number of different simulated rooms (FRA-RIR, arXiv 2208.04101, as Lhotse has it); each is made when
    it is first drawn, and then kept, in up to 50 kB."""
    longest_seconds: Annotated[float, Field(gt=0.1, le=5.0)] = 0.8
    """Longest reverberation time T60 of a simulated room; the shortest is 0.1 s."""


class BandConfig(_Change):
    low_hz: Range = (50.0, 400.0)
    """Lower end of the band, drawn from this range: 12 dB an octave below it."""
    high_hz: Range = (2500.0, 7000.0)
    """Upper end of the band, drawn from this range: 12 dB an octave above it."""

    @model_validator(mode="after")
    def _check(self) -> BandConfig:
        low, high = self.check_range("low_hz"), self.check_range("high_hz")
        if not low[0] > 0 or not low[1] < high[0]:
            raise ValueError(
                f"low_hz {list(low)} must be above 0 and end below high_hz {list(high)}"
            )
        return self


class CodecConfig(_Change):
    kinds: Annotated[
        list[Literal["mu_law", "gsm", "mp3", "vorbis", "opus"]], Field(min_length=1)
    ] = ["mu_law", "gsm", "mp3"]
    """Of which one is drawn: mu_law and gsm (6.10) at 8,000 Hz, as on a telephone; mp3, vorbis, opus (which
    takes most time)."""
    compression: Range = (0.5, 1.0)
    """Of mp3, vorbis and opus, drawn from this range: 0 the least, 1 the most that libsndfile offers."""

    @model_validator(mode="after")
    def _check(self) -> CodecConfig:
        low, high = self.check_range("compression")
        if low < 0 or high > 1:
            raise ValueError(f"compression [{low:g}, {high:g}] must lie in 0 to 1")
        return self


class VolumeConfig(_Change):
    gain_db: Range = (-10.0, 10.0)
    """Drawn from this range. Features that are normalised over the utterance hardly notice."""

    @model_validator(mode="after")
    def _check(self) -> VolumeConfig:
        self.check_range("gain_db", _MOST_DB)
        return self


class AugmentationConfig(Section):
    """Of the student's speech: the teacher always receives it clean."""

    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    """Masks on the student's input. The teacher always receives clean speech."""
    speed_factors: Annotated[list[Positive], Field(min_length=1)] = [1.0]
    """Each utterance of each pass is played at one of these speeds, drawn with equal probability."""
    reverberation: ReverberationConfig = ReverberationConfig()
    noise: NoiseConfig = NoiseConfig()
    band_pass: BandConfig = BandConfig()
    codec: CodecConfig = CodecConfig()
    volume: VolumeConfig = VolumeConfig()

    @property
    def changes(self) -> dict[str, float]:
        """What is done to waveforms, by name, in this order, behind the speed; each with its probability."""
        found = {
            name: section.probability for name, section in self if isinstance(section, _Change)
        }
        return {name: probability for name, probability in found.items() if probability > 0}
