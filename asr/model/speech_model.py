"""What the rest of the library needs of a network: an encoder, and how its output becomes text.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames or places of tokens,
V vocabulary, L layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from asr.model.criterion import Criterion, Tokens
from asr.model.encoders.encoder import Encoder


class SpeechModel(nn.Module, ABC):
    """Speech -> logits, by which a text is scored."""

    encoder: Encoder
    criterion: Criterion
    is_read_in_steps: ClassVar[bool] = False
    """Whether a text takes a pass for each of its tokens."""

    @abstractmethod
    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        tokens: Tokens | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, ...]:
        """Logits (B, S, V) and their lengths (B,), as `criterion` takes them; a student may say more (Output).

        `kept_BL` and `reach` as `Encoder.forward` takes them. `tokens` are texts that are scored; a model that
        is read frame by frame (CTC) does not look at them.
        """

    @abstractmethod
    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """(prefix of its names in files, module) of all that has weights."""

    @property
    def has_times(self) -> bool:
        """Whether its frames have logits, by which words have times."""
        return not self.is_read_in_steps

    def set_dropout(self, dropout: float, layer_drop: float) -> None:
        """Change dropout and LayerDrop from here on."""
        self.encoder.set_dropout(dropout, layer_drop)

    def save_description(self, folder: Path) -> None:
        """Write what a pretrained model is made again of into a checkpoint's folder; weights are elsewhere."""
        self.encoder.save(folder)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of the features."""
        return next(self.parameters()).dtype

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) as files have them."""
        for prefix, module in self.parts():
            yield from module.named_parameters(prefix=prefix)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put whole tensors in, by the names of `named_weights`.

        Raises RuntimeError where a name or a shape is another.
        """
        own = dict(self.named_weights())
        if own.keys() != weights.keys():
            odd = sorted(own.keys() ^ weights.keys())
            raise RuntimeError(f"{len(odd)} weights are on one side alone, as '{odd[0]}'")
        with torch.no_grad():
            for name, parameter in own.items():
                values = weights[name]
                if values.shape != parameter.shape:
                    raise RuntimeError(
                        f"'{name}' has the shape {list(values.shape)} and not {list(parameter.shape)}"
                    )
                parameter.copy_(values)
