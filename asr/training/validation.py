"""Dev metrics in training: the same greedy decoding and the same counts as `asr decode` and `asr score`.

But for utterances longer than corpus.max_seconds, in which `asr decode` limits the attention's reach; and an
encoder-decoder writes here without the safeguards that it has there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from asr.config.schema import Config
from asr.data.batching import split_into_micro_batches
from asr.data.dataset import SpeechSet, load_dev_sets
from asr.data.loading.ahead import each_made_ahead
from asr.data.manifest.admission import by_content
from asr.data.reading import Readable
from asr.data.segments import Kind, Segment
from asr.decoding.reading import Reading, read
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.evaluation.edit_distance import error_counts
from asr.evaluation.normalisers import make_normaliser
from asr.model.features import FrontEnd
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer
from asr.training.guards.audio_store import bring_together
from asr.utils.devices import sent
from asr.utils.launcher import cores_of_this_process

_MAX_BATCH_SECONDS = 120.0
_MOST_READERS = 4
"""Threads of a rank that read dev speech."""


@dataclass(frozen=True)
class DevMetrics:
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


Watch = Callable[[Reading, Sequence[Segment], Sequence[str]], None]
"""(what was read, segments, references): of this rank's share of a dev set."""


@dataclass(frozen=True)
class DevSets:
    """Dev sets, and what reads and compares their texts."""

    sets: Sequence[SpeechSet]
    front_end: FrontEnd
    tokenizer: Tokenizer
    ranks: Ranks
    normalise: Callable[[str], str]
    """Under which texts are compared."""
    most_lost: float = 0.05
    """Share of a set that may be lost, before nothing is said of it."""

    @classmethod
    def load(
        cls, config: Config, front_end: FrontEnd, tokenizer: Tokenizer, ranks: Ranks
    ) -> DevSets:
        """A recipe's. Raises UserError where one is missing, of another rate, or too long for the model."""
        normalise = make_normaliser(
            config.corpus.scoring_normaliser, "corpus.scoring_normaliser"
        ).apply
        sets = load_dev_sets(config)
        most = front_end.longest_seconds
        for speech in sets if most else []:
            longest = int(speech.seconds.argmax())
            if speech.seconds[longest] > most:
                raise UserError(
                    f"utterance '{speech.ids[longest]}' of dev set '{speech.name}' has "
                    f"{speech.seconds[longest]:.4g} s, and the model hears at most {most:g} s",
                    "cut it, or take a dev set of shorter ones",
                )
        return cls(sets, front_end, tokenizer, ranks, normalise, config.corpus.max_lost_share)

    @torch.inference_mode()
    def evaluate(
        self, network: SpeechModel, speech: SpeechSet, watch: Watch | None = None
    ) -> DevMetrics:
        """One of the sets by a model in evaluation mode; `watch` sees it all. A collective.

        Raises UserError, on all ranks, where more of the set is lost than may be.
        """
        segments = [Segment(Kind.LABELLED, i, 0, float(s)) for i, s in enumerate(speech.seconds)]
        sums, lost = [0.0] * 6, list[str]()
        shortest = self.front_end.shortest_seconds
        slots = split_into_micro_batches(
            segments, self.ranks.world, _MAX_BATCH_SECONDS, shortest_seconds=shortest
        )
        rank = self.ranks.rank
        # A rank without a share decodes a neighbour's, uncounted: the forward pass may be a collective.
        shares = [slot[rank] or next(part for part in slot if part) for slot in slots]
        bring_together(speech, [s.index for share in shares for s in share], self.ranks)
        for slot, share, heard in zip(slots, shares, _heard(speech, shares), strict=True):
            mine = slot[rank]
            lost += [error.what for error in heard.lost.values()] if mine else []
            mine = [mine[place] for place in heard.kept] if mine else []
            seconds = [share[place].seconds for place in heard.kept] or [1.0]
            device = self.ranks.device
            features_BTF, lengths_B = self.front_end(
                sent(heard.waveforms_BN, device), heard.samples_B
            )
            found = read(network, features_BTF, lengths_B, seconds)
            if mine:
                references = [speech.references[s.index] for s in mine]
                frames = network.encoder.output_lengths(lengths_B).tolist()
                counts = (
                    *self._errors(found, references),
                    *self._loss(network, found, references, frames, mine),
                )
                sums = [total + count for total, count in zip(sums, counts, strict=True)]
                if watch is not None:
                    watch(found, mine, references)
        *sums, count = self.ranks.sum([*sums, float(len(lost))])
        if count > self.most_lost * len(speech):
            [first, *_] = self.ranks.gather(lost)
            raise UserError(
                f"dev set '{speech.name}': {count:.0f} of {len(speech)} utterances cannot be read, such as "
                f"{first}",
                "mount or restore the audio, and run the same command: it goes on from its last checkpoint",
            ).of_all(self.ranks.is_first)
        word_errors, words, character_errors, characters, loss, spoken = sums
        return DevMetrics(
            wer=100 * word_errors / max(1.0, words),
            cer=100 * character_errors / max(1.0, characters),
            dev_loss=loss / spoken if spoken else None,
            lost_utterances=int(count),
        )

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


def _heard(speech: SpeechSet, shares: Iterable[Sequence[Segment]]) -> Iterator[Readable]:
    """The audio of each share, of which some are read while those before them are decoded."""
    cuts = ([speech.cuts[segment.index] for segment in share] for share in shares)
    threads = min(_MOST_READERS, cores_of_this_process())
    with by_content():  # once: threads share the backend
        yield from each_made_ahead(lambda own: Readable.of(own, range(len(own))), cuts, threads)


def _tokens(tokenizer: Tokenizer, reference: str) -> list[int] | None:
    """None for a reference with a character that the model has no token for."""
    try:
        return tokenizer.encode(reference)
    except UserError:
        return None
