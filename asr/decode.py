"""Logits -> text. Greedy CTC: best token of each frame, merge repeats, then drop blanks."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from asr.files import write_json, write_jsonl
from asr.tokenizer import BLANK

if TYPE_CHECKING:
    from asr.model_folder import LoadedModel
    from asr.speech_set import SpeechSet


@dataclass(frozen=True)
class Hypothesis:
    """A greedy path."""

    tokens: list[int]
    confidence: float
    """Mean over the frames of the posterior of the best token; 0 without frames."""


def greedy(logits_BSV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
    """The greedy CTC path of each utterance; logits (B, S, V), lengths (B,) in encoder frames."""
    posteriors_BS, paths_BS = logits_BSV.float().softmax(dim=-1).max(dim=-1)
    hypotheses = []
    for path_S, posterior_S, frames in zip(
        paths_BS.cpu(), posteriors_BS.cpu(), lengths_B.tolist(), strict=True
    ):
        merged = torch.unique_consecutive(path_S[:frames])
        confidence = float(posterior_S[:frames].mean()) if frames else 0.0
        hypotheses.append(Hypothesis(merged[merged != BLANK].tolist(), confidence))
    return hypotheses


@torch.inference_mode()
def decode_set(
    model: LoadedModel, speech: SpeechSet, max_seconds: float = 120.0
) -> Iterator[dict[str, Any]]:
    """One record {id, reference, hypothesis, confidence, seconds, speaker} an utterance, by length.

    `max_seconds` bounds the padded audio of a batch.
    """
    from asr.speech_set import load_waveforms
    from asr.stream import Kind, Segment, deal

    segments = [Segment(Kind.LABELLED, i, 0, s) for i, s in enumerate(speech.seconds)]
    for [batch] in deal(segments, ranks=1, max_micro_batch_seconds=max_seconds):
        waveforms_BN, samples_B = load_waveforms([speech.cuts[s.index] for s in batch])
        hypotheses = greedy(*model.logits(waveforms_BN, samples_B))
        for segment, hypothesis in zip(batch, hypotheses, strict=True):
            cut = speech.cuts[segment.index]
            speaker = cut.supervisions[0].speaker if cut.supervisions else None
            yield {
                "id": cut.id,
                "reference": speech.references[segment.index],
                "hypothesis": model.tokenizer.decode(hypothesis.tokens),
                "confidence": round(hypothesis.confidence, 4),
                "seconds": cut.duration,
                "speaker": speaker,
            }


def main(argv: list[str]) -> int:
    """`asr decode`."""
    parser = argparse.ArgumentParser(
        prog="asr decode",
        description="Decode a prepared set with a trained model and write one JSON object an utterance: "
        "id, reference, hypothesis, confidence, seconds, speaker. `asr score` reads it.",
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
    arguments = parser.parse_args(argv)

    from asr.model_folder import find_checkpoint, load_model
    from asr.speech_set import SpeechSet

    checkpoint = find_checkpoint(arguments.model_folder, best=arguments.best)
    speech = SpeechSet.load(arguments.manifest)
    output = arguments.output
    if output is None:
        output = arguments.model_folder / "decode" / speech.name / f"{arguments.model}.jsonl"
    model = load_model(checkpoint, arguments.model)
    speech.at_rate(model.config.features.sample_rate_hz)
    write_jsonl(output, decode_set(model, speech))
    stamp = {
        "checkpoint": str(checkpoint),
        "model": arguments.model,
        "weights_sha256": hashlib.sha256(model.weights_path.read_bytes()).hexdigest(),
        "set": speech.name,
        "manifest": str(arguments.manifest),
        "decoder": "greedy",
    }
    write_json(output.with_suffix(".stamp.json"), stamp)
    print(f"decoded {len(speech.cuts)} utterances of '{speech.name}' with {checkpoint}: {output}")
    return 0
