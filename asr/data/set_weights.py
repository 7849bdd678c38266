"""How often a pass plays the utterances of each set: a pure function of (sets, seed, pass)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.data.manifest.index import MANIFEST_SUFFIX
from asr.data.segments import MOST_COPIES, GroupedCorpus, Kind, SetWeights, about_groups
from asr.errors import UserError


def set_weights(config: Config, kind: Kind, sets: Sequence[SpeechSet]) -> SetWeights | None:
    """The weights of what is trained on, of sets of any number of manifests each; None where all are 1.

    By `corpus.weights`, or by `corpus.temperature` T: sets of h hours are then drawn in proportion to
    h^(1/T), and a pass is as long as without (Conneau et al., arXiv 1911.02116, section 3.1, of languages).
    Raises UserError where a pass would hold nothing.
    """
    corpus = config.corpus
    if not corpus.weights and corpus.temperature is None:
        return None
    manifests = [manifest.manifest for speech in sets for manifest in speech.manifests]
    firsts = np.cumsum([0, *(len(speech.manifests) for speech in sets)])
    set_of = np.concatenate(
        [speech.manifest_of + first for speech, first in zip(sets, firsts, strict=False)]
    )
    if corpus.temperature is not None:
        seconds = np.concatenate([speech.seconds for speech in sets])
        by_set = np.bincount(set_of, seconds, len(manifests)).astype(np.float64)
        of_set = _by_temperature(by_set, corpus.temperature)
    else:
        directory = Path(corpus.directory)
        given = {
            path: weight
            for name, weight in corpus.weights.items()
            for path in (directory / name, directory / f"{name}{MANIFEST_SUFFIX}")
        }
        of_set = np.array([given.get(path, 1.0) for path in manifests])
    if (of_set == 1.0).all():
        return None
    if of_set.max() > MOST_COPIES:
        name = manifests[int(of_set.argmax())].name
        raise UserError(
            f"corpus.temperature or weights: a pass over corpus.{kind} would play {name} {of_set.max():,.0f} "
            f"times, more than {MOST_COPIES:,}",
            "lower it, or leave the set out",
        )
    if not np.floor(np.bincount(set_of, minlength=len(manifests)) * of_set).sum():
        raise UserError(
            f"corpus.weights: a pass over corpus.{kind} would hold no utterance", "raise them"
        )
    return SetWeights(set_of, of_set)


def about_weights(kind: Kind, sets: Sequence[SpeechSet], weights: SetWeights | None) -> list[str]:
    """A note of what is in force, where that is not all sets alike."""
    if weights is None:
        return []
    seconds = np.concatenate([speech.seconds for speech in sets])
    hours = np.bincount(weights.set_of, seconds, len(weights.of_set)) / 3600
    names = [
        manifest.manifest.name.removesuffix(MANIFEST_SUFFIX)
        for speech in sets
        for manifest in speech.manifests
    ]
    parts = [
        f"'{name}' {weight:.3g} times ({weight * own:.3g} h)"
        for name, weight, own in zip(names, weights.of_set, hours, strict=True)
    ]
    return [f"a pass over {kind} speech plays {', '.join(parts)}"]


def _by_temperature(seconds: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    shares = (seconds / seconds.sum()) ** (1.0 / temperature)
    weights: NDArray[np.float64] = shares / shares.sum() * seconds.sum() / seconds
    return np.where(np.isclose(weights, 1.0, rtol=1e-12), 1.0, weights)


def grouped(
    config: Config, sets: dict[Kind, SpeechSet]
) -> tuple[dict[Kind, GroupedCorpus], list[str]]:
    """The sets as passes of groups, and notes on these."""
    corpora, notes, weighted = {}, list[str](), list[str]()
    for kind, speech in sets.items():
        weights = set_weights(config, kind, [speech])
        speeds = config.augmentation.speed_factors
        corpora[kind] = GroupedCorpus(
            kind, speech.seconds, config.group_seconds, config.seed, speeds, weights
        )
        notes += about_groups(corpora[kind])
        weighted += about_weights(kind, [speech], weights)
    return corpora, [*notes, *weighted]
