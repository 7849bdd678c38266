"""A set of utterances -> hypotheses, with their words' times, beside the references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from asr.decoding.alignment import align_tokens, align_words
from asr.decoding.greedy import Decoder, greedy_only
from asr.decoding.pieces import write_pieces
from asr.decoding.safeguards import GenerationSettings
from asr.decoding.words import TimedToken, words_of
from asr.errors import LostAudioError, UserError
from asr.evaluation.hypotheses import Utterance, utterance_of
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.utils.devices import fetched

if TYPE_CHECKING:
    import numpy as np
    from lhotse import MonoCut
    from numpy.typing import NDArray

    from asr.model.loaded_model import LoadedModel


Batch = Sequence[int]
"""Places of utterances in their set."""


class Speech(Protocol):
    """Utterances by their places: a SpeechSet, or cuts in memory."""

    @property
    def cuts(self) -> Sequence[MonoCut]: ...
    @property
    def references(self) -> Sequence[str]:
        """Empty where they are not known."""

    @property
    def seconds(self) -> Sequence[float] | NDArray[np.float64]: ...
    def bring(self, places: Sequence[int]) -> None:
        """Have what is in an object store brought here, many at a time."""


@dataclass(frozen=True)
class CutsInMemory:
    """Lhotse's cuts as Speech."""

    cuts: Sequence[MonoCut]
    references: Sequence[str]
    seconds: Sequence[float]

    def bring(self, places: Sequence[int]) -> None:
        """They are here."""

    @classmethod
    def of(cls, cuts: Iterable[MonoCut], sample_rate_hz: int) -> CutsInMemory:
        """Audio of another rate is resampled when it is read. Raises UserError for what is no cut of audio."""
        kept = [_at_rate(cut, sample_rate_hz) for cut in _each(cuts)]
        texts = [
            " ".join(s.text for s in sorted(cut.supervisions, key=lambda s: s.start) if s.text)
            for cut in kept
        ]
        return cls(kept, texts, [float(cut.duration) for cut in kept])


def decode(
    model: LoadedModel,
    cuts: str | Path | Iterable[MonoCut],
    decoder: Decoder | GenerationSettings = greedy_only,
    max_seconds: float = 120.0,
) -> list[Utterance]:
    """The best hypothesis of each utterance, in the order of the set, beside its reference.

    `cuts` is a prepared set's manifest, or Lhotse's cuts (a CutSet). `decoder` turns logits (B, S, V) and
    lengths (B,) into hypotheses: `asr.BeamDecoder` is one. An encoder-decoder writes with Whisper's safeguards,
    or as `GenerationSettings` say. `max_seconds` bounds the padded audio of a batch.
    Raises UserError for a set that cannot be read.

    >>> import asr
    >>> model = asr.load_model("exp/run", device="cpu")
    >>> utterances = asr.decode(model, "data/dev.jsonl.gz")
    >>> 0 <= asr.score(utterances).wer
    True
    """
    if isinstance(model, (str, Path)):
        raise UserError(f"model is a path ({model})", "load it: asr.load_model(path)")
    if not (callable(decoder) or isinstance(decoder, GenerationSettings)) or isinstance(
        decoder, type
    ):
        raise UserError(
            f"decoder {decoder!r} cannot decode", "give asr.BeamDecoder(model.tokenizer, settings)"
        )
    rate_hz = model.config.features.sample_rate_hz
    speech: Speech
    if isinstance(cuts, (str, Path)):
        from asr.data.dataset import SpeechSet

        speech = SpeechSet.load(Path(cuts)).at_rate(rate_hz)
    else:
        speech = CutsInMemory.of(cuts, rate_hz)
    batches = batches_of(model, speech, max_seconds)
    found = dict(pair for batch in batches for pair in decode_batch(model, speech, batch, decoder))
    return [utterance_of(found[place]) for place in range(len(found))]


def _each(cuts: Iterable[Any]) -> Iterator[Any]:
    if not isinstance(cuts, Iterable):
        raise UserError(f"cuts is a {type(cuts).__name__}", "give a manifest's path, or a CutSet")
    yield from cuts


