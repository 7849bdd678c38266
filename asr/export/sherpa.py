"""What sherpa-onnx wants beside a graph: tokens, and frames of 20 ms.

Two of its recognisers take waveforms, of 16 kHz, and so features of any kind. That of omnilingual CTC models
makes a waveform's mean zero and its variance one before (`graphs.SherpaFeatures`), and counts frames of 20 ms.
That of Moonshine models leaves it as it is (`moonshine`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asr.errors import UserError
from asr.model.loaded_model import LoadedModel
from asr.model.tokenizer import BLANK, Tokenizer
from asr.utils.files import write_text

RATE_HZ = 16_000
_FRAME_SAMPLES = 320
TOKENS = "tokens.txt"


def frames_of_20_ms(model: LoadedModel) -> int:
    """How many of sherpa-onnx's frames make one of the model's; 1 where they do not go into it."""
    whole, rest = divmod(model.frame_samples, _FRAME_SAMPLES)
    return 1 if rest else max(1, whole)


def write_tokens(tokenizer: Tokenizer, path: Path, first: Sequence[str] = ("<blk>",)) -> None:
    """A token and its number a line: the blank is the first of `first`, others follow these; a space is U+2581.

    Raises UserError for a token that would end the line or the word.
    """
    lines = [f"{name} {number}\n" for number, name in enumerate(first, BLANK)]
    for number, token in enumerate(range(BLANK + 1, tokenizer.vocabulary_size), len(first)):
        piece = tokenizer.piece(token).replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")
        if not piece or piece.split() != [piece]:
            raise UserError(
                f"token {token} is {piece!r}, which a table of tokens cannot hold",
                "train with a tokenizer without white space in its tokens",
            )
        lines.append(f"{piece} {number}\n")
    write_text(path, "".join(lines))
