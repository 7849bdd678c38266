"""The typed tree of everything that a recipe can say.

The tree is strict: an unknown key fails and the nearest name is suggested. The string under a field is its
documentation, and `asr train RECIPE --print-config` shows all in force.

Units stand in the names. Paths are relative to the working directory.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from asr.config.fields import (
    Count,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Section,
    Share,
    check_schedule,
)
from asr.config.pseudo_label import PseudoLabelConfig
from asr.config.teacher import TeacherConfig

LOGGERS = ("tensorboard",)


class CorpusConfig(Section):
    directory: str = "data"
    """Folder of prepared sets: NAME is DIRECTORY/NAME.jsonl.gz, NAME.shar the folder DIRECTORY/NAME.shar."""
    labelled: list[str] = []
    """Sets whose transcripts train the student."""
    untranscribed: list[str] = []
    """Sets that are pseudo-labelled. Their transcripts, where there are any, only measure the labels."""
    dev: list[str] = []
    """Sets on which checkpoints are compared during training."""
    test: list[str] = []
    """Sets that are decoded once, at the end, by a recipe's run.sh."""
    min_seconds: NonNegative = 0.2
    """Shorter utterances are left out of training, and counted."""
    max_seconds: Positive = 40.0
    """Longer utterances are left out of training, and counted."""


class TokenizerConfig(Section):
    kind: Literal["characters", "sentencepiece"] = "characters"
    """Characters with a word boundary, or a sentencepiece model (`asr prepare tokenizer`)."""
    characters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
    """The characters, for kind characters. The space is always a token and is not written here."""
    sentencepiece_model: str | None = None
    """Path of the .model file, for kind sentencepiece."""


class FeatureConfig(Section):
    sample_rate_hz: Count = 16_000
    """Rate to which preparation has resampled all audio."""
    window_ms: Positive = 25.0
    """Length of the analysis window."""
    hop_ms: Positive = 10.0
    """Distance between feature frames."""
    mel_bins: Count = 80
    """Mel filters, F."""
    normalise: Literal["utterance", "none"] = "utterance"
    """Zero mean and unit variance of each mel bin over each utterance."""
    source: Literal["waveform", "precomputed"] = "waveform"
    """Compute on the training device, or read what `asr prepare features` stored."""


class SpecAugmentConfig(Section):
    """Of features; with a pretrained encoder that takes waveforms, and with w2v-BERT, of what its own front end
    makes of them: frames are then encoder frames, mostly of 20 ms, and bins are channels."""

    frequency_masks: Natural = 2
    """Number of frequency masks (slimIPL: 2)."""
    frequency_mask_bins: Natural = 30
    """Widest frequency mask (slimIPL: 30 of 80)."""
    time_masks: Natural = 10
    """Number of time masks (slimIPL: 10)."""
    time_mask_frames: Natural = 50
    """Widest time mask, in feature frames (slimIPL: 50)."""
    time_mask_max_share: Share = 0.1
    """Widest time mask as a share of the utterance (slimIPL: 0.1)."""
    start_hours: NonNegative = 0.0
    """Masks are applied from this many hours of audio on."""


class AugmentationConfig(Section):
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    """Masks on the student's input. The teacher always receives clean speech."""
    speed_factors: Annotated[list[Positive], Field(min_length=1)] = [1.0]
    """Each utterance of each pass is played at one of these speeds, drawn with equal probability."""


