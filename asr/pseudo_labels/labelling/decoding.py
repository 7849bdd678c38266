"""A set decoded by a recogniser that others have trained, in the lines of `asr decode`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from asr.data.dataset import SpeechSet
from asr.data.reading import Readable
from asr.decoding.decode_dataset import decode_set, with_manifest_fields
from asr.decoding.safeguards import GenerationSettings
from asr.errors import LostAudioError
from asr.pseudo_labels.labelling.recogniser import Recogniser
from asr.pseudo_labels.labelling.written import WritingRecogniser


def recognise_set(
    recogniser: Recogniser,
    speech: SpeechSet,
    settings: GenerationSettings,
    lost: list[LostAudioError] | None = None,
) -> Iterator[dict[str, Any]]:
    """One record an utterance, without the times of words.

    An encoder-decoder writes just as one of ours does, by `settings`, so that before and after training differ
    in nothing else. Others hear each utterance by itself. `lost` gets what cannot be read;
    raises LostAudioError for the first where it is None.
    """
    if isinstance(recogniser, WritingRecogniser):
        yield from decode_set(recogniser.model, speech, settings, lost=lost)
        return
    for place, reference in enumerate(speech.references):
        found = Readable.of(speech.cuts, [place])
        for error in found.lost.values():
            if lost is None:
                raise error
            lost.append(error)
        if found.lost:
            continue
        cut = speech.cuts[place]
        with torch.inference_mode():
            [heard] = recogniser(found.waveforms_BN, found.samples_B)
        confidence = heard.metrics.confidence
        record = {
            "id": cut.id,
            "reference": reference,
            "hypothesis": heard.text,
            "confidence": None if math.isnan(confidence) else round(confidence, 4),
            "seconds": cut.duration,
            "tokens_per_second": round(heard.tokens / max(0.01, cut.duration), 2),
        }
        yield with_manifest_fields(record, cut)
