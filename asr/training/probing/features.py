"""The frames of a labelled set by a frozen network, with the texts that they are to say: computed once.

Shape suffixes: S encoder frames, D width of the frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.dataset import SpeechSet
from asr.decoding.decode_dataset import batch_logits, batches_of
from asr.errors import LostAudioError, UserError
from asr.model.ctc import is_feasible
from asr.model.loaded_model import LoadedModel
from asr.model.tokenizer import CharacterTokenizer

_BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class LabelledFrames:
    """What a head is trained on."""

    frames_SD: list[Tensor]
    """Of each utterance, fp32 on the CPU."""
    targets: list[list[int]]
    tokenizer: CharacterTokenizer
    """The characters of these transcripts."""
    seconds: float
    left_out: dict[str, int]
    """Utterances by reason."""


def labelled_frames(
    model: LoadedModel,
    speech: SpeechSet,
    apply: Callable[[str], str],
    minutes: float | None,
    seed: int,
    memory_gb: float,
    batch_seconds: float,
) -> LabelledFrames:
    """Of a set, or of as many of its utterances as come to so many minutes, drawn by the seed.

    `model` is one of `probed`; `apply` normalises transcripts. Raises UserError where an utterance has no
    transcript, the frames would take more than `memory_gb`, or none is left to train on.
    """
    empty = speech.without_text()
    if len(empty):
        raise UserError(
            f"{len(empty):,} of {len(speech):,} utterances of '{speech.name}' have no transcript, the first "
            f"'{speech.ids[int(empty[0])]}'",
            "give --labelled a set with its transcripts",
        )
    chosen = _chosen(speech, minutes, seed)
    _check_memory(model, float(speech.seconds[sorted(chosen)].sum()), memory_gb)
    frames, lost = dict[int, Tensor](), list[LostAudioError]()
    for batch in batches_of(model, speech, batch_seconds):
        own = [place for place in batch if place in chosen]
        # A copy: what a batch's padding takes goes.
        frames |= {place: one.clone() for place, one in batch_logits(model, speech, own, lost)}
    texts = {place: apply(speech.references[place]) for place in sorted(frames)}
    tokenizer = _tokenizer_of(list(texts.values()), speech.name)
    tokens = {place: tokenizer.encode(text) for place, text in texts.items()}
    reasons = {place: _reason(tokens[place], len(frames[place])) for place in texts}
    kept = [place for place, reason in reasons.items() if not reason]
    left_out = Counter(reason for reason in reasons.values() if reason)
    left_out["unreadable"] = len(lost)
    if not kept:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        raise UserError(
            f"no utterance of '{speech.name}' can be trained on ({why})",
            "give --labelled a set whose audio is there and goes with its transcripts",
        )
    return LabelledFrames(
        [frames[place] for place in kept],
        [tokens[place] for place in kept],
        tokenizer,
        float(speech.seconds[kept].sum()),
        {reason: count for reason, count in left_out.items() if count},
    )


def _chosen(speech: SpeechSet, minutes: float | None, seed: int) -> set[int]:
    if minutes is None:
        return set(range(len(speech)))
    order = torch.randperm(len(speech), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen, seconds = set[int](), 0.0
    for place in order:
        if seconds >= 60.0 * minutes:
            break
        chosen.add(place)
        seconds += float(speech.seconds[place])
    return chosen


def _check_memory(model: LoadedModel, seconds: float, memory_gb: float) -> None:
    width = model.network.encoder.width
    needed = seconds / model.frame_seconds * width * 4 / _BYTES_PER_GB
    if needed > memory_gb:
        most = seconds / 60 * memory_gb / needed
        raise UserError(
            f"the frames of {seconds / 60:.0f} minutes take {needed:.3g} GB, and --memory-gb is {memory_gb:g}",
            f"say --labelled-minutes {most:.0f}, or allow more",
        )


def _tokenizer_of(texts: Sequence[str], name: str) -> CharacterTokenizer:
    characters = sorted(set("".join("".join(text.split()) for text in texts)))
    if not characters:
        raise UserError(
            f"no transcript of '{name}' has a character under this normaliser",
            "give --labelled a set with transcripts",
        )
    return CharacterTokenizer("".join(characters))


def _reason(tokens: Sequence[int], frames: int) -> str:
    """Why an utterance cannot be trained on; else empty."""
    if not tokens:
        return "empty"
    return "" if is_feasible(tokens, frames) else "longer than its audio"
