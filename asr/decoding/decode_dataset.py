"""`asr decode`: logits -> text. Greedy CTC: best token of each frame, merge repeats, then drop blanks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from asr.decoding.alignment import align_tokens
from asr.decoding.captions import TimedToken, words_of
from asr.errors import UserError
from asr.model.ctc import collapse
from asr.model.tokenizer import tokenizer_sha256
from asr.utils.files import write_json, write_jsonl

if TYPE_CHECKING:
    from lhotse import MonoCut

    from asr.data.dataset import SpeechSet
    from asr.data.sampler import Segment
    from asr.model.model_folder import LoadedModel


@dataclass(frozen=True)
class Hypothesis:
    """What was recognised."""

    tokens: list[int]
    confidence: float
    """Of the greedy path: the mean over the frames of the posterior of the best token; 0 without frames."""


def greedy(logits_BSV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
    """The greedy CTC path of each utterance; logits (B, S, V), lengths (B,) in encoder frames."""
    posteriors_BS, paths_BS = logits_BSV.float().softmax(dim=-1).max(dim=-1)
    hypotheses = []
    for path_S, posterior_S, frames in zip(
        paths_BS.cpu(), posteriors_BS.cpu(), lengths_B.tolist(), strict=True
    ):
        confidence = float(posterior_S[:frames].mean()) if frames else 0.0
        hypotheses.append(Hypothesis(collapse(path_S[:frames]), confidence))
    return hypotheses


Decoder = Callable[[Tensor, Tensor], list[list[Hypothesis]]]
"""Logits (B, S, V) and lengths (B,) -> of each utterance its hypotheses, the best one first."""


def greedy_only(logits_BSV: Tensor, lengths_B: Tensor) -> list[list[Hypothesis]]:
    """`greedy` as a Decoder."""
    return [[hypothesis] for hypothesis in greedy(logits_BSV, lengths_B)]


@torch.inference_mode()
def decode_set(
    model: LoadedModel,
    speech: SpeechSet,
    decoder: Decoder = greedy_only,
    max_seconds: float = 120.0,
    token_times: bool = False,
) -> Iterator[dict[str, Any]]:
    """One record an utterance, by length: what was said and heard, when, and what the manifest says of it.

    With several hypotheses also `nbest`, with `token_times` also `tokens`. `max_seconds` bounds the padded
    audio of a batch.
    """
    for segment, logits_SV in set_logits(model, speech, max_seconds):
        frames = torch.tensor([len(logits_SV)])
        [hypotheses] = decoder(logits_SV[None], frames)
        best, cut = hypotheses[0], speech.cuts[segment.index]
        reference = speech.references[segment.index]
        heard = align_tokens(logits_SV, best.tokens, model.frame_seconds)
        record = {
            "id": cut.id,
            "reference": reference,
            "hypothesis": model.tokenizer.decode(best.tokens),
            "confidence": round(best.confidence, 4),
            "seconds": cut.duration,
            "words": _timed_words(model, heard),
            "reference_words": _timed_reference(model, logits_SV, reference),
        }
        if token_times:
            record["tokens"] = [
                {**_rounded(asdict(token)), "token": model.tokenizer.piece(token.token)}
                for token in heard
            ]
        # Fields of our own come first, and are not overwritten by a manifest's.
        record = record | manifest_fields(cut) | record
        if len(hypotheses) > 1:
            record["nbest"] = [
                {"text": model.tokenizer.decode(h.tokens), "confidence": round(h.confidence, 4)}
                for h in hypotheses
            ]
        yield record


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
    return [_rounded(asdict(word)) for word in words_of(timed, model.tokenizer)]


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
def set_logits(
    model: LoadedModel, speech: SpeechSet, max_seconds: float = 120.0
) -> Iterator[tuple[Segment, Tensor]]:
    """Each utterance with its logits (S, V) on the CPU, by length."""
    from asr.data.dataset import load_waveforms
    from asr.data.sampler import Kind, Segment, deal

    segments = [Segment(Kind.LABELLED, i, 0, s) for i, s in enumerate(speech.seconds)]
    for [batch] in deal(segments, ranks=1, max_micro_batch_seconds=max_seconds):
        waveforms_BN, samples_B = load_waveforms([speech.cuts[s.index] for s in batch])
        logits_BSV, lengths_B = model.logits(waveforms_BN, samples_B)
        for segment, logits_SV, frames in zip(batch, logits_BSV.cpu(), lengths_B, strict=True):
            yield segment, logits_SV[: int(frames)]


_DESCRIPTION = """\
Decode a prepared set with a trained model and write one JSON object an utterance: id, reference, hypothesis,
confidence, seconds; the words with their times and confidences, by forced alignment; the audio's file; speaker,
language and what else the manifest says. `asr score`, `asr compare` and `asr report` read it. Greedy, or a beam
search with an n-gram language model:

  asr prepare lm --cuts data/mine/labelled.jsonl.gz --output lm.arpa
  asr decode EXP data/mine/test.jsonl.gz --decoder beam --lm lm.arpa --tune data/mine/dev.jsonl.gz
