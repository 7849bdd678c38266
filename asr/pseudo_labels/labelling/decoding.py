"""A set decoded by a recogniser that others have trained, in the lines of `asr decode`."""

from __future__ import annotations

import math
from typing import Any

import torch

from asr.data.dataset import SpeechSet
from asr.data.reading import Readable
from asr.decoding.decode_dataset import Batch, batches_of, decode_batch, with_manifest_fields
from asr.decoding.safeguards import GenerationSettings
from asr.decoding.sharing.output import Work
from asr.pseudo_labels.labelling.recogniser import Recogniser
from asr.pseudo_labels.labelling.written import WritingRecogniser


def work_of(
    recogniser: Recogniser, speech: SpeechSet, settings: GenerationSettings, max_seconds: float
) -> Work:
    """A set to be decoded, without the times of words.

    An encoder-decoder writes just as one of ours does, by `settings`, so that before and after training differ
    in nothing else, batches of up to `max_seconds` of padded audio. Others hear each utterance by itself.
    """
    if isinstance(recogniser, WritingRecogniser):
        model = recogniser.model
        return Work(
            speech,
            batches_of(model, speech, max_seconds),
            lambda batch: decode_batch(model, speech, batch, settings, lost=[]),
        )
    alone = [[place] for place in range(len(speech))]
    return Work(speech, alone, lambda batch: _recognised(recogniser, speech, batch))


def _recognised(
    recogniser: Recogniser, speech: SpeechSet, batch: Batch
) -> list[tuple[int, dict[str, Any]]]:
    found = Readable.of(speech.cuts, batch)
    if not found.kept:
        return []
    [place] = batch
    cut = speech.cuts[place]
    with torch.inference_mode():
        [heard] = recogniser(found.waveforms_BN, found.samples_B)
    confidence = heard.metrics.confidence
    record = {
        "id": cut.id,
        "reference": speech.references[place],
        "hypothesis": heard.text,
        "confidence": None if math.isnan(confidence) else round(confidence, 4),
        "seconds": cut.duration,
        "tokens_per_second": round(heard.tokens / max(0.01, cut.duration), 2),
    }
    return [(place, with_manifest_fields(record, cut))]
