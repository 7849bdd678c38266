"""Forced alignment: at what time is each token of a text spoken?

Shape suffixes: S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchaudio.functional import forced_align

from asr.decoding.words import TimedToken
from asr.errors import UserError
from asr.model.ctc import is_feasible
from asr.model.tokenizer import BLANK


def align_tokens(
    logits_SV: Tensor, tokens: Sequence[int], frame_seconds: float
) -> list[TimedToken]:
    """Each token's time and confidence on the most probable path of `tokens` through the logits (S, V).

    A confidence is the token's highest posterior there. Raises UserError where there are fewer frames
    than the tokens need.
    """
    log_posteriors_SV = logits_SV.float().log_softmax(-1).cpu()
    if not tokens:
        return []
    if not is_feasible(tokens, len(log_posteriors_SV)):
        raise UserError(
            f"{len(tokens)} tokens cannot be aligned with {len(log_posteriors_SV)} frames: "
            "the text is longer than the audio",
            "shorten the text, or give all of its audio",
        )
    path_1S, _ = forced_align(
        log_posteriors_SV[None].contiguous(), torch.tensor([list(tokens)], dtype=torch.int32)
    )
    found: list[TimedToken] = []
    before = BLANK
    for frame, token in enumerate(path_1S[0].tolist()):
        if token != BLANK:
            posterior = float(log_posteriors_SV[frame, token].exp())
            begin, end = frame * frame_seconds, (frame + 1) * frame_seconds
            if token == before:
                begin, posterior = found[-1].begin, max(posterior, found.pop().confidence)
            found.append(TimedToken(token, begin, end, posterior))
        before = token
    return found
