"""What options of command lines hold."""

from __future__ import annotations

import argparse
import math

from asr.errors import UserError


def finite(text: str) -> float:
    """A number. Raises argparse's error for nan and infinity, which pass most comparisons unseen."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return value


def positive(text: str) -> float:
    """A finite number above 0. Raises argparse's error for another."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def batch_sizes(text: str, option: str) -> list[float]:
    """Different kappas, as in 1,2,4,8. Raises UserError for anything else."""
    try:
        kappas = [float(part) for part in text.split(",")]
    except ValueError:
        kappas = []
    are_positive = all(0 < kappa < math.inf for kappa in kappas)
    if not kappas or not are_positive or len(set(kappas)) < len(kappas):
        raise UserError(
            f"{option} '{text}' is no list of batch sizes",
            "write different positive numbers, as in 1,2,4,8",
        )
    return kappas
