"""The toy of "How to Scale Your EMA" (arXiv 2307.13813), section 3.1: SGD on a noisy parabola with an EMA.

The loss is a theta^2 / 2; a gradient over kappa base batches is drawn from N(g, (b g^2 + c) / kappa) with
g = a theta. SGD scales its learning rate by kappa. The average of theta is kept with a momentum that is
either left alone, scaled to 1 - kappa (1 - rho), or scaled to rho^kappa, and is compared with that of
kappa = 1 at equal numbers of samples. A batch at kappa holds the very samples of kappa base batches, so
its noise is theirs, averaged: what remains is the effect of the step's size, on the student and on the average.
The last form takes the midpoint of each step into the average, and not its end (`teacher.averaged_weights`).

    python noisy_parabola.py [--output FOLDER] [--seeds 200]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.scaling.conversions import half_life_from_momentum, momentum_from_half_life

A, B, C = 1.0, 0.5, 0.0
LEARNING_RATE = 1e-4
MOMENTUM = 0.9999
START = 1.0
BASE_STEPS = 40_960
CHECKPOINTS = 10
KAPPAS = (1, 4, 16, 64, 256, 1024)
BASE_BATCH_SECONDS = 1.0  # any: only the ratio of batch and half-life matters

FORMS: dict[str, Callable[[int], float]] = {
    "no scaling": lambda kappa: MOMENTUM,
    "linear form": lambda kappa: 1.0 - kappa * (1.0 - MOMENTUM),
    "the rule": lambda kappa: momentum_from_half_life(
        half_life_from_momentum(MOMENTUM, BASE_BATCH_SECONDS), kappa * BASE_BATCH_SECONDS
    ),
}
MIDPOINT = "the rule, midpoint"
FORMS[MIDPOINT] = FORMS["the rule"]


def trajectories(kappa: int, noise: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The mean over seeds of the average, for each form, at the checkpoints.

    `noise` (base steps, seeds) is standard normal; checkpoints are whole numbers of samples.
    """
    pooled = noise.reshape(-1, kappa, noise.shape[1]).mean(axis=1)  # variance 1 / kappa
    steps, seeds = pooled.shape
    theta = np.full(seeds, START)
    averages = {form: np.full(seeds, START) for form in FORMS}
    momenta = {form: momentum(kappa) for form, momentum in FORMS.items()}
    found: dict[str, list[float]] = {form: [] for form in FORMS}
    # Not every number of steps can be divided by ten: read between steps, linearly in samples.
    marks = np.arange(1, CHECKPOINTS + 1) * steps / CHECKPOINTS
    means = {form: [START] for form in FORMS}
    for z in pooled:
        gradient = A * theta
        before = theta
        theta = theta - kappa * LEARNING_RATE * (gradient + np.sqrt(B * gradient**2 + C) * z)
        for form, average in averages.items():
            taken = (before + theta) / 2 if form == MIDPOINT else theta
            average += (1.0 - momenta[form]) * (taken - average)
            means[form].append(float(average.mean()))
    for form in FORMS:
        found[form] = list(np.interp(marks, np.arange(steps + 1), means[form]))
    return {form: np.array(values) for form, values in found.items()}


def errors(seeds: int) -> dict[str, dict[int, float]]:
    """Mean absolute distance from kappa = 1's trajectory over the checkpoints, by form and kappa."""
    noise = np.random.default_rng(0).standard_normal((BASE_STEPS, seeds))
    reference = trajectories(1, noise)
    by_kappa = {kappa: trajectories(kappa, noise) for kappa in KAPPAS[1:]}
    return {
        form: {k: float(np.abs(t[form] - reference[form]).mean()) for k, t in by_kappa.items()}
        for form in FORMS
    }


def table(found: dict[str, dict[int, float]]) -> str:
    """Markdown."""
    lines = [
        "| kappa | " + " | ".join(FORMS) + " | no scaling / the rule |",
        "|---" * (len(FORMS) + 2) + "|",
    ]
    for kappa in KAPPAS[1:]:
        cells = " | ".join(f"{found[form][kappa]:.1e}" for form in FORMS)
        ratio = found["no scaling"][kappa] / found["the rule"][kappa]
        lines.append(f"| {kappa} | {cells} | {ratio:,.0f} |")
    return "\n".join(lines) + "\n"


def draw(found: dict[str, dict[int, float]], path: Path) -> None:
    """Error over kappa, both logarithmic."""
    import matplotlib
    from matplotlib.figure import Figure

    styles = {
        "no scaling": ("#cf6a12", "-", "^"),
        "linear form": ("#2f81c7", "--", "s"),
        "the rule": ("#8b5cf6", "-", "o"),
        MIDPOINT: ("#13917f", "-", "D"),
    }
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "asr"}):
        figure = Figure(figsize=(5.6, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for form, (colour, dashes, marker) in styles.items():
            axes.plot(
                KAPPAS[1:],
                [found[form][kappa] for kappa in KAPPAS[1:]],
                label=form,
                color=colour,
                linestyle=dashes,
                marker=marker,
            )
        axes.set_xscale("log", base=4)
        axes.set_yscale("log")
        axes.set_xticks(KAPPAS[1:], [str(kappa) for kappa in KAPPAS[1:]])
        axes.set_xlabel("kappa")
        axes.set_ylabel("distance of the mean trajectory\nfrom that of kappa = 1")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.2)
        axes.legend(frameon=False)
        figure.savefig(path, facecolor="white", metadata=dict.fromkeys(("Creator", "Date")))


def main() -> None:
    """Print the table; with --output write it and the figure."""
    parser = argparse.ArgumentParser(
        description="The paper's toy: a table and a figure, in seconds."
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--output", type=Path, help="folder for table.md and figure.svg")
    arguments = parser.parse_args()
    started = time.perf_counter()
    found = errors(arguments.seeds)
    print(table(found), end="")
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "table.md").write_text(table(found), encoding="utf-8")
        draw(found, arguments.output / "figure.svg")
        print(f"{arguments.output}/table.md, {arguments.output}/figure.svg")
    print(f"{arguments.seeds} seeds, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
