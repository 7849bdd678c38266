"""How far a run's own gradients are from what the scaling rule assumes of them.

The square-root rule holds where gradients are noise: then Adam's second moment, and so the square of what
it divides by, falls as 1/kappa (arXiv 2205.10287). But the expected square of a gradient over B seconds
of audio is |G|^2 + S / B (arXiv 1812.06162, appendix A.1), and its signal |G|^2 does not fall. So steps of a
large batch are shorter than the rule means them to be:

    sqrt((1 + |G|^2 b / S) / (1 + |G|^2 B / S))        b the reference batch, B = kappa b

Clipping. A gradient whose norm exceeds the threshold is multiplied by threshold / norm, and in many
dimensions the norm hardly varies from batch to batch. So always-clipped gradients have a second moment that
does not fall with kappa at all; but Adam divides the same factor out again, and its steps are what they
would be without clipping. SGD does not: clipped, it makes steps of a fixed length, so that the linear rule's
are too long by the norm at the reference batch over that in force.

What is left out: eps, weight decay, that coordinates differ in their share of signal, and norms that
scatter widely around the threshold (a share of clipped updates that is neither near 0 nor near 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asr.config.schema import Config
from asr.scaling.clock import crossed
from asr.scaling.rule import Hyperparameters, in_force, reference

NOTED_DEVIATION = 0.1
"""Of the length of a step, from which on a user is told."""


@dataclass(frozen=True)
class GradientNoise:
    """Signal and noise of the gradient of the mean loss per second of audio."""

    signal: float
    """|G|^2: squared norm of the expected gradient."""
    noise: float
    """S, in seconds: the squared norm that noise adds to a gradient over B seconds is S / B."""

    @property
    def scale_seconds(self) -> float | None:
        """The gradient noise scale S / |G|^2; None where the signal is lost in the noise."""
        return self.noise / self.signal if self.signal > 0.0 and self.noise > 0.0 else None

    def square_norm(self, batch_seconds: float) -> float:
        """Expected squared norm of the gradient of a global batch."""
        return max(0.0, self.signal) + max(0.0, self.noise) / batch_seconds

    def signal_share(self, batch_seconds: float) -> float | None:
        """Share of Adam's second moment at such batches that is signal, not noise; None if all is 0."""
        square = self.square_norm(batch_seconds)
        return max(0.0, self.signal) / square if square > 0.0 else None


def step_deviation(config: Config, batch_seconds: float, gradient: GradientNoise) -> float | None:
    """How much longer a step is than what keeps the curve, as a share; below 0 where it is shorter.

    What keeps the curve is that a second of audio moves the student as it does at the reference batch. -0.12:
    it moves 12 % less. Where `scaling.rule` leaves the learning rate alone, that counts, too. None without a
    gradient. Raises UserError where the rule has no solution.
    """
    if gradient.square_norm(batch_seconds) <= 0.0:
        return None
    at_reference = _movement(reference(config), gradient)
    return _movement(in_force(config, batch_seconds), gradient) / at_reference - 1.0


def _movement(values: Hyperparameters, gradient: GradientNoise) -> float:
    """By a second of audio, for each unit of the expected gradient, at the peak learning rate."""
    norm = math.sqrt(gradient.square_norm(values.batch_seconds))
    divisor = norm if values.betas else 1.0
    if 0.0 < values.max_gradient_norm < norm and not values.betas:
        divisor = norm / values.max_gradient_norm
    return values.learning_rate / divisor / values.batch_seconds


def is_measured(
    config: Config, nominal_seconds: float, before_seconds: float, after_seconds: float
) -> bool:
    """Whether the noise scale is measured on the global batch between two places of the stream.

    A function of the stream and the batch's nominal size alone, so that a resumed run measures what an
    uninterrupted one does. By audio and not by batches below the reference batch, where batches are cheap.
    """
    batches = config.trainer.noise_scale_every_batches
    every_seconds = batches * max(nominal_seconds, config.scaling.reference_batch_seconds)
    return batches > 0 and crossed(before_seconds, after_seconds, every_seconds)