def _at_rate(cut: Any, sample_rate_hz: int) -> MonoCut:
    from lhotse import MonoCut

    from asr.data.manifest.admission import FILES_AND_MEMORY, admit

    if not isinstance(cut, MonoCut) or not cut.has_recording:
        name = getattr(cut, "id", cut)
        raise UserError(
            f"'{name}' is no cut of one recording, but a {type(cut).__name__}",
            "give a manifest's path, or a CutSet of MonoCuts with their audio",
        )
    admit(cut.to_dict(), FILES_AND_MEMORY)
    if cut.sampling_rate == sample_rate_hz:
        return cut
    from asr.data.sound.resampling import is_simple

    if not is_simple(cut.sampling_rate, sample_rate_hz):
        from asr.data.reading import resampled_in_memory

        return resampled_in_memory(cut, sample_rate_hz)
    resampled: MonoCut = cut.resample(sample_rate_hz)
    return resampled


def decode_set(
    model: LoadedModel,
    speech: Speech,
    decoder: Decoder | GenerationSettings = greedy_only,
    max_seconds: float = 120.0,
    token_times: bool = False,
    lost: list[LostAudioError] | None = None,
) -> Iterator[dict[str, Any]]:
    """One record an utterance, by length: reference and hypothesis, when, and what the manifest says of it.

    With several hypotheses also `nbest`, with `token_times` also `tokens`. `max_seconds` bounds the padded
    audio of a batch. `lost` gets what cannot be read; raises LostAudioError for the first where it is None.
    """
    for batch in batches_of(model, speech, max_seconds):
        for _, record in decode_batch(model, speech, batch, decoder, token_times, lost):
            yield record


def batches_of(model: LoadedModel, speech: Speech, max_seconds: float = 120.0) -> list[Batch]:
    """Utterances of similar length, whose padded audio is at most so long; the shortest first."""
    from asr.data.batching import split_into_micro_batches
    from asr.data.segments import Kind, Segment

    segments = [Segment(Kind.LABELLED, i, 0, s) for i, s in enumerate(speech.seconds)]
    shortest = model.front_end.shortest_seconds
    slots = split_into_micro_batches(segments, 1, max_seconds, shortest_seconds=shortest)
    return [[segment.index for segment in batch] for [batch] in slots if batch]


@torch.inference_mode()
def decode_batch(
    model: LoadedModel,
    speech: Speech,
    batch: Batch,
    decoder: Decoder | GenerationSettings,
    token_times: bool = False,
    lost: list[LostAudioError] | None = None,
) -> list[tuple[int, dict[str, Any]]]:
    """The place of each utterance in its set, and its record, as `decode_set` has them."""
    if isinstance(model.network, EncoderDecoder):
        settings = GenerationSettings() if decoder is greedy_only else decoder
        return list(_written(model, model.network, speech, batch, settings, lost))
    if isinstance(decoder, GenerationSettings):
        raise UserError(
            "this model has no decoder that writes", "decode it greedily, or by asr.BeamDecoder"
        )
    found = []
    for place, logits_SV in batch_logits(model, speech, batch, lost):
        frames = torch.tensor([len(logits_SV)])
        [hypotheses] = decoder(logits_SV[None], frames)
        best, cut = hypotheses[0], speech.cuts[place]
        reference = speech.references[place]
        timed_tokens = align_tokens(logits_SV, best.tokens, model.frame_seconds)
        record = {
            "id": cut.id,
            "reference": reference,
            "hypothesis": model.tokenizer.decode(best.tokens),
            "confidence": round(best.confidence, 4),
            "seconds": cut.duration,
            "words": _timed_words(model, timed_tokens),
            "reference_words": _timed_reference(model, logits_SV, reference),
        }
        if token_times:
            record["tokens"] = [
                {**_rounded(asdict(token)), "token": model.tokenizer.piece(token.token)}
                for token in timed_tokens
            ]
        record = with_manifest_fields(record, cut)
        if len(hypotheses) > 1:
            record["nbest"] = [
                {"text": model.tokenizer.decode(h.tokens), "confidence": round(h.confidence, 4)}
                for h in hypotheses
            ]
        found.append((place, record))
    return found


def with_manifest_fields(record: dict[str, Any], cut: MonoCut) -> dict[str, Any]:
    """Fields of our own come first, and are not overwritten by a manifest's."""
    return record | manifest_fields(cut) | record


