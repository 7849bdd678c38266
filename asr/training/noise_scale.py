"""The gradient noise scale: up to which batch more audio in a step still pays.

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training" (arXiv 1812.06162), appendix A.1.
The expected squared norm of a gradient averaged over b seconds of audio is |G|^2 + S / b. A global
batch's micro-batches give it at a small b and the global batch at a large one, hence both unknowns; the
noise scale is S / |G|^2, in seconds of audio. At a batch of that size a run needs twice the steps and
twice the audio of the two extremes; far beyond it, more audio in a step is wasted.

Two limits. A micro-batch here is sorted by length and of one kind, not a random sample, so strata that
pull in different directions count as noise: the estimate is too high by about the size of a micro-batch
at most, and means little where it is no larger than that. And a global batch of a single micro-batch
measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_HALF_LIFE_REFERENCE_BATCHES = 50.0


class GradientSquares:
    """Sums the squares of the gradients of single backward passes, before they are accumulated."""

    def __init__(self, module: nn.Module) -> None:
        self._squares: list[Tensor] = []
        for parameter in module.parameters():
            parameter.register_hook(self._add)  # type: ignore[no-untyped-call]

    def _add(self, gradient: Tensor) -> None:
        self._squares.append(gradient.detach().float().square().sum())

    def take(self) -> float:
        """The sum since the last call."""
        total = float(torch.stack(self._squares).sum()) if self._squares else 0.0
        self._squares.clear()
        return total


@dataclass
class GradientNoiseScale:
    """Smoothed estimates of S and |G|^2. State is plain numbers: a checkpoint holds `asdict(self)`."""

    noise: float = 0.0
    """S: variance of the gradient of one second of audio, summed over the parameters."""
    signal: float = 0.0
    """|G|^2."""

    def observe(
        self,
        small_square: float,
        large_square: float,
        micro_batches: int,
        seconds: float,
        reference_batch_seconds: float,
    ) -> None:
        """Take a global batch of `seconds` of audio into account.

        `small_square` is the mean, weighted by audio, of its micro-batches' squared gradient norms;
        `large_square` that of the whole batch; all of the mean loss per second of audio.
        """
        if micro_batches < 2 or not seconds > 0:
            return
        # Weighted by audio, the mean of 1 / b over the micro-batches is their number over the audio.
        noise = (small_square - large_square) * seconds / (micro_batches - 1)
        signal = (micro_batches * large_square - small_square) / (micro_batches - 1)
        half_life = _HALF_LIFE_REFERENCE_BATCHES * reference_batch_seconds
        keep = 0.5 ** (seconds / half_life)
        self.noise = keep * self.noise + (1.0 - keep) * noise
        self.signal = keep * self.signal + (1.0 - keep) * signal

    @property
    def seconds(self) -> float | None:
        """The noise scale in seconds of audio; None where the signal is lost in the noise."""
        return self.noise / self.signal if self.signal > 0.0 and self.noise > 0.0 else None
