"""`asr transcribe`: audio files -> text, with a trained model's folder alone."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import UserError

if TYPE_CHECKING:
    from asr.model_folder import LoadedModel


def main(argv: list[str]) -> int:
    """Transcribe files; a bad one is reported and the others still done."""
    parser = argparse.ArgumentParser(
        prog="asr transcribe",
        description="Print the text of audio files (wav, flac, mp3, ogg; any sample rate, any number of "
        "channels), one line a file: path, TAB, text. Exit status 2 if a file could not be read.",
    )
    parser.add_argument(
        "model_folder", type=Path, help="run folder (its latest checkpoint) or a checkpoint"
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--model", choices=("teacher", "student"), default="teacher")
    parser.add_argument(
        "--best", action="store_true", help="of a run: the checkpoint with the best dev WER"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, with confidence"
    )
    arguments = parser.parse_args(argv)

    from asr.model_folder import find_checkpoint, load_model

    checkpoint = find_checkpoint(arguments.model_folder, best=arguments.best)
    model = load_model(checkpoint, arguments.model)
    failed = 0
    for path in arguments.files:
        try:
            record = transcribe(model, path)
        except UserError as error:
            failed += 1
            print(f"asr transcribe: {error}", file=sys.stderr)
            continue
        shown = (
            json.dumps(record, ensure_ascii=False)
            if arguments.json
            else f"{path}\t{record['text']}"
        )
        print(shown, flush=True)
    if failed:
        total = len(arguments.files)
        print(
            f"asr transcribe: {failed} of {total} file(s) could not be transcribed", file=sys.stderr
        )
    return 2 if failed else 0


def transcribe(model: LoadedModel, path: Path) -> dict[str, object]:
    """{file, text, confidence, seconds} of one file. Raises UserError if it cannot be read."""
    import torch

    from asr.audio import read_audio
    from asr.decode import greedy

    waveform_N = read_audio(path, model.config.features.sample_rate_hz)
    samples = len(waveform_N)
    with torch.inference_mode():
        [hypothesis] = greedy(*model.logits(waveform_N[None], torch.tensor([samples])))
    return {
        "file": str(path),
        "text": model.tokenizer.decode(hypothesis.tokens),
        "confidence": round(hypothesis.confidence, 4),
        "seconds": samples / model.config.features.sample_rate_hz,
    }
