"""Types of the options of command lines."""

from __future__ import annotations

import argparse
import math


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
