"""In which type things are computed, stored and communicated: all that a `trainer.precision` means.

No torch here: plans are made with it, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from asr.config.schema import Config

Type = Literal["float32", "bfloat16"]
"""As torch names it."""
BYTES: dict[Type, int] = {"float32": 4, "bfloat16": 2}
_DEEPSPEED_NAMES: dict[Type, str] = {"float32": "fp32", "bfloat16": "bf16"}

_BUCKET_ELEMENTS = 1 << 25
"""Of fp32 that is 134 MB, which a network carries as fast as any more."""


def bucket_elements(parameters: int) -> int:
    """Elements that DeepSpeed reduces, or holds of what other ranks own, at a time: at most the model."""
    return min(_BUCKET_ELEMENTS, parameters)


@dataclass(frozen=True)
class Precision:
    """What is stored, computed, accumulated and communicated in which type.

    The masters, the optimizer's state and the teacher's average are fp32 whatever this says. The loss is not
    scaled: bf16 has fp32's range.
    """

    weights: Type = "float32"
    """In which forward and backward passes find them; in another than fp32 the masters lie apart."""
    autocast: Type | None = None
    """Of matrix products, where not that of the weights: torch.autocast."""
    gradients: Type = "float32"
    """In which they are accumulated."""
    exchange: Type = "float32"
    """In which ranks sum their gradients: `trainer.gradient_communication`, whatever the weights' type."""

    @classmethod
    def of(cls, config: Config) -> Precision:
        """What a recipe asks for."""
        trainer = config.trainer
        return replace(
            _BY_NAME[trainer.precision], exchange=_EXCHANGE[trainer.gradient_communication]
        )

    @property
    def activations(self) -> Type:
        """In which a forward pass keeps what its backward pass needs."""
        return self.autocast or self.weights

    @property
    def is_low(self) -> bool:
        """Whether anything is computed in less than fp32."""
        return self.activations != "float32"

    @property
    def wants_masters_apart(self) -> bool:
        """Whether ZeRO must hold the fp32 masters: stage 0 does not."""
        return self.weights != "float32"

    def deepspeed(self) -> dict[str, Any]:
        """Its part of DeepSpeed's configuration."""
        apart = {"data_types": {"grad_accum_dtype": _DEEPSPEED_NAMES[self.gradients]}}
        return {
            "bf16": {"enabled": self.weights == "bfloat16"},
            **(apart if self.wants_masters_apart else {}),
            # Left to itself DeepSpeed exchanges the gradients of bf16 weights in bf16.
            "communication_data_type": _DEEPSPEED_NAMES[self.exchange],
            "torch_autocast": {
                "enabled": self.autocast is not None,
                "dtype": self.autocast or "bfloat16",
                # Modules whose gradients may be communicated in bf16: none.
                "lower_precision_safe_modules": [],
            },
        }


_EXCHANGE: dict[str, Type] = {"fp32": "float32", "bf16": "bfloat16"}
_BY_NAME = {
    "fp32": Precision(),
    "autocast": Precision(autocast="bfloat16"),
    "bf16": Precision(weights="bfloat16"),
}
