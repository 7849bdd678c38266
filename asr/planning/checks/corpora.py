"""What the prepared corpora say against a recipe: every fault of every set, not the first alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr.config.model import EncoderDecoderConfig
from asr.config.schema import Config
from asr.data.dataset import SpeechSet, check_stored_features, first_duplicate, unmatched
from asr.data.manifest.index import MANIFEST_SUFFIX
from asr.data.reading import load_features, load_samples
from asr.data.segments import GroupedCorpus, Kind, about_groups
from asr.data.set_weights import about_weights, set_weights
from asr.data.spelling import count_lacking
from asr.data.transcripts import training_tokenizer, unspelt
from asr.errors import LostAudioError, StoreAwayError, UserError
from asr.model.features import FrontEnd
from asr.model.make import check_lengths, make_front_end
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer
from asr.planning.checks.finding import Finding, note
from asr.planning.network import network_of

_MOST_FILES_LOOKED_AT = 2_000
_MOST_OPENED = 100
_LARGE_SHARE = 0.05
_INFEASIBLE_SHARE = 0.01


@dataclass
class Corpora:
    """The sets of a recipe that can be read, by role."""

    config: Config
    sets: dict[str, list[SpeechSet]] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    network: SpeechModel | None = None
    """Its shapes; None, as the two others, where the pretrained model is not there."""
    front_end: FrontEnd | None = None
    tokens: int = 0
    """Of the transcripts that can be spelt, and their audio below."""
    token_seconds: float = 0.0

    def check(self) -> Iterator[Finding]:
        """Every finding; then `sets` holds what could be read."""
        try:
            self.tokenizer = training_tokenizer(self.config)
            self.network = network_of(self.config, self.tokenizer.vocabulary_size)
            self.front_end = make_front_end(self.config, self.network.encoder)
            check_lengths(self.config, self.front_end)
        except UserError as error:
            yield Finding.of(error)
        yield from self._read()
        for role, sets in self.sets.items():
            for speech in sets:
                yield from _twice(speech, role)
                yield from self._shards(speech, role)
                yield from self._audio(speech, role)
                yield from self._lengths(speech, role)
        if self.config.objective.has_texts:
            yield from self._texts()
        yield from self._overlaps()
        yield from self._groups()
        yield from self._policy()

    def _texts(self) -> Iterator[Finding]:
        for speech in self.sets.get("labelled", []):
            yield from self._transcripts(speech)
        for role in ("dev", "test"):
            for speech in self.sets.get(role, []):
                yield from _references(speech, role)

    def kept(self, speech: SpeechSet) -> SpeechSet:
        """What of a set is trained on."""
        return speech.within(self.config.corpus.min_seconds, self.config.corpus.max_seconds)

    @property
    def labelled_hours(self) -> float:
        """Of the transcribed speech that is trained on."""
        if not self.config.objective.has_texts:
            return 0.0
        return sum(float(self.kept(s).seconds.sum()) for s in self.sets.get("labelled", [])) / 3600

    def _read(self) -> Iterator[Finding]:
        corpus = self.config.corpus
        directory = Path(corpus.directory)
        if not directory.is_dir():
            yield Finding(
                f"corpus.directory: {directory} does not exist",
                "prepare the corpus (asr prepare --help), or fix the path; it is relative to the working "
                "directory",
            )
            return
        for role in ("labelled", "untranscribed", "dev", "test"):
            is_stored = self.config.features.source == "precomputed" and role in set(Kind)
            for name in dict.fromkeys(getattr(corpus, role)):
                try:
                    if is_stored:
                        check_stored_features(self.config, directory, [name])
                    speech = SpeechSet.load(directory / f"{name}{MANIFEST_SUFFIX}")
                    speech.at_rate(self.config.features.sample_rate_hz)
                except UserError as error:
                    yield Finding.of(error, f"corpus.{role}: ")
                else:
                    self.sets.setdefault(role, []).append(speech)

    def _audio(self, speech: SpeechSet, role: str) -> Iterator[Finding]:
        step = math.ceil(len(speech) / _MOST_FILES_LOOKED_AT)
        yield from _opened(speech, role)
        looked_at = speech.files[::step]
        missing = [path for path in looked_at if path and not Path(path).is_file()]
        if missing:
            yield Finding(
                f"set '{speech.name}' of corpus.{role}: of {len(looked_at)} recordings looked for "
                f"{len(missing)} are not there, the first {missing[0]}",
                "mount or restore the audio, or prepare the set again",
            )

    @staticmethod
    def _shards(speech: SpeechSet, role: str) -> Iterator[Finding]:
        for name, lost in speech.rejects.items():
            first = f", the first '{lost['first']}'" if lost["first"] else ""
            yield Finding(
                f"shard {name} of '{speech.name}' (corpus.{role}) {lost['reason']}: {lost['count']} of its "
                f"utterances are left out{first}",
                "copy the shard again, or make the shards again (asr prepare shar --data DIR --sets SET)",
            )

    def _lengths(self, speech: SpeechSet, role: str) -> Iterator[Finding]:
        if role not in ("labelled", "untranscribed"):
            return
        corpus, batch = self.config.corpus, self.config.batch
        kept = self.kept(speech)
        left_out = len(speech) - len(kept)
        if left_out:
            yield Finding(
                f"{left_out} of {len(speech)} utterances of '{speech.name}' are not between "
                f"corpus.min_seconds {corpus.min_seconds:g} and corpus.max_seconds {corpus.max_seconds:g} "
                f"(they have {speech.seconds.min():.3g} to {speech.seconds.max():.3g} s): they are left out of "
                "training",
                "widen the limits if that is not meant",
                is_problem=left_out > _LARGE_SHARE * len(speech),
            )
        if not len(kept):
            return
        slowest = min(self.config.augmentation.speed_factors)
        views = self.config.objective.views
        longest = views * float(kept.seconds.max()) / slowest
        if longest > batch.max_seconds_per_micro_batch:
            in_views = f" in {views} views" if views > 1 else ""
            yield Finding(
                f"the longest utterance of '{speech.name}' plays for {longest:.3g} s{in_views}, more than "
                f"batch.max_seconds_per_micro_batch {batch.max_seconds_per_micro_batch:g}",
                f"raise that to {math.ceil(longest)} or more, or set corpus.max_seconds="
                f"{batch.max_seconds_per_micro_batch * slowest / views:.4g}, which leaves longer ones out",
            )

    def _transcripts(self, speech: SpeechSet) -> Iterator[Finding]:
        empty = speech.without_text()
        if len(empty):
            yield Finding(
                f"{len(empty)} of {len(speech)} utterances of the labelled set '{speech.name}' have no "
                f"transcript, the first '{speech.ids[int(empty[0])]}'",
                "move the set to corpus.untranscribed, or prepare it with its transcripts",
            )
        if self.tokenizer is None or self.network is None:
            return
        kept = self.kept(speech)
        fastest = max(self.config.augmentation.speed_factors)
        frames = self._encoder_frames(kept.seconds / fastest)
        infeasible: dict[int, int] = {}
        is_uncovered = np.zeros(len(kept), np.bool_)
        for place, text in enumerate(kept.references):
            try:
                tokens = self.tokenizer.encode(text)
            except UserError:
                is_uncovered[place] = True
                continue
            if not self.network.criterion.can_emit(tokens, int(frames[place])):
                infeasible[place] = len(tokens)
            self.tokens += len(tokens)
            self.token_seconds += float(kept.seconds[place])
        uncovered = np.flatnonzero(is_uncovered)
        if len(uncovered):
            texts = (kept.references[int(place)] for place in uncovered)
            lacking = count_lacking(self.tokenizer, texts)
            first = kept.ids[int(uncovered[0])]
            yield Finding.of(unspelt(self.tokenizer, kept, len(uncovered), first, lacking))
        yield from self._feasibility(kept, infeasible, frames)

    def _feasibility(
        self, speech: SpeechSet, infeasible: dict[int, int], frames: NDArray[np.int64]
    ) -> Iterator[Finding]:
        """CTC needs a frame a token and a blank between equal neighbours; a decoder has so many places."""
        if not infeasible:
            return
        worst, tokens = next(iter(infeasible.items()))
        name, count = speech.ids[worst], f"{len(infeasible)} of {len(speech)} transcripts of "
        if isinstance(self.config.model, EncoderDecoderConfig):
            what = (
                f"{count}'{speech.name}' are longer than the decoder: '{name}' has {tokens} tokens"
            )
            remedy = "cut the long utterances; those are skipped, and counted"
        else:
            what = (
                f"{count}'{speech.name}' have more tokens than frames at the fastest speed: '{name}' has "
                f"{tokens} and {frames[worst]} frames (CTC needs one more between equal tokens)"
            )
            remedy = (
                "lower model.stride, take larger tokens, or leave out the fastest of "
                "augmentation.speed_factors; infeasible utterances are skipped, and counted"
            )
        yield Finding(what, remedy, is_problem=len(infeasible) > _INFEASIBLE_SHARE * len(speech))

    def _encoder_frames(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        samples = np.floor(seconds * self.config.features.sample_rate_hz).astype(np.int64)
        assert self.network is not None
        assert self.front_end is not None
        lengths = self.front_end.frames(torch.from_numpy(samples))
        counts: NDArray[np.int64] = self.network.encoder.output_lengths(lengths).numpy()
        return counts

    def _overlaps(self) -> Iterator[Finding]:
        """An utterance has one role: one that was trained on measures nothing."""
        sets = [(role, speech) for role, speeches in self.sets.items() for speech in speeches]
        for (a, left), (b, right) in itertools.combinations(sets, 2):
            # One set in two roles is said of the recipe, and dev sets may be test sets.
            is_one = left.manifests[0].manifest == right.manifests[0].manifest
            if is_one or {a, b} == {"dev", "test"}:
                continue
            _, places, _ = np.intersect1d(left.keys, right.keys, return_indices=True)
            if len(places):
                yield Finding(
                    f"{len(places)} utterances are in '{left.name}' (corpus.{a}) and in '{right.name}' "
                    f"(corpus.{b}), the first '{left.ids[int(places.min())]}'",
                    "leave one of the sets out, or prepare them from folders that share nothing",
                )

    def _groups(self) -> Iterator[Finding]:
        for kind in Kind:
            roles = [kind] if self.config.objective.has_texts else list(Kind)
            if not self.config.has_role(kind) and roles != [kind]:
                continue  # without texts all sets are one corpus
            kept = [self.kept(speech) for role in roles for speech in self.sets.get(role, [])]
            seconds = [speech.seconds for speech in kept]
            if not seconds or not sum(map(len, seconds)):
                continue
            speeds = self.config.augmentation.speed_factors
            group, seed = self.config.group_seconds, self.config.seed
            try:
                weights = set_weights(self.config, kind, kept)
                whole = np.concatenate(seconds)
                corpus = GroupedCorpus(kind, whole, group, seed, speeds, weights)
                for text in (*about_groups(corpus), *about_weights(kind, kept, weights)):
                    yield note(text)
            except UserError as error:
                yield Finding.of(error)

    def _policy(self) -> Iterator[Finding]:
        """Labels as dense as the transcripts must pass the filters."""
        if self.config.pseudo_label.start_hours is None or not self.token_seconds:
            return
        policy = self.config.pseudo_label.filters
        if not policy.min_length_ratio < 1.0 < policy.max_length_ratio:
            yield Finding(
                f"pseudo_label.filters.min_length_ratio {policy.min_length_ratio:g} and max_length_ratio "
                f"{policy.max_length_ratio:g} would drop labels as long as the transcripts",
                "let the band hold 1 with room on both sides",
            )


def _opened(speech: SpeechSet, role: str) -> Iterator[Finding]:
    """One in so many, read as training reads it: a file may be there and be no audio any more."""
    places = range(0, len(speech), math.ceil(len(speech) / _MOST_OPENED))
    lost = list[str]()
    try:
        speech.bring(places)
    except StoreAwayError as error:
        yield Finding.of(error)
        return
    for place in places:
        try:
            cut = speech.cuts[place]
            load_features(cut) if cut.has_features else load_samples(cut)
        except LostAudioError as error:
            lost.append(error.what)
    opened = f"set '{speech.name}' of corpus.{role}: of {len(places)} recordings opened"
    if lost:
        yield Finding(
            f"{opened} (of {len(speech):,}) {len(lost)} cannot be read, the first {lost[0]}",
            "restore the audio; where preparation made it, prepare again",
        )
    elif len(places) < len(speech):
        yield note(f"{opened} (of {len(speech):,}) all can be read")


def _twice(speech: SpeechSet, role: str) -> Iterator[Finding]:
    name = first_duplicate(speech)
    if name is not None:
        yield Finding(
            f"set '{speech.name}' of corpus.{role}: utterance id '{name}' occurs twice",
            "make the set again, from files whose names differ",
        )


def _references(speech: SpeechSet, role: str) -> Iterator[Finding]:
    for manifest, aside in zip(speech.manifests, speech.reference_overrides, strict=True):
        unknown = unmatched(list(aside), manifest.keys)
        if unknown:
            yield Finding(
                f"{len(unknown)} of {len(aside)} references kept aside for '{speech.name}' are of no utterance "
                f"of it, the first of '{unknown[0]}'",
                "correct the ids, or leave those lines out",
                is_problem=False,
            )
    without = len(speech.without_text())
    if without:
        yield Finding(
            f"{without} of {len(speech)} utterances of '{speech.name}' (corpus.{role}) have no reference: "
            "whatever is said there counts as insertions",
            "prepare the set with its transcripts",
            is_problem=without == len(speech),
        )
