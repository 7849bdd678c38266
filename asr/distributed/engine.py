"""The DeepSpeed engine around the student: what is in force, micro-batches in, one step out."""

from __future__ import annotations

import math
from typing import Any

import deepspeed
import torch
from torch import Tensor

from asr.config.schema import Config
from asr.distributed.optimizers import CONSTRUCTORS, put_in_force
from asr.distributed.precision import Precision
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.model.acoustic_model import AcousticModel
from asr.scaling.optimizers import OPTIMIZERS
from asr.scaling.rule import Hyperparameters


class Engine:
    """The student, its optimizer, and the rule's values in force."""

    def __init__(
        self, student: AcousticModel, config: Config, values: Hyperparameters, ranks: Ranks
    ) -> None:
        self.values = values
        make_optimizer = CONSTRUCTORS[config.optimizer.kind]
        self.rule = OPTIMIZERS[config.optimizer.kind]
        self.world = ranks.world
        precision = Precision.of(config)
        self.dtype: torch.dtype = getattr(torch, precision.weights)
        weights = {name: p.detach().float().clone() for name, p in student.named_weights()}
        self.deepspeed, *_ = deepspeed.initialize(
            model=student,
            optimizer=make_optimizer(list(student.parameters()), config.optimizer, values),
            config=_deepspeed_config(config, values),
            dist_init_required=False,
        )
        self.student: AcousticModel = self.deepspeed.module
        self.shards = Shards(
            dict(self.student.named_weights()), self.deepspeed, ranks.world, ranks.rank
        )
        # DeepSpeed makes the fp32 masters from weights that it has cast to bf16.
        self.shards.scatter(weights, [master.detach() for master in self.shards.masters])
        self.gradient_norm = 0.0
        """Norm of the last step's gradient, before clipping."""

    def change_batch(
        self, values: Hyperparameters, policy: str, growth: float, second_moment_factor: float
    ) -> None:
        """Put the values of another kappa in force; `growth` is new over old kappa.

        `second_moment_factor` is scaling.second_moment's: `rescale` does at once to Adam's second moment what
        would else take 1 / (1 - beta2) steps.
        """
        self.values = values
        if policy == "reset":
            self.shards.reset_moments()
        elif policy == "rescale":
            self.shards.rescale_state(self.rule.second_moments, second_moment_factor)
            self.shards.rescale_state(self.rule.step_counts, 1.0 / growth)

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
        put_in_force(self.deepspeed.optimizer, self.values, learning_rate)
        return learning_rate

    def logits(
        self, features_BTF: Tensor, lengths_B: Tensor, kept_BL: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The student's logits (B, S, V) and lengths (B,); `kept_BL` as `Encoder.forward` takes it."""
        logits_BSV, lengths = self.deepspeed(features_BTF.to(self.dtype), lengths_B, kept_BL)
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


def _deepspeed_config(config: Config, values: Hyperparameters) -> dict[str, Any]:
    return {
        # Sizes of micro-batches vary and accumulation boundaries are ours; DeepSpeed wants a number.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # Not DeepSpeed's at stage 0: there it cannot follow a threshold that changes with the batch.
        "gradient_clipping": values.max_gradient_norm if config.trainer.zero_stage else 0.0,
        **Precision.of(config).deepspeed(),
        "zero_optimization": {"stage": config.trainer.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 60,
    }
