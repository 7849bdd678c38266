"""An n-gram language model from the transcripts of prepared sets, as an ARPA file.

Interpolated Kneser-Ney (Chen & Goodman 1999, "An empirical study of smoothing techniques for language
modeling", section 3, with one discount an order, D = n1 / (n1 + 2 n2)). An interpolated model is exactly a
back-off model whose probabilities have the lower orders' share in them, which is what ARPA holds. No package
that installs everywhere estimates one; KenLM's own lmplz is the tool for texts beyond some millions of words.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from asr.errors import UserError
from asr.utils.files import replacing

from .tokenizer import texts_of

WORD_BOUNDARY = "|"
"""The space, in a model of characters."""
_BEGIN, _END, _UNKNOWN = "<s>", "</s>", "<unk>"
_NEVER = -99.0

Gram = tuple[str, ...]


def train_ngram(
    manifests: list[Path], output: Path, unit: Literal["characters", "words"], order: int
) -> None:
    """Estimate on the texts of the cuts, and on nothing else. Raises UserError without text."""
    if not 2 <= order <= 6:
        raise UserError(
            f"--order {order} is impossible",
            "it must be between 2 and 6, which is what KenLM reads",
        )
    sentences = [units_of(text, unit) for text in texts_of(manifests)]
    model = estimate(sentences, order)
    with replacing(output) as file:
        file.write("".join(arpa_lines(model)).encode())
    sizes = ", ".join(f"{len(grams):,} {n}-grams" for n, grams in enumerate(model, start=1))
    print(f"{output}: {unit}, {sizes} from {len(sentences):,} transcripts")


def units_of(text: str, unit: Literal["characters", "words"]) -> list[str]:
    """The words of a text, or its characters with the space as WORD_BOUNDARY."""
    words = text.split()
    return words if unit == "words" else list(WORD_BOUNDARY.join(words))


def estimate(
    sentences: Iterable[Sequence[str]], order: int
) -> list[dict[Gram, tuple[float, float]]]:
    """For each order from 1: n-gram -> (log10 probability, log10 back-off weight)."""
    highest: Counter[Gram] = Counter()
    for sentence in sentences:
        padded = [_BEGIN, *sentence, _END]
        # Shorter ones stand at the beginning, where nothing comes before <s>.
        for end in range(2, len(padded) + 1):
            highest[tuple(padded[max(0, end - order) : end])] += 1
    counts = _continuation_counts(highest, order)
    lower: Mapping[Gram, float] = {}
    model: list[dict[Gram, tuple[float, float]]] = []
    vocabulary = {gram[-1] for gram in counts[0]} | {_END, _UNKNOWN}
    probabilities: list[dict[Gram, float]] = []
    weights: list[dict[Gram, float]] = []
    for n, grams in enumerate(counts, start=1):
        discount = _discount(grams.values())
        totals: defaultdict[Gram, float] = defaultdict(float)
        followers: Counter[Gram] = Counter()
        for gram, count in grams.items():
            totals[gram[:-1]] += count
            followers[gram[:-1]] += 1
        weight = {c: discount * followers[c] / total for c, total in totals.items()}
        here = {
            gram: (count - discount) / totals[gram[:-1]]
            + weight[gram[:-1]] * (lower[gram[1:]] if n > 1 else 1.0 / len(vocabulary))
            for gram, count in grams.items()
        }
        if n == 1:
            for word in vocabulary:
                here.setdefault((word,), weight[()] / len(vocabulary))
        probabilities.append(here)
        weights.append(weight)
        lower = here
    for n, here in enumerate(probabilities, start=1):
        backoff = weights[n] if n < order and n < len(weights) else {}
        grams_here = {
            gram: (math.log10(p), math.log10(backoff[gram]) if gram in backoff else 0.0)
            for gram, p in here.items()
        }
        if n == 1:
            begin = math.log10(backoff[(_BEGIN,)]) if (_BEGIN,) in backoff else 0.0
            grams_here[(_BEGIN,)] = (_NEVER, begin)
        model.append(grams_here)
    return model


def _continuation_counts(highest: Counter[Gram], order: int) -> list[Counter[Gram]]:
    """Counts by order: plain at the top and after <s>, elsewhere the number of different words before."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for gram, count in highest.items():
        counts[len(gram) - 1][gram] += count
    for n in range(order - 1, 0, -1):
        for gram in counts[n]:
            counts[n - 1][gram[1:]] += 1
    return counts


def _discount(counts: Iterable[int]) -> float:
    of = Counter(counts)
    return of[1] / (of[1] + 2 * of[2]) if of[1] and of[2] else 0.5


def arpa_lines(model: Sequence[Mapping[Gram, tuple[float, float]]]) -> Iterable[str]:
    """The lines of an ARPA file."""
    yield "\\data\\\n"
    for n, grams in enumerate(model, start=1):
        yield f"ngram {n}={len(grams)}\n"
    for n, grams in enumerate(model, start=1):
        yield f"\n\\{n}-grams:\n"
        for gram, (probability, backoff) in sorted(grams.items()):
            tail = f"\t{backoff:.6f}" if n < len(model) else ""
            yield f"{probability:.6f}\t{' '.join(gram)}{tail}\n"
    yield "\n\\end\\\n"