"""


def main(argv: list[str]) -> int:
    """`asr decode`."""
    arguments = _parse(argv)

    from asr.data.dataset import SpeechSet
    from asr.model.model_folder import find_checkpoint, load_average, load_model

    checkpoint = find_checkpoint(arguments.model_folder, best=arguments.best)
    speech = SpeechSet.load(arguments.manifest)
    if arguments.average:
        model = load_average(arguments.model_folder, arguments.model, arguments.average)
    else:
        model = load_model(checkpoint, arguments.model)
    speech.at_rate(model.config.features.sample_rate_hz)
    name = arguments.model + (f"_average{arguments.average}" if arguments.average else "")
    output = arguments.output
    if output is None:
        name += "_beam" if arguments.decoder == "beam" else ""
        output = arguments.model_folder / "decode" / speech.name / f"{name}.jsonl"
    decoder: Decoder = greedy_only
    decoder_stamp: dict[str, Any] = {"decoder": "greedy"}
    if arguments.decoder == "beam":
        decoder, decoder_stamp = _beam(arguments, model, output)
    records = decode_set(model, speech, decoder, token_times=arguments.token_times)
    write_jsonl(output, records)
    stamp = {
        "checkpoint": str(model.averaged[-1] if model.averaged else checkpoint),
        "model": arguments.model,
        **({"average_of": [str(path) for path in model.averaged]} if model.averaged else {}),
        "weights_sha256": model.weights_sha256,
        "tokenizer_sha256": tokenizer_sha256(checkpoint),
        "set": speech.name,
        "manifest": str(arguments.manifest),
        **decoder_stamp,
    }
    write_json(output.with_suffix(".stamp.json"), stamp)
    print(f"decoded {len(speech)} utterances of '{speech.name}' with {checkpoint}: {output}")
    return 0


def _beam(
    arguments: argparse.Namespace, model: LoadedModel, output: Path
) -> tuple[Decoder, dict[str, Any]]:
    """The decoder that the options describe, tuned if they say so, and its stamp."""
    from asr.data.dataset import SpeechSet
    from asr.decoding.beam import BeamDecoder, BeamSettings
    from asr.decoding.tuning import tune

    settings = BeamSettings(
        language_model=arguments.lm,
        lexicon=arguments.lexicon,
        lm_weight=arguments.lm_weight,
        word_score=arguments.word_score,
        beam_size=arguments.beam_size,
        nbest=arguments.nbest,
    )
    stamp = {}
    if arguments.tune:
        dev = SpeechSet.load(arguments.tune).at_rate(model.config.features.sample_rate_hz)
        settings, grid = tune(model, dev, settings, arguments.tune_by)
        stamp = {"tuned_on": str(arguments.tune), "tuned_by": arguments.tune_by}
        write_json(output.with_suffix(".tuning.json"), {**stamp, "grid": grid})
    return BeamDecoder(model.tokenizer, settings), {**settings.stamp(), **stamp}


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="asr decode",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model_folder", type=Path, help="run folder (its latest checkpoint) or a checkpoint"
    )
    parser.add_argument(
        "manifest", type=Path, help="Lhotse cuts that `asr prepare` wrote, SET.jsonl.gz"
    )
    parser.add_argument("--model", choices=("teacher", "student"), default="teacher")
    parser.add_argument("--output", type=Path, help="default: RUN/decode/SET/MODEL.jsonl")
    parser.add_argument(
        "--best", action="store_true", help="of a run: the checkpoint with the best dev WER"
    )
    parser.add_argument(
        "--average",
        type=int,
        metavar="N",
        help="of a run: the mean of the weights of its last N checkpoints",
    )
    parser.add_argument(
        "--token-times", action="store_true", help="add the tokens with their times and confidences"
    )
    beam = parser.add_argument_group("beam search")
    beam.add_argument("--decoder", choices=("greedy", "beam"), default="greedy")
    beam.add_argument("--lm", type=Path, metavar="FILE", help="ARPA or KenLM binary")
    beam.add_argument(
        "--lexicon", type=Path, metavar="FILE", help="a word a line: only these come out"
    )
    beam.add_argument("--lm-weight", type=float, default=1.0, help="default %(default)s")
    beam.add_argument(
        "--word-score", type=float, default=0.0, help="for each word; default %(default)s"
    )
    beam.add_argument("--beam-size", type=int, default=50, help="default %(default)s")
    beam.add_argument("--nbest", type=int, default=1, help="hypotheses kept; default %(default)s")
    beam.add_argument(
        "--tune",
        type=Path,
        metavar="DEV.jsonl.gz",
        help="choose --lm-weight and --word-score on this set; the grid goes beside the result",
    )
    beam.add_argument("--tune-by", choices=("wer", "cer"), default="wer")
    arguments = parser.parse_args(argv)
    if arguments.decoder == "greedy" and (arguments.lm or arguments.lexicon or arguments.tune):
        raise UserError("--lm, --lexicon and --tune need --decoder beam")
    if arguments.decoder == "greedy" and arguments.nbest != 1:
        raise UserError(f"--nbest {arguments.nbest} needs --decoder beam")
    if arguments.average and arguments.best:
        raise UserError("--average takes the last checkpoints: leave --best out")
    for name in ("average", "beam_size", "nbest"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")
    return arguments
