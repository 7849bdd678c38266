"""Students that predict representations: an encoder, and what belongs to the prediction alone.

The encoder's weights have the names that they have beside a CTC head, so that training by texts goes on from
them (`init_from`).

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width, L layers,
H hidden width, P width of a projection.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from asr.config.objective import ByolConfig
from asr.model.criterion import Tokens
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.outputs import note_output
from asr.model.features import frame_mask
from asr.model.masks import Masks
from asr.model.speech_model import SpeechModel
from asr.utils.devices import sent

PREFIX = "latent"
"""Of the names of what is not the encoder's."""


class RepresentationModel(SpeechModel):
    """Speech -> what is predicted of another view of it. It has no criterion: it says no text."""

    prediction_width: int
    """Channels of a prediction."""

    def __init__(self, encoder: Encoder, others: dict[str, nn.Module]) -> None:
        """`others`: what is not the encoder's, by name."""
        super().__init__()
        self.encoder = encoder
        self.latent = nn.ModuleDict(others)

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        tokens: Tokens | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predictions, as `predicted` has them, and the numbers of encoder frames (B,)."""
        hidden_BSD, lengths_B = self.encoder(features_BTF, lengths_B, kept_BL, reach)
        return self.predicted(note_output(hidden_BSD), lengths_B), lengths_B

    @abstractmethod
    def predicted(self, hidden_BSD: Tensor, lengths_B: Tensor) -> Tensor:
        """From the encoder's output."""

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """The encoder's own names, and the others behind `latent.`."""
        yield "", self.encoder
        yield PREFIX, self.latent


class MaskEmbedding(nn.Module):
    """What a masked frame becomes: a vector that is learned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.rand(width))

    def forward(self, hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        return torch.where(mask_BS[:, :, None], self.embedding.to(hidden_BSD.dtype), hidden_BSD)


class LatentModel(RepresentationModel):
    """Masked prediction: what a masked frame becomes, and a linear head (data2vec, arXiv 2202.03555)."""

    def __init__(self, encoder: Encoder) -> None:
        width = encoder.width
        super().__init__(encoder, {"mask": MaskEmbedding(width), "head": nn.Linear(width, width)})
        self.prediction_width = width

    def predicted(self, hidden_BSD: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, S, D); who wants masks has them by `masked_by(spans(...))`."""
        found: Tensor = self.latent["head"](hidden_BSD)
        return found

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


class ByolModel(RepresentationModel):
    """A projector and a predictor behind the encoder (BYOL, Grill et al. 2020, arXiv 2006.07733, section 3.2).

    Of each frame, and of the mean over an utterance's frames, as if that were one more.
    """

    def __init__(self, encoder: Encoder, policy: ByolConfig) -> None:
        hidden, width = policy.hidden_width, policy.projection_width
        projector = _two_layers(encoder.width, hidden, width)
        super().__init__(
            encoder, {"projector": projector, "predictor": _two_layers(width, hidden, width)}
        )
        self.prediction_width = width

    def predicted(self, hidden_BSD: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, S + 1, P): of the frames, and at last of their mean. The projections are noted on the way."""
        mask_BS1 = frame_mask(lengths_B, hidden_BSD.shape[1])[:, :, None]
        sums_B1D = hidden_BSD.float().masked_fill(~mask_BS1, 0.0).sum(1, keepdim=True)
        mean_B1D = (sums_B1D / lengths_B.clamp(min=1)[:, None, None]).to(hidden_BSD.dtype)
        projections_BSP = self.latent["projector"](torch.cat([hidden_BSD, mean_B1D], 1))
        found: Tensor = self.latent["predictor"](note_output(projections_BSP))
        return found


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """BYOL's perceptron, with a layer normalisation where it has one over the batch, and GELU for ReLU.

    Statistics of a batch would make ranks, accumulation and kappa change what is learned. So would, beyond
    rounding, the kink of a ReLU: a unit that rounding turns on or off changes a whole frame's gradient, which
    nothing leads past these layers. BYOL does without
    them: with group normalisation, of which this is the one with a single group, and standardised weights it
    learns as well (Richemond et al. 2020, arXiv 2010.10241). The weights are not standardised here.
    """
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )
