"""Dev metrics of texts: the same greedy decoding and the same counts as `asr decode` and `asr score`.

But for utterances longer than corpus.max_seconds, in which `asr decode` limits the attention's reach; and an
encoder-decoder writes here without the safeguards that it has there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.data.segments import Segment
from asr.decoding.reading import Reading, read
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.evaluation.edit_distance import error_counts
from asr.evaluation.normalisers import make_normaliser
from asr.model.features import FrontEnd
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer
from asr.training.validation.dev_sets import DevMetrics, DevSets, Watch, sets_that_fit


@dataclass(frozen=True)
class TextMetrics(DevMetrics):
    """A model on a dev set."""

    wer: float
    """Percent."""
    cer: float
    """Percent."""
    dev_loss: float | None
    """The student's loss (CTC, or cross-entropy) in nats per second of audio, over the references that the
    model can emit at all."""
    lost_utterances: int = 0
    """Whose audio cannot be read: all the above is of the others."""

    @property
    def score(self) -> float:
        """The WER."""
        return self.wer


@dataclass(frozen=True)
class TextDevSets(DevSets):
    """Dev sets, and what reads and compares their texts."""

    tokenizer: Tokenizer
    normalise: Callable[[str], str]
    """Under which texts are compared."""

    @classmethod
    def load(
        cls, config: Config, front_end: FrontEnd, tokenizer: Tokenizer, ranks: Ranks
    ) -> TextDevSets:
        """A recipe's. Raises UserError as `sets_that_fit` does."""
        normalise = make_normaliser(
            config.corpus.scoring_normaliser, "corpus.scoring_normaliser"
        ).apply
        sets = sets_that_fit(config, front_end)
        return cls(sets, front_end, ranks, config.corpus.max_lost_share, tokenizer, normalise)

    @torch.inference_mode()
    def evaluate(
        self, network: SpeechModel, speech: SpeechSet, watch: Watch | None = None
    ) -> TextMetrics:
        sums, lost = [0.0] * 6, list[str]()
        for share in self.shares(speech, lost):
            found = read(network, share.features_BTF, share.lengths_B, share.seconds)
            if share.is_mine:
                references = [speech.references[s.index] for s in share.segments]
                frames = network.encoder.output_lengths(share.lengths_B).tolist()
                counts = (
                    *self._errors(found, references),
                    *self._loss(network, found, references, frames, share.segments),
                )
                sums = [total + count for total, count in zip(sums, counts, strict=True)]
                if watch is not None:
                    watch(found, share.segments, references)
        word_errors, words, character_errors, characters, loss, spoken = self.ranks.sum(sums)
        metrics = TextMetrics(
            wer=100 * word_errors / max(1.0, words),
            cer=100 * character_errors / max(1.0, characters),
            dev_loss=loss / spoken if spoken else None,
            lost_utterances=self.count_lost(speech, lost),
        )
        if watch is not None:
            watch.metrics.append(metrics)
        return metrics

    def _errors(self, found: Reading, references: Sequence[str]) -> tuple[float, ...]:
        """Of words and of characters: errors, and the reference's length."""
        texts = [self.tokenizer.decode(hypothesis.tokens) for hypothesis in found.hypotheses]
        counts = error_counts(
            [self.normalise(text) for text in references], [self.normalise(text) for text in texts]
        )
        return tuple(float(n) for c in counts for n in (c.errors, c.reference_length))

    def _loss(
        self,
        network: SpeechModel,
        found: Reading,
        references: Sequence[str],
        frames: Sequence[int],
        segments: Sequence[Segment],
    ) -> tuple[float, float]:
        """Summed in nats, and the seconds of audio that it covers: of what the model can emit at all."""
        targets = {place: _tokens(self.tokenizer, text) for place, text in enumerate(references)}
        possible = {
            place: target
            for place, target in targets.items()
            if target is not None and network.criterion.can_emit(target, frames[place])
        }
        if not possible:
            return 0.0, 0.0
        losses_B = found.losses(list(possible), list(possible.values()))
        return float(losses_B.sum()), sum(segments[place].seconds for place in possible)


def _tokens(tokenizer: Tokenizer, reference: str) -> list[int] | None:
    """None for a reference with a character that the model has no token for."""
    try:
        return tokenizer.encode(reference)
    except UserError:
        return None