def _written(
    model: LoadedModel,
    network: EncoderDecoder,
    speech: Speech,
    batch: Batch,
    settings: object,
    lost: list[LostAudioError] | None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What an encoder-decoder writes: with the times of words where it has a CTC head."""
    if not isinstance(settings, GenerationSettings):
        raise UserError(
            "an encoder-decoder is not decoded frame by frame",
            "leave the beam search and its language model out, or take a CTC model",
        )
    places, waveforms_BN, samples_B = _read(speech, batch, lost)
    cuts = [speech.cuts[place] for place in places]
    names = [cut.id for cut in cuts]
    texts = write_pieces(model, network, waveforms_BN, samples_B, names, settings) if cuts else []
    for place, cut, written in zip(places, cuts, texts, strict=True):
        record = {
            "id": cut.id,
            "reference": speech.references[place],
            "hypothesis": written.text,
            "confidence": round(written.confidence, 4),
            "seconds": cut.duration,
            "tokens_per_second": round(written.tokens / max(0.01, cut.duration), 2),
        }
        if written.words is not None:
            record["words"] = [_rounded(word.to_record()) for word in written.words]
            record["reference_words"] = _aligned_reference(
                model, written.head_logits_SV, record["reference"]
            )
        yield place, with_manifest_fields(record, cut)


def _aligned_reference(
    model: LoadedModel, logits_SV: Tensor | None, reference: str
) -> list[dict[str, Any]] | None:
    """None where it is longer than its audio, or the audio was cut."""
    if logits_SV is None:
        return None
    try:
        words = align_words(logits_SV, reference, model.frame_seconds)
    except UserError:
        return None
    return [_rounded(word.to_record()) for word in words]


def manifest_fields(cut: MonoCut) -> dict[str, Any]:
    """Where an utterance's audio is, its speaker and language, and all else of one value that its cut holds."""
    supervision = cut.supervisions[0] if cut.supervisions else None
    sources = cut.recording.sources if cut.has_recording else []
    custom = {**(cut.custom or {}), **((supervision and supervision.custom) or {})}
    return {
        **{key: value for key, value in custom.items() if isinstance(value, (str, int, float))},
        "speaker": supervision and supervision.speaker,
        "language": supervision and supervision.language,
        "gender": supervision and supervision.gender,
        "audio": next((s.source for s in sources if s.type == "file"), None),
        "audio_begin": cut.start,
    }


def _timed_words(model: LoadedModel, timed: Sequence[TimedToken]) -> list[dict[str, Any]]:
    return [_rounded(word.to_record()) for word in words_of(timed, model.tokenizer)]


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    return {n: round(v, 3) if isinstance(v, float) else v for n, v in fields.items()}


def _timed_reference(
    model: LoadedModel, logits_SV: Tensor, reference: str
) -> list[dict[str, Any]] | None:
    """None for a reference that the model cannot spell, or that is longer than its audio."""
    try:
        tokens = model.tokenizer.encode(reference)
        return _timed_words(model, align_tokens(logits_SV, tokens, model.frame_seconds))
    except UserError:
        return None


@torch.inference_mode()
def set_logits(model: LoadedModel, speech: Speech) -> Iterator[tuple[int, Tensor]]:
    """The place of each utterance and its logits (S, V) on the CPU, by length. Raises as `load_samples`."""
    for batch in batches_of(model, speech):
        yield from batch_logits(model, speech, batch)


@torch.inference_mode()
def batch_logits(
    model: LoadedModel, speech: Speech, batch: Batch, lost: list[LostAudioError] | None = None
) -> Iterator[tuple[int, Tensor]]:
    """The same of a batch; what cannot be read as in `decode_set`."""
    places, waveforms_BN, samples_B = _read(speech, batch, lost)
    if not places:
        return
    logits_BSV, lengths_B = model.logits(waveforms_BN, samples_B)
    logits_BSV, lengths_B = fetched(logits_BSV, lengths_B)
    for place, logits_SV, frames in zip(places, logits_BSV, lengths_B.tolist(), strict=True):
        yield place, logits_SV[:frames]


def _read(
    speech: Speech, batch: Batch, lost: list[LostAudioError] | None
) -> tuple[list[int], Tensor, Tensor]:
    """The places of those that can be read, their waveforms (B, N) and samples (B,)."""
    from asr.data.reading import Readable

    speech.bring(batch)
    found = Readable.of(speech.cuts, batch)
    for error in found.lost.values():
        if lost is None:
            raise error
        lost.append(error)
    return [batch[kept] for kept in found.kept], found.waveforms_BN, found.samples_B
