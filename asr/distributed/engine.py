"""The DeepSpeed engine around the student: what is in force, micro-batches in, one step out."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.distributed.fine_tuning import FineTuning, without_steps
from asr.distributed.lars import turn
from asr.distributed.optimizers import CONSTRUCTORS, put_in_force
from asr.distributed.precision import Precision, bucket_elements
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.errors import UserError
from asr.model.criterion import Tokens
from asr.model.speech_model import SpeechModel
from asr.scaling.optimizers import OPTIMIZERS
from asr.scaling.rule import Hyperparameters

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


class Engine:
    """The student, its optimizer, and the rule's values in force."""

    def __init__(
        self,
        student: SpeechModel,
        config: Config,
        values: Hyperparameters,
        ranks: Ranks,
        new_network: Callable[[], SpeechModel] | None = None,
        tuning: FineTuning | None = None,
    ) -> None:
        """`new_network` makes another one of the student's shapes, weights unset: see `evaluating`.

        `tuning`: the recipe's, at None.
        """
        self.values, self._new_network = values, new_network
        self.tuning = tuning or FineTuning.of(config)
        make_optimizer = CONSTRUCTORS[config.optimizer.kind]
        self.rule = OPTIMIZERS[config.optimizer.kind]
        self._trust = config.optimizer.trust_coefficient
        self.ranks = ranks
        precision = Precision.of(config)
        self.dtype: torch.dtype = getattr(torch, precision.weights)
        weights = {name: p.detach().float().clone() for name, p in student.named_weights()}
        optimizer = make_optimizer(self.tuning.groups(student), config.optimizer, values)
        self.deepspeed = _initialised(student, optimizer, config)
        self.student: SpeechModel = self.deepspeed.module
        self.shards = Shards(
            dict(self.student.named_weights()), self.deepspeed, ranks.world, ranks.rank
        )
        # DeepSpeed makes the fp32 masters from weights that it has cast to bf16.
        self.shards.scatter(weights, [master.detach() for master in self.shards.masters])
        self.enter(0.0)
        self._whole: SpeechModel | None = None
        self._has_stepped = True
        """Since the whole copy was put together."""
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

        ZeRO 3 overwrites them only where a gradient arrives: what a batch does not use would be stepped with
        the previous batch's gradient again.
        """
        stale = getattr(self.deepspeed.optimizer, "grad_partitions_flat_buffer", None)
        if stale is not None:
            stale.zero_()

    def enter(self, hours: float) -> None:
        """What of the student learns from `hours` of audio on, and at which share of the learning rate."""
        self.tuning.enter(self.student, self.deepspeed.optimizer, hours)

    def set_learning_rate(self, share: float) -> float:
        """Put the values in force into the optimizer, at `share` of the peak learning rate.

        All of them, each time: a checkpoint brings those of the kappa under which it was written.
        """
        learning_rate = self.values.learning_rate * share
        values = replace(self.values, weight_decay=0.0) if self.rule.is_layerwise else self.values
        put_in_force(self.deepspeed.optimizer, values, learning_rate)
        return learning_rate

    def logits(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        tokens: Tokens | None = None,
    ) -> tuple[Tensor, ...]:
        """What the student says, logits (B, S, V) and lengths (B,) first; as `SpeechModel.forward` has it."""
        said: tuple[Tensor, ...] = self.deepspeed(
            features_BTF.to(self.dtype), lengths_B, kept_BL, tokens
        )
        return said

    @property
    def is_cut(self) -> bool:
        """Whether each rank has a part of the weights alone, under ZeRO 3: a forward pass is a collective."""
        return int(self.deepspeed.zero_optimization_stage()) == 3

    @property
    def forward_is_collective(self) -> bool:
        """Whether ranks must run what `evaluating` gives together."""
        return self.is_cut and not self.student.is_read_in_steps

    @contextmanager
    def evaluating(self) -> Iterator[SpeechModel]:
        """The student in evaluation mode, in the precision of its weights; with fp32 as `asr decode` does.

        A collective under ZeRO 3: a network that is read token by token is put together there, in fp32, on
        every rank. Steps that are collectives would wait for ever where texts end at different lengths.
        """
        if self.is_cut and self.student.is_read_in_steps:
            yield self._whole_student()
            return
        was_training = self.student.training
        self.student.eval()
        try:
            yield self.student
        finally:
            self.student.train(was_training)

    @torch.no_grad()
    def _whole_student(self) -> SpeechModel:
        """A copy of the student's weights now. A collective, but for a copy that no step has made old."""
        if self._whole is None:
            assert self._new_network is not None
            network = self._new_network().float().to(self.ranks.device)
            self._whole = network.eval().requires_grad_(False)
        if self._has_stepped:
            weights = dict(self._whole.named_weights())
            for name, values in self.shards.gather(self.shards.masters):
                weights[name].copy_(values)
            self._has_stepped = False
        return self._whole

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Accumulate the gradient of this rank's part of the global loss.

        The engine averages over ranks, our losses are parts of a sum: hence the factor.
        """
        self.deepspeed.set_gradient_accumulation_boundary(is_last)
        self.deepspeed.backward(loss * self.ranks.world, scale_wrt_gas=False)

    def step(self) -> bool:
        """Clip and step; whether the step was applied, the same on all ranks.

        Where the gradient, or the sum of its squares, is not finite nothing moves: no weight, moment or count.
        Versions of DeepSpeed differ in that, and in whether clipping hides it: so it is seen to here.
        """
        self.gradient_norm = self._norm()
        is_finite = math.isfinite(self.gradient_norm)
        threshold = self.values.max_gradient_norm
        if not is_finite:
            for held in self.shards.held_gradients():
                held.fill_(1.0)  # nothing that DeepSpeed objects to
        elif 0 < threshold < self.gradient_norm:
            torch._foreach_mul_(self.shards.gradients(), threshold / self.gradient_norm)
        if is_finite and self.rule.is_layerwise:
            self._turn()
        # DeepSpeed goes its usual way, so that its buffers are ready for the next batch.
        with without_steps(self.deepspeed.basic_optimizer, of_all=not is_finite):
            self.deepspeed.step()
        self._has_stepped = True
        return is_finite

    def _turn(self) -> None:
        """A collective under ZeRO 1 to 3."""
        ranks = self.ranks if self.shards.is_sharded else None
        names = [name for name, _ in self.student.named_weights()]
        turn(self.shards.parts(), names, ranks, self._trust, self.values.weight_decay)

    def masters_changed(self) -> None:
        """By other means than a step: the next pass has them. A collective."""
        self.shards.put_into_network()
        self._has_stepped = True

    def _norm(self) -> float:
        """Of the global gradient. A collective under ZeRO 1 to 3, where each rank has its part."""
        own = torch.nn.utils.get_total_norm(self.shards.gradients())
        if not self.shards.is_sharded:
            return float(own)
        square = own.double().square()
        self.ranks.add_up(square)  # there: the host waits once
        return math.sqrt(float(square))


def _initialised(
    student: SpeechModel, optimizer: torch.optim.Optimizer, config: Config
) -> DeepSpeedEngine:
    # No earlier: it decides between GPU and CPU where it is imported, and `join` tells it.
    import deepspeed

    settings = _Settings(_deepspeed_config(config, sum(p.numel() for p in student.parameters())))
    try:
        with redirect_stdout(sys.stderr):  # it prints how much memory it has
            engine, *_ = deepspeed.initialize(
                model=student, optimizer=optimizer, config=settings, dist_init_required=False
            )
    except (ValueError, AssertionError, NotImplementedError) as error:
        own = config.trainer.deepspeed
        if not own:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"trainer.deepspeed {own}: DeepSpeed does not take it ({reason})",
            "correct the setting, or leave it out",
        ) from None
    for name in config.trainer.deepspeed.keys() - settings.read:
        known = get_close_matches(name, settings.read, 1)
        raise UserError(
            f"trainer.deepspeed.{name}: DeepSpeed {deepspeed.__version__} has no such setting",
            f"write {known[0]}, or leave it out" if known else "correct its name, or leave it out",
        )
    return engine


class _Settings(dict[str, Any]):
    """Notes what is read of it: DeepSpeed passes over a section that it does not know in silence."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def _deepspeed_config(config: Config, parameters: int) -> dict[str, Any]:
    bucket = bucket_elements(parameters)
    ours = {
        # Sizes of micro-batches vary and accumulation boundaries are ours; DeepSpeed wants a number.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,  # `Engine.step` does: its threshold changes with the batch
        **Precision.of(config).deepspeed(),
        "zero_optimization": {
            "stage": config.trainer.zero_stage,
            # Else stage 2 divides by the ranks in the weights' type, and stages 1 and 2 send as much.
            "reduce_scatter": config.trainer.zero_stage == 3,
            # DeepSpeed's own are of 5e8 elements and more, whatever the model.
            "reduce_bucket_size": bucket,
            "stage3_prefetch_bucket_size": bucket,
            "stage3_max_live_parameters": bucket,
            "stage3_max_reuse_distance": bucket,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 60,
    }
    return _merged(ours, config.trainer.deepspeed)


def _merged(ours: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """With the recipe's settings in the place of ours, at any depth."""
    found = dict(ours)
    for name, value in own.items():
        before = found.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _merged(before, value)
        found[name] = value
    return found
