"""Features that `asr prepare features` has stored, a file an utterance.

Shape suffixes: B utterances, T feature frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor

from asr.errors import UserError
from asr.utils.hashes import file_sha256

FEATURES_SHA256 = "features_sha256"
"""What a cut says of the file of its stored features; older manifests do not."""


def load_features(cuts: Sequence[MonoCut]) -> tuple[Tensor, Tensor]:
    """Precomputed features (B, T, F), fp32, zero-padded, and their lengths (B,) in frames.

    Raises UserError for a cut without them.
    """
    matrices = []
    for cut in cuts:
        if not cut.has_features:
            raise UserError(
                f"utterance '{cut.id}' has no precomputed features",
                "run `asr prepare features` and name "
                "its sets (SET.features), or features.source=waveform",
            )
        file = Path(cut.features.storage_path) / cut.features.storage_key
        expected = (cut.custom or {}).get(FEATURES_SHA256)
        try:
            if expected is not None and file_sha256(file) != expected:
                raise ValueError("SHA-256 is not that of its manifest")
            matrices.append(torch.from_numpy(np.array(cut.load_features(), dtype=np.float32)))
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{file} (utterance '{cut.id}'): missing or damaged ({error})",
                "delete DATA/features/SET, and run `asr prepare features` again",
            ) from None
    lengths_B = torch.tensor([len(matrix) for matrix in matrices])
    return torch.nn.utils.rnn.pad_sequence(matrices, batch_first=True), lengths_B