class ModelConfig(Section):
    width: Count = 768
    """Model width, D."""
    heads: Count = 4
    """Attention heads, H."""
    layers: Count = 36
    """Transformer blocks."""
    feed_forward_width: Count = 3072
    """Inner width of the feed-forward network."""
    activation: Literal["relu", "silu"] = "relu"
    """Of the feed-forward network."""
    stride: Count = 3
    """Feature frames per encoder frame."""
    front_end_kernel: Count = 7
    """Kernel of the front end's convolution, in feature frames; odd."""
    convolution_kernel: Natural = 0
    """Kernel of each block's convolution module, in encoder frames; odd; 0 for none."""
    norm: Literal["pre", "post"] = "post"
    """Where the layer normalisation stands."""
    positions: Literal["sinusoidal", "rotary", "none"] = "sinusoidal"
    """Position encoding."""
    dropout: Fraction = 0.3
    """Dropout of the front end and of every block."""
    attention_dropout: Fraction = 0.0
    """Dropout of the attention weights."""
    layer_drop: Fraction = 0.3
    """Probability that an utterance skips a block."""
    layer_drop_unit: Literal["utterance", "batch"] = "utterance"
    """Drawn for each utterance, so that its noise falls as the batch grows; or, to compare, once a global batch
    as in slimIPL: then it does not, and the scaling rule does not hold."""

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.width % self.heads or (self.positions == "rotary" and self.width // self.heads % 2):
            raise ValueError(
                f"width {self.width} must be a multiple of heads {self.heads} "
                "(an even multiple with rotary positions)"
            )
        if self.width % 2:
            raise ValueError(f"width {self.width} must be even")
        if self.front_end_kernel % 2 == 0:
            raise ValueError(f"front_end_kernel {self.front_end_kernel} must be odd")
        if self.convolution_kernel and self.convolution_kernel % 2 == 0:
            raise ValueError(f"convolution_kernel {self.convolution_kernel} must be odd, or 0")
        return self


class OptimizerConfig(Section):
    """Values at the reference batch; the scaling rule derives those in force."""

    kind: Literal["adam", "adamw", "sgd"] = "adamw"
    """Adam with decoupled weight decay, Adam without any, or SGD."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Adam's betas."""
    eps: Positive = 1e-8
    """Adam's epsilon."""
    momentum: Fraction = 0.0
    """SGD's momentum."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay; with SGD, L2."""
    max_gradient_norm: NonNegative = 1.0
    """Clipping threshold of the global gradient norm; 0 for no clipping."""
    warmup_hours: NonNegative = 1.0
    """Linear warm-up from 0."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the decay, from decay_start_hours to decay_end_hours."""
    decay_start_hours: NonNegative | None = None
    """Start of the decay; null for the end of the warm-up."""
    decay_end_hours: Positive | None = None
    """End of the decay; null for the end of training."""
    final_share: Share = 0.0
    """Learning rate at the end of the decay, as a share of the peak."""

    @model_validator(mode="after")
    def _check(self) -> OptimizerConfig:
        if self.kind == "adam" and self.weight_decay > 0:
            raise ValueError(f"weight_decay {self.weight_decay} needs kind adamw; adam has none")
        return self


class ScalingConfig(Section):
    reference_batch_seconds: Positive = 2320.0
    """Global batch at which the hyperparameters of this recipe were tuned. kappa = batch / this."""
    rule: Literal["full", "optimizer_only", "none"] = "full"
    """Scale optimizer and teacher (the paper's rule), the optimizer only, or nothing (ablations)."""
    betas: Literal["linear", "half_life"] = "linear"
    """Adam's betas: 1 - kappa (1 - beta), or beta^kappa, which is valid for every kappa."""
    weight_decay: Literal["none", "sqrt"] = "sqrt"
    """Decoupled decay times sqrt(kappa), which with the learning rate is the same shrinkage per hour of audio;
    or none: unchanged, and so weaker for large batches."""
    gradient_clipping: Literal["none", "sqrt"] = "none"
    """Threshold unchanged, or divided by sqrt(kappa), as a noise-dominated gradient norm shrinks."""
    second_moment: Literal["rescale", "keep", "reset"] = "rescale"
    """Adam's second moment where kappa changes in mid-run: scaled as the squares of the clipped gradients will
    change (old / new kappa where none is clipped, not at all where all are), left, or reset."""


BatchSeconds = Positive | Annotated[list[tuple[NonNegative, Positive]], Field(min_length=1)]
"""Seconds of audio; or a schedule, as [from this hour on, seconds] pairs that begin at hour 0."""


class BatchConfig(Section):
    batch_seconds: BatchSeconds | None = None
    """Audio of a global batch, whatever the number of ranks; or a schedule: [[0, 30], [10, 120]]."""
    batch_seconds_per_rank: BatchSeconds | None = None
    """Audio of a rank's share, or a schedule: the global batch, and so kappa, grows with the ranks."""
    group_seconds: Positive | None = None
    """Audio of a group, the unit in which the stream is cut; null for an eighth of the reference."""
    max_seconds_per_micro_batch: Positive = 300.0
    """Padded audio that one forward and backward pass may hold; bounds the memory of a rank."""

    @model_validator(mode="after")
    def _check(self) -> BatchConfig:
        if (self.batch_seconds is None) == (self.batch_seconds_per_rank is None):
            raise ValueError(
                "give exactly one of batch_seconds and batch_seconds_per_rank, and null for the other"
            )
        check_schedule([start for start, _ in self.pieces], "a batch schedule")
        return self

    @property
    def pieces(self) -> list[tuple[float, float]]:
        """(from this hour on, seconds) as written: of a global batch, or of a rank's share."""
        given = self.batch_seconds or self.batch_seconds_per_rank
        return given if isinstance(given, list) else [(0.0, given or 0.0)]


class TrainerConfig(Section):
    total_hours: Positive = 10_000.0
    """Hours of audio at which training ends."""
    evaluation_every_hours: Positive = 100.0
    """Audio between two evaluations of student and teacher on the dev sets."""
    checkpoint_every_hours: Positive = 100.0
    """Audio between two checkpoints."""
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
    loader_workers: Natural = 0
    """Processes a rank that read audio ahead, at most its cores; 0 reads in the training process."""
    non_finite_limit: Natural = 10
    """The run stops when more utterances than this had a NaN or infinite loss."""
    noise_scale_every_batches: Natural = 32
    """Batches (reference batches where these are larger) between measurements of the noise scale; 0: none."""
    utterance_ledger: bool = True
    """Write the utterance ids of every global batch to utterances.jsonl."""
    loggers: list[str] = ["tensorboard"]
    """Where metrics go besides metrics.jsonl: tensorboard; or FILE.py:CLASS of your own."""

    @field_validator("loggers")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in LOGGERS and ".py:" not in name:
                raise ValueError(f"choose of {', '.join(LOGGERS)}, or FILE.py:CLASS of your own")
        return names

    @model_validator(mode="after")
    def _check(self) -> TrainerConfig:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError(
                "precision bf16 needs zero_stage 1, 2 or 3, which hold the fp32 masters"
            )
        if self.gradient_communication == "bf16" and self.precision != "bf16":
            raise ValueError(
                f"gradient_communication bf16 needs precision bf16; with {self.precision} gradients are fp32"
            )
        return self


class Config(Section):
    name: str = "run"
    """Name of the run, for titles."""
    output: str = "exp/run"
    """Folder of the run."""
    seed: Natural = 1
    """Seed of everything random."""
    fork_from: str | None = None
    """Checkpoint folder of another run from whose state a new run starts (a shared burn-in)."""
    corpus: CorpusConfig = CorpusConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    features: FeatureConfig = FeatureConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    scaling: ScalingConfig = ScalingConfig()
    batch: BatchConfig = BatchConfig(batch_seconds=2320.0)
    teacher: TeacherConfig = TeacherConfig()
    pseudo_label: PseudoLabelConfig = PseudoLabelConfig()
    trainer: TrainerConfig = TrainerConfig()

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.features.source == "precomputed" and self.augmentation.speed_factors != [1.0]:
            raise ValueError("augmentation.speed_factors needs features.source=waveform")
        if self.pseudo_label.start_hours is not None and not self.corpus.untranscribed:
            raise ValueError("pseudo_label.start_hours is set but corpus.untranscribed is empty")
        return self

    @property
    def group_seconds(self) -> float:
        """Nominal audio of one group of the stream."""
        return self.batch.group_seconds or self.scaling.reference_batch_seconds / 8

    def batch_schedule(self, ranks: int) -> list[tuple[float, float]]:
        """(from this hour on, nominal audio of a global batch on `ranks` ranks in seconds).

        Hours are those of audio drawn. A batch is a whole number of groups, at least one.
        """
        factor = 1 if self.batch.batch_seconds is not None else ranks
        return [
            (hours, self.groups_per_batch(seconds * factor) * self.group_seconds)
            for hours, seconds in self.batch.pieces
        ]

    def global_batch_seconds(self, ranks: int, hours: float = 0.0) -> float:
        """Nominal audio of a global batch that begins at `hours` of audio."""
        return [seconds for start, seconds in self.batch_schedule(ranks) if start <= hours][-1]

    def groups_per_batch(self, batch_seconds: float) -> int:
        """Groups that make up a global batch of about `batch_seconds`."""
        return max(1, round(batch_seconds / self.group_seconds))
