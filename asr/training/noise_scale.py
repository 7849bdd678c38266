"""The gradient noise scale: up to which batch more audio in a step still pays.

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training" (arXiv 1812.06162), appendix A.1.
The expected squared norm of a gradient averaged over b seconds of audio is |G|^2 + S / b. A measured global
batch is dealt into parts of whole groups of the stream, which are random samples of it (asr/data/batching.py);
the parts give S, and the whole then |G|^2. The noise scale is S / |G|^2, in seconds of audio. At a batch of
that size a run needs twice the steps and twice the audio of the two extremes; far beyond it, more audio in
a step is wasted.

Seconds are those that the clock counts. Audio whose label was dropped has the gradient 0, as it has in the
loss, so the noise scale compares with a batch as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.data.batching import Part
from asr.scaling.validity import GradientNoise

_KEPT = 0.5 ** (1 / 8)
"""Weight of a measurement in the next one's average: a half-life of eight."""
_HALF_LIFE_REFERENCE_BATCHES = 256.0


def gradient_noise(inner_products: NDArray[np.float64], parts: Sequence[Part]) -> GradientNoise:
    """S and |G|^2 of one batch.

    `inner_products` (parts, parts) are of the parts' gradients, each the sum over its audio: u_j over b_j
    seconds and m_j groups. The gradient over all B seconds, g = sum_j u_j / B, is a ratio of two sums over
    groups: groups are not of one length. So its noise is that of the residuals e_j = u_j - b_j g (the combined
    ratio estimator of stratified samples: Cochran 1977, "Sampling Techniques", section 6.11). P parts of a
    stratum of M groups give the variance of a group's,

        (P - 1) v = sum_j |e_j|^2 / m_j - |sum_j e_j|^2 / M

    and the noise of the batch is the sum of its strata's: S / B = sum M v / B^2, |G|^2 = |g|^2 - S / B. For
    groups of equal length both are without bias, else up to a share of (scatter of lengths)^2 / groups.
    """
    seconds = np.array([part.seconds for part in parts])
    groups = np.array([part.groups for part in parts], dtype=np.float64)
    strata = np.array([part.stratum for part in parts])
    batch_seconds = float(seconds.sum())
    residual = np.eye(len(parts)) - seconds[:, None] / batch_seconds
    residuals = residual @ inner_products @ residual.T
    noise = 0.0
    for stratum in set(strata.tolist()):
        own = np.flatnonzero(strata == stratum)
        products, count = residuals[np.ix_(own, own)], float(groups[own].sum())
        spread = float((np.diag(products) / groups[own]).sum()) - float(products.sum()) / count
        noise += count * spread / (len(own) - 1) / batch_seconds
    whole = float(inner_products.sum()) / batch_seconds**2
    return GradientNoise(whole - noise / batch_seconds, noise)


@dataclass
class GradientNoiseScale:
    """Weighted sums over measurements, of which old ones fade. Plain numbers: a checkpoint's `asdict(self)`."""

    weights: float = 0.0
    squared_weights: float = 0.0
    noise: float = 0.0
    signal: float = 0.0
    noise_noise: float = 0.0
    """Of products of the two: their spread tells the error."""
    noise_signal: float = 0.0
    signal_signal: float = 0.0

    @classmethod
    def from_state(cls, state: Mapping[str, float]) -> GradientNoiseScale:
        """What `asdict` gave. Estimates of 0.1.0, which were of sorted micro-batches, are not continued."""
        names = {field.name for field in fields(cls)}
        return cls(**state) if state.keys() == names else cls()

    def observe(self, found: GradientNoise) -> None:
        """Take a measurement into account; one that is not finite is none."""
        noise, signal = found.noise, found.signal
        if not (math.isfinite(noise) and math.isfinite(signal)):
            return
        self.weights = _KEPT * self.weights + 1.0
        self.squared_weights = _KEPT**2 * self.squared_weights + 1.0
        self.noise = _KEPT * self.noise + noise
        self.signal = _KEPT * self.signal + signal
        self.noise_noise = _KEPT * self.noise_noise + noise * noise
        self.noise_signal = _KEPT * self.noise_signal + noise * signal
        self.signal_signal = _KEPT * self.signal_signal + signal * signal

    @property
    def gradient(self) -> GradientNoise | None:
        """Mean S and |G|^2; None before the first measurement."""
        if not self.weights:
            return None
        return GradientNoise(self.signal / self.weights, self.noise / self.weights)

    @property
    def seconds(self) -> float | None:
        """The noise scale in seconds of audio; None where the signal is lost in the noise."""
        return None if self.gradient is None else self.gradient.scale_seconds

    @property
    def error_seconds(self) -> float | None:
        """Standard error of the noise scale, that of a ratio of means; None for a single measurement."""
        scale, gradient = self.seconds, self.gradient
        share = self.squared_weights / self.weights**2 if self.weights else 1.0
        if scale is None or gradient is None or share > 1.0 - 1e-9:
            return None
        # Variance of noise - scale x signal, whose mean is 0.
        spread = self.noise_noise - 2 * scale * self.noise_signal + scale**2 * self.signal_signal
        variance = max(0.0, spread) / self.weights * share / (1.0 - share)
        return math.sqrt(variance) / gradient.signal

    def metrics(self) -> dict[str, Any]:
        """What a record of metrics.jsonl says of it."""
        gradient = self.gradient
        return {
            "gradient_noise_scale_seconds": self.seconds,
            "gradient_noise_scale_error_seconds": self.error_seconds,
            "gradient_signal": None if gradient is None else gradient.signal,
            "gradient_noise_seconds": None if gradient is None else gradient.noise,
        }


@dataclass
class ClippedShare:
    """Share of updates whose gradient was clipped, smoothed over audio: not by batches, which kappa changes."""

    clipped: float = 0.0
    weight: float = 0.0

    def observe(
        self, norm: float, threshold: float, seconds: float, reference_batch_seconds: float
    ) -> None:
        """Take an update over `seconds` into account; a threshold of 0 clips nothing."""
        if not math.isfinite(norm):
            return
        keep = 0.5 ** (seconds / (_HALF_LIFE_REFERENCE_BATCHES * reference_batch_seconds))
        self.clipped = keep * self.clipped + (1.0 - keep) * (0.0 < threshold < norm)
        self.weight = keep * self.weight + (1.0 - keep)

    @property
    def share(self) -> float | None:
        return self.clipped / self.weight if self.weight else None
