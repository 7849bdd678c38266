"""Which measure of confidence tells good labels from bad ones: a Markdown table for each set.

    .venv/bin/python tools/confidence_measures.py data/festvox_ru/{dev,untranscribed}.jsonl.gz \\
        --teachers exp/run/checkpoints/hours-*

Labels are greedy. Of each teacher, and measure of `pseudo_label.filters.confidence`: Spearman's rank
correlation with the labels' character error rates over the utterances (-1 would be perfect) with a 95 %
bootstrap interval; the CER in percent of the surer half of the labels; and the confidence at which that
begins, for `min_confidence`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr.data.dataset import SpeechSet
from asr.decoding.confidence import MEASURES, confidences
from asr.decoding.decode_dataset import set_logits
from asr.errors import UserError
from asr.evaluation.edit_distance import error_counts
from asr.evaluation.normalisers import recorded_normaliser
from asr.model.ctc import best_paths
from asr.model.model_folder import load_model

_RESAMPLES = 2000
Values = NDArray[np.float64]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", type=Path, nargs="+", help="prepared, with references")
    parser.add_argument("--teachers", type=Path, nargs="+", required=True, help="checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    arguments = parser.parse_args()
    try:
        for manifest in arguments.sets:
            print("\n".join(table(manifest, arguments.teachers, arguments.seed)), end="\n\n")
    except UserError as error:
        parser.error(str(error))


def table(manifest: Path, teachers: list[Path], seed: int) -> Iterator[str]:
    """The lines of one set's. Raises UserError for what cannot be read."""
    measured = [Measured(teacher, manifest) for teacher in teachers]
    first = measured[0]
    yield f"{manifest.name}, {len(first.errors)} utterances"
    yield ""
    names = [
        f"{t.name}, labels' CER {m.cer(m.everything):.1f}"
        for t, m in zip(teachers, measured, strict=True)
    ]
    yield f"| measure | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(teachers)
    for name in MEASURES:
        yield f"| `{name}` | {' | '.join(m.cell(name, seed) for m in measured)} |"


class Measured:
    """One teacher's labels of one set: their errors, and how sure each measure says that it is."""

    def __init__(self, teacher: Path, manifest: Path) -> None:
        model = load_model(teacher)
        speech = SpeechSet.load(manifest).at_rate(model.config.features.sample_rate_hz)
        own = model.config.corpus.scoring_normaliser
        normalise = recorded_normaliser(own, f"{teacher}: corpus.scoring_normaliser").apply
        errors, characters, sure = [], [], []
        with torch.inference_mode():
            for place, logits_SV in set_logits(model, speech):
                if not speech.references[place]:
                    continue
                given = logits_SV[None], torch.tensor([len(logits_SV)])
                labels = best_paths(*given)
                text = model.tokenizer.decode(labels[0])
                reference = normalise(speech.references[place])
                _, counts = error_counts([reference], [normalise(text)])
                errors.append(counts.errors)
                characters.append(counts.reference_length)
                sure.append([confidences(name, *given, labels)[0] for name in MEASURES])
        if not errors:
            raise UserError(f"{manifest}: has no references", "name a set that has them")
        self.errors, self.characters = np.array(errors, float), np.array(characters, float)
        self.sure = dict(zip(MEASURES, np.array(sure).T, strict=True))

    @property
    def everything(self) -> NDArray[np.bool_]:
        return np.ones(len(self.errors), bool)

    def cer(self, chosen: NDArray[np.bool_]) -> float:
        """Of some labels together, in percent."""
        return float(100 * self.errors[chosen].sum() / self.characters[chosen].sum())

    def cell(self, name: str, seed: int) -> str:
        """What one measure comes to."""
        sure, rates = self.sure[name], self.errors / self.characters
        random = np.random.default_rng(seed)
        draws = random.integers(0, len(rates), (_RESAMPLES, len(rates)))
        low, high = np.quantile([spearman(sure[d], rates[d]) for d in draws], [0.025, 0.975])
        middle = float(np.median(sure))
        half = self.cer(sure >= middle)
        return f"{spearman(sure, rates):.2f} [{low:.2f}, {high:.2f}]; {half:.1f} from {middle:.2f}"


def spearman(left: Values, right: Values) -> float:
    """The correlation of ranks; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: Values) -> Values:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


if __name__ == "__main__":
    main()
