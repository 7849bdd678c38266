"""What a recipe's `trainer:` can say: how long, how precisely, and what is kept and shown."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from asr.config.fields import Count, Natural, NonNegative, Positive, Section, total_hours_or_passes
from asr.config.patience import EarlyStoppingConfig

_BATCH = "give batch.batch_seconds and batch.max_seconds_per_micro_batch"
_PRECISION = "give trainer.precision"
_ON_THE_DEVICE = (
    "the averages stand beside the fp32 masters, where the optimizer is; raise trainer.zero_stage"
)
_SAID_ELSEWHERE = {
    "train_batch_size": _BATCH,
    "train_micro_batch_size_per_gpu": _BATCH,
    "gradient_accumulation_steps": _BATCH,
    "gradient_clipping": "give optimizer.max_gradient_norm",
    "elasticity": _BATCH,
    "optimizer": "give optimizer.kind and what is beside it",
    "scheduler": "give optimizer.warmup_hours and what is beside it",
    "fp16": _PRECISION,
    "bf16": _PRECISION,
    "amp": _PRECISION,
    "torch_autocast": _PRECISION,
    "data_types": _PRECISION,
    "communication_data_type": "give trainer.gradient_communication",
    "zero_optimization.stage": "give trainer.zero_stage",
    "zero_optimization.reduce_scatter": "scattered sums would be divided in the weights' type",
    "zero_optimization.offload_optimizer": _ON_THE_DEVICE,
    "zero_optimization.offload_param": _ON_THE_DEVICE,
}
"""Settings of DeepSpeed that the rest of a recipe decides, and what to do instead."""


class TrainerConfig(Section):
    total_hours: Positive = 10_000.0
    """Hours of audio at which training ends."""
    total_passes: Positive | None = None
    """Or as many times the hours of the labelled speech; give one of the two."""
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    evaluation_every_hours: Positive = 100.0
    """Audio between two evaluations of student and teacher on the dev sets."""
    checkpoint_every_hours: Positive = 100.0
    """Audio between two checkpoints."""
    checkpoint_minutes_apart: NonNegative = 0.0
    """Wall-clock minutes between two checkpoints, at least, for many GPUs, which need seconds for
    checkpoint_every_hours: one that comes sooner is evaluated alone. Not the last one, nor one at a signal."""
    keep_last: Count = 2
    """Checkpoints kept besides the best one by dev WER."""
    precision: Literal["fp32", "autocast", "bf16"] = "fp32"
    """fp32; fp32 with bf16 matrix products (torch.autocast); bf16 with fp32 master weights."""
    gradient_communication: Literal["fp32", "bf16"] = "fp32"
    """In which ranks sum gradients. bf16, with precision bf16, sends half and is wrong by 0.2 to 0.3 %."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """Internal precision of fp32 matrix products (torch.set_float32_matmul_precision)."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed's ZeRO stage."""
    deepspeed: dict[str, Any] = {}
    """Settings of DeepSpeed's own, over those that we give it: {zero_optimization: {overlap_comm: true}}."""
    activation_checkpointing: bool = False
    """Of an encoder's layer keep its input alone for the backward pass, which computes the rest again: less
    memory, a third more computing, the same gradients."""
    compile_layers: bool = False
    """Have torch.compile make one program of a layer (model.kind transformer), in half a minute: less memory,
    sums in another order, and on a GPU other draws of dropout. Wants a C++ compiler, on a GPU Triton."""
    loader_workers: Natural = 0
    """Processes a rank that read audio ahead, at most its cores; 0 reads in the training process."""
    non_finite_limit: Natural = 10
    """The run stops when more utterances than this had a NaN or infinite loss."""
    noise_scale_every_batches: Natural = 32
    """Batches (reference batches where these are larger) between measurements of the noise scale; 0: none."""
    utterance_ledger: bool = True
    """Write the utterance ids of every global batch to utterances.jsonl."""

    @field_validator("deepspeed")
    @classmethod
    def _not_ours(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for path, instead in _SAID_ELSEWHERE.items():
            section, _, name = path.rpartition(".")
            within = settings.get(section, {}) if section else settings
            if isinstance(within, dict) and name in within:
                raise ValueError(f"{path} is not for DeepSpeed alone to know: {instead}")
        return settings

    _end = model_validator(mode="before")(total_hours_or_passes)

    @model_validator(mode="after")
    def _check(self) -> TrainerConfig:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError(
                "precision bf16 needs zero_stage 1, 2 or 3, which hold the fp32 masters"
            )
        if self.compile_layers and self.zero_stage == 3:
            raise ValueError(
                "compile_layers needs zero_stage 0, 1 or 2: at 3 a layer's weights come while it runs"
            )
        if self.gradient_communication == "bf16" and self.precision != "bf16":
            raise ValueError(
                f"gradient_communication bf16 needs precision bf16; with {self.precision} gradients are fp32"
            )
        return self
