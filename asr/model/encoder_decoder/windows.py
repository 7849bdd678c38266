"""The audio that an encoder-decoder sees of an utterance: its own, and silence behind it.

Whisper was trained on windows of 30 s. As it is, whisper-tiny.en misreads 14.7 % of the words of amazon_queen's
dev set (248 utterances of 3.5 s, the likeliest tokens) in windows of 30 s, 15.1 % in 20 s, 15.6 % in 15 s, and
the more the shorter they are, since it begins to repeat itself; each costs in proportion to its length. A model
learns shorter windows as it is trained with them: so those of training are 10 s by default, and where text is
generated they may be longer (`generation_window_seconds`). The length depends on the utterance alone, and
batch-mates change nothing.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from asr.model.features import FrontEnd, Recording

_SILENCE_SECONDS = 1.0
"""Behind an utterance, at least."""
_STEP_SECONDS = 1.0
"""Windows are a multiple of it."""


class Windows(FrontEnd):
    """Another front end's features of windows."""

    def __init__(
        self, inner: FrontEnd, longest_seconds: float | None, window_seconds: float
    ) -> None:
        """`window_seconds` of a window, at least, and a second of silence behind the utterance.

        Never more than `longest_seconds`, unless the utterance has.
        """
        super().__init__()
        self.inner = inner
        self.sample_rate_hz, self.hop_samples = inner.sample_rate_hz, inner.hop_samples
        self.width, self.takes_masks = inner.width, inner.takes_masks
        self.frame_multiple = 1  # windows are whole steps as they are
        self.longest_samples = self._samples(longest_seconds or float(1 << 30))
        self.shortest_samples = self._samples(window_seconds)
        self.shortest_seconds = window_seconds

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.sample_rate_hz)

    def windows(self, samples_B: Tensor) -> Tensor:
        """Samples (B,) of the windows of utterances with `samples_B`."""
        step = self._samples(_STEP_SECONDS)
        wanted_B = samples_B + self._samples(_SILENCE_SECONDS)
        rounded_B = (wanted_B + step - 1) // step * step
        fitting_B = rounded_B.clamp(min=self.shortest_samples, max=self.longest_samples)
        return torch.maximum(fitting_B, samples_B)

    def frames(self, samples_B: Tensor) -> Tensor:
        return self.inner.frames(self.windows(samples_B))

    @torch.no_grad()
    def forward(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        windows_B = self.windows(samples_B)
        longest = int(windows_B.max()) if len(windows_B) else 0
        waveforms_BN = functional.pad(waveforms_BN, (0, max(0, longest - waveforms_BN.shape[1])))
        return self.inner(waveforms_BN, windows_B, recording)

    def survey(self, blocks: Iterable[Tensor]) -> Recording:
        return self.inner.survey(blocks)
