"""What sherpa-onnx wants beside a graph: tokens, and frames of 20 ms.

Its recogniser of omnilingual CTC models takes waveforms, of 16 kHz, and so features of any kind. It makes a
waveform's mean zero and its variance one before (`graphs.SherpaFeatures`), and counts frames of 20 ms.
"""

from __future__ import annotations

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


def write_tokens(tokenizer: Tokenizer, path: Path) -> None:
    """A token and its number a line: the blank is <blk>, a space is U+2581.

    Raises UserError for a token that would end the line or the word.
    """
    lines = [f"<blk> {BLANK}\n"]
    for token in range(1, tokenizer.vocabulary_size):
        piece = tokenizer.piece(token).replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")
        if not piece or piece.split() != [piece]:
            raise UserError(
                f"token {token} is {piece!r}, which a table of tokens cannot hold",
                "train with a tokenizer without white space in its tokens",
            )
        lines.append(f"{piece} {token}\n")
    write_text(path, "".join(lines))
