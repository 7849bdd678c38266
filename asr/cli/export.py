"""`asr export`: a trained model -> a folder that other software loads."""

from __future__ import annotations

from pathlib import Path

from asr.cli.arguments.common import make_parser
from asr.utils.launcher import refuse_several

_DESCRIPTION = """\
Write a folder of a trained model that other software loads, with a model card (README.md), after it was
checked that it computes what the model does.

  --to onnx   CTC models: waveform.onnx (waveforms in), model.onnx (features in), and two ways into
              sherpa-onnx: moonshine_*.onnx (the same text) and sherpa.onnx (with times); their weights are
              one file (pip install 'asr-ema[onnx]'). --int8: a smaller one of each beside them, and what
              that costs in WER on the dev set.
  --to hf     pretrained families: a folder that transformers loads (of Whisper also CTranslate2, and so
              faster-whisper); our own encoder: one that asr.load_model loads, without the training's state.
  --to torch  CTC models: programs of torch.export, waveform.pt2 and model.pt2.

  asr export exp/run --to onnx --output models/mine --int8 --licence cc-by-4.0
"""


def main(argv: list[str]) -> int:
    """`asr export`."""
    parser = make_parser("export", _DESCRIPTION)
    parser.add_argument(
        "model_folder",
        type=Path,
        metavar="RUN",
        help="run folder (its latest checkpoint) or a checkpoint",
    )
    parser.add_argument("--to", required=True, choices=("onnx", "hf", "torch"), help="the format")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER", help="to be written; not there yet"
    )
    parser.add_argument("--model", choices=("teacher", "student"), default="teacher")
    parser.add_argument(
        "--best", action="store_true", help="of a run: the checkpoint with the best dev WER"
    )
    parser.add_argument("--int8", action="store_true", help="of --to onnx: also with 8-bit weights")
    parser.add_argument(
        "--licence",
        default="unknown",
        metavar="NAME",
        help="for the card; e.g. apache-2.0, cc-by-4.0",
    )
    parser.add_argument(
        "--dev",
        type=Path,
        metavar="SET.jsonl.gz",
        help="prepared set to check by (default: the recipe's first dev set, where it is here)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a folder that this command has written"
    )
    arguments = parser.parse_args(argv)
    refuse_several("asr export")

    from asr.export.making import Wanted, export

    wanted = Wanted(
        arguments.to,
        arguments.model,
        arguments.best,
        arguments.int8,
        arguments.licence,
        arguments.dev,
        arguments.overwrite,
    )
    checks = export(arguments.model_folder, arguments.output, wanted)
    print(arguments.output)
    for name, value in checks.items():
        if isinstance(value, dict):
            value = f"{value['wer']:.2f} % [{value['wer_low']:.2f}, {value['wer_high']:.2f}]"
        print(
            f"  {name.replace('_', ' ')}: {f'{value:.2g}' if isinstance(value, float) else value}"
        )
    return 0
