"""The student of masked prediction: an encoder, what a masked frame becomes, and a linear head.

data2vec (Baevski et al. 2022, arXiv 2202.03555). The encoder's weights have the names that they have beside a
CTC head, so that training by texts goes on from them (`init_from`).

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from asr.model.criterion import Tokens
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.outputs import note_output
from asr.model.masks import Masks
from asr.model.speech_model import SpeechModel
from asr.utils.devices import sent

PREFIX = "latent"
"""Of the names of what is not the encoder's."""


class MaskEmbedding(nn.Module):
    """What a masked frame becomes: a vector that is learned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.rand(width))

    def forward(self, hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        return torch.where(mask_BS[:, :, None], self.embedding.to(hidden_BSD.dtype), hidden_BSD)


class LatentModel(SpeechModel):
    """Speech -> a prediction of each frame's representation. It has no criterion: it says no text."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent = nn.ModuleDict(
            {"mask": MaskEmbedding(encoder.width), "head": nn.Linear(encoder.width, encoder.width)}
        )

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        tokens: Tokens | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predictions (B, S, D) and their lengths (B,); who wants masks has them by `masked_by(spans(...))`."""
        hidden_BSD, lengths_B = self.encoder(features_BTF, lengths_B, kept_BL, reach)
        return self.latent["head"](note_output(hidden_BSD)), lengths_B

    def spans(self, mask_BS: Tensor) -> Masks:
        """Masks for `masked_by`: where `mask_BS`, booleans on the host, says so; S may be another there.

        With nothing masked, too, the embedding takes part: its gradient is zero then, and not missing.
        """

        def mask(
            features_BTF: Tensor, lengths_B: Tensor, *, filling_F: Tensor | None = None
        ) -> Tensor:
            # Inside of the encoder: the frames are its own, and D wide.
            here_BS = torch.zeros(features_BTF.shape[:2], dtype=torch.bool)
            rows, frames = min(len(mask_BS), len(here_BS)), min(mask_BS.shape[1], here_BS.shape[1])
            here_BS[:rows, :frames] = mask_BS[:rows, :frames]
            found: Tensor = self.latent["mask"](features_BTF, sent(here_BS, features_BTF.device))
            return found

        return mask

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """The encoder's own names, and the others behind `latent.`."""
        yield "", self.encoder
        yield PREFIX, self.latent
