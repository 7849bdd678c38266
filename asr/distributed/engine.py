"""The DeepSpeed engine around the student: what is in force, micro-batches in, one step out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import deepspeed
import torch
from torch import Tensor

from asr.config.schema import Config
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.model.acoustic_model import AcousticModel
from asr.scaling.rule import Hyperparameters
from asr.training.noise_scale import GradientSquares


class Engine:
    """The student, its optimizer, and the rule's values in force."""

    def __init__(
        self, student: AcousticModel, config: Config, values: Hyperparameters, ranks: Ranks
    ) -> None:
        self.values = values
        self.is_sgd = config.optimizer.kind == "sgd"
        self.world = ranks.world
        self.dtype = torch.bfloat16 if config.trainer.precision == "bf16" else torch.float32
        self.low_precision = config.trainer.precision != "fp32"
        weights = {name: p.detach().float().clone() for name, p in student.named_parameters()}
        self.deepspeed, *_ = deepspeed.initialize(
            model=student,
            optimizer=_optimizer(student, config, values, ranks.device),
            config=_deepspeed_config(config, values),
            dist_init_required=False,
        )
        self.student: AcousticModel = self.deepspeed.module
        self.shards = Shards(self.student, self.deepspeed, ranks.world, ranks.rank)
        # DeepSpeed makes the fp32 masters from weights that it has cast to bf16.
        self.shards.scatter(weights, [master.detach() for master in self.shards.masters])
        self.gradient_squares = GradientSquares(self.student)
        self.gradient_norm = 0.0
        """Norm of the last step's gradient, before clipping."""

    def change_batch(self, values: Hyperparameters, growth: float, policy: str) -> None:
        """Put the values of another kappa in force; `growth` is new over old kappa.

        Where gradients are mostly noise, their variance and so Adam's second moment falls as 1/kappa:
        `rescale` does at once what would else take 1 / (1 - beta2) steps, as the square-root rule's
        derivation has it (arXiv 2205.10287). Adam's count of steps, which corrects the bias of the
        young moments, is rescaled with it: it counts audio.
        """
        self.values = values
        if self.is_sgd or policy == "keep":
            return
        if policy == "reset":
            self.shards.reset_moments()
        else:
            self.shards.rescale_second_moment(1.0 / growth)

    def begin_batch(self) -> None:
        """Forget the gradients of the batch before.

        ZeRO 3 overwrites them only where a gradient arrives, so a parameter whose layer LayerDrop
        skipped would be stepped with the previous batch's gradient again.
        """
        stale = getattr(self.deepspeed.optimizer, "grad_partitions_flat_buffer", None)
        if stale is not None:
            stale.zero_()

    def set_learning_rate(self, share: float) -> float:
        """Put the values in force into the optimizer, at `share` of the peak learning rate.

        All of them, each time: a checkpoint brings those of the kappa under which it was written.
        """
        learning_rate = self.values.learning_rate * share
        if self.shards.is_sharded:  # `step` clips at stage 0
            self.deepspeed.optimizer.clip_grad = self.values.max_gradient_norm
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = learning_rate
            group["weight_decay"] = self.values.weight_decay
            if not self.is_sgd:
                group["betas"], group["eps"] = self.values.betas, self.values.eps
        return learning_rate

    def logits(
        self, features_BTF: Tensor, lengths_B: Tensor, kept_layers: Sequence[bool] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The student's logits (B, S, V) and lengths (B,)."""
        logits_BSV, lengths = self.deepspeed(features_BTF.to(self.dtype), lengths_B, kept_layers)
        return logits_BSV, lengths

    def evaluate(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """The same in evaluation mode, in the precision of the weights; with fp32 as `asr decode` does."""
        self.student.eval()
        logits_BSV, lengths = self.student(features_BTF.to(self.dtype), lengths_B)
        return logits_BSV, lengths

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Accumulate the gradient of this rank's part of the global loss.

        The engine averages over ranks, our losses are parts of a sum: hence the factor.
        """
        self.deepspeed.set_gradient_accumulation_boundary(is_last)
        self.deepspeed.backward(loss * self.world, scale_wrt_gas=False)

    def step(self) -> bool:
        """Clip and step; whether the engine really applied it. A gradient that is not finite never is."""
        norm = None
        if (
            not self.shards.is_sharded
        ):  # ZeRO measures and clips its own, and has no whole gradients
            parameters = [p for p in self.student.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if not torch.isfinite(norm):
                self.student.zero_grad(set_to_none=True)  # the same on all ranks, which share it
            elif self.values.max_gradient_norm > 0:
                threshold = self.values.max_gradient_norm
                torch.nn.utils.clip_grads_with_norm_(parameters, threshold, norm)
        self.deepspeed.step()
        self.gradient_norm = float(self.deepspeed.get_global_grad_norm() if norm is None else norm)
        return bool(self.deepspeed.was_step_applied()) and math.isfinite(self.gradient_norm)


def _optimizer(
    student: AcousticModel, config: Config, values: Hyperparameters, device: torch.device
) -> torch.optim.Optimizer:
    parameters = list(student.parameters())
    common: dict[str, Any] = {"lr": values.learning_rate, "weight_decay": values.weight_decay}
    if config.optimizer.kind == "sgd":
        return torch.optim.SGD(parameters, momentum=config.optimizer.momentum, **common)
    assert values.betas is not None
    assert values.eps is not None
    # AdamW without decay is Adam, and the config allows Adam none. Fused is the fast implementation.
    return torch.optim.AdamW(parameters, betas=values.betas, eps=values.eps, fused=True, **common)


def _deepspeed_config(config: Config, values: Hyperparameters) -> dict[str, Any]:
    bf16 = config.trainer.precision == "bf16"
    return {
        # Sizes of micro-batches vary and accumulation boundaries are ours; DeepSpeed wants a number.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # Not DeepSpeed's at stage 0: there it cannot follow a threshold that changes with the batch.
        "gradient_clipping": values.max_gradient_norm if config.trainer.zero_stage else 0.0,
        "bf16": {"enabled": bf16},
        **({"data_types": {"grad_accum_dtype": "fp32"}} if bf16 else {}),
        "torch_autocast": {
            "enabled": config.trainer.precision == "autocast",
            "dtype": "bfloat16",
            # Modules whose gradients may be communicated in bf16: none.
            "lower_precision_safe_modules": [],
        },
        "zero_optimization": {"stage": config.trainer.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 60,
    }
