"""What a run's own gradients say of other batches: up to which more pays, and where the rule ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.config.schema import Config
from asr.errors import UserError
from asr.scaling.validity import NOTED_DEVIATION, GradientNoise, step_deviation


@dataclass(frozen=True)
class RunGradient:
    """The last that a run logged of its gradients."""

    run: Path
    hours: float = 0.0
    gradient: GradientNoise | None = None
    """None where it was not measured."""
    error_seconds: float | None = None
    """Standard error of the noise scale; None before the second measurement."""
    clipped_share: float | None = None
    is_outdated: bool = False
    """Whether an older version measured it, on sorted micro-batches: that is no measurement."""

    @classmethod
    def read(cls, run: Path) -> RunGradient:
        """Of a run's folder. Raises UserError where it has no metrics."""
        from asr.tracking.run_reader import read_run
        from asr.tracking.shapes import is_number

        if not (run / "metrics.jsonl").is_file():
            raise UserError(f"--run {run}: has no metrics.jsonl", "name the output folder of a run")
        lines = read_run(run).training
        for line in reversed(lines):
            signal, noise = line.get("gradient_signal"), line.get("gradient_noise_seconds")
            if is_number(signal) and is_number(noise):
                gradient = GradientNoise(float(signal or 0.0), float(noise or 0.0))
                error = line.get("gradient_noise_scale_error_seconds")
                return cls(run, line["hours"], gradient, error, line.get("clipped_share"))
        old = any(is_number(line.get("gradient_noise_scale_seconds")) for line in lines)
        return cls(run, is_outdated=old)

    @property
    def noise_scale_seconds(self) -> float | None:
        """S / |G|^2; None where it was not measured, or the signal is lost in the noise."""
        return None if self.gradient is None else self.gradient.scale_seconds

    def describe(self, reference_batch_seconds: float) -> str:
        """What it says of the largest batch that still pays."""
        seconds = self.noise_scale_seconds
        if seconds is not None:
            error = self.error_seconds
            spread = "a single measurement" if error is None else f"standard error {error:.2g} s"
            clipped = ""
            if self.clipped_share:
                clipped = f" {100 * self.clipped_share:.0f} % of its updates were clipped"
                few_or_most = not 0.05 < self.clipped_share < 0.95
                clipped += "." if few_or_most else ": steps may be off by more than is predicted."
            return (
                f"gradient noise scale of {self.run} at {self.hours:.4g} h: {seconds:.4g} s of audio "
                f"({spread}). Batches up to about that (kappa {seconds / reference_batch_seconds:.3g}) "
                "still pay; there a run takes twice its fewest steps and twice its least audio "
                f"(arXiv 1812.06162).{clipped}"
            )
        if self.gradient is not None:
            return (
                f"{self.run}: the gradient is lost in its noise, so the noise scale is above what can be "
                "measured at this batch: larger batches still pay"
            )
        if self.is_outdated:
            return (
                f"{self.run}: its gradient noise scale is of an older version, which measured it on sorted "
                "micro-batches and so too high, by ten times or more: resume or repeat the run for a new one"
            )
        return (
            f"{self.run}: no gradient noise scale was measured (yet): it takes "
            "trainer.noise_scale_every_batches batches, and in each two groups of the stream of each kind, or "
            "four in all; where a batch has fewer, lower batch.group_seconds"
        )

    def add_to(self, row: dict[str, Any], config: Config) -> None:
        """Put into a row of the plan what is to be expected at its batches, and a note where that is much."""
        row["gradient_noise_scale_seconds"] = self.noise_scale_seconds
        row["gradient_noise_scale_error_seconds"] = self.error_seconds
        pieces: Sequence[dict[str, Any]] = [row, *row.get("batch_schedule", [])]
        for piece in pieces:
            batch_seconds = piece["global_batch_seconds"]
            share = deviation = None
            if self.gradient is not None:
                share = self.gradient.signal_share(batch_seconds)
                deviation = step_deviation(config, batch_seconds, self.gradient)
            piece["gradient_signal_share"] = share
            piece["step_deviation_percent"] = None if deviation is None else 100.0 * deviation
            if deviation is not None and abs(deviation) > NOTED_DEVIATION:
                note = (
                    f"at kappa {piece['kappa']:.3g} steps are {100 * abs(deviation):.0f} % "
                    f"{'longer' if deviation > 0 else 'shorter'} than what keeps the curve, by the gradients "
                    f"of {self.run} at {self.hours:.4g} h"
                )
                if note not in row["notes"]:
                    row["notes"].append(note)
