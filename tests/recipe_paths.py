"""Recipes of this repository that tests read."""

from __future__ import annotations

from pathlib import Path

RECIPES = Path(__file__).parents[1] / "recipes"
LIBRISPEECH = RECIPES / "librispeech/100h_860h.yaml"
FESTVOX = RECIPES / "festvox_ru/pseudo_labelled.yaml"
