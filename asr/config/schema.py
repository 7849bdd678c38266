"""The typed tree of everything that a recipe can say.

The tree is strict: an unknown key fails and the nearest name is suggested. The string under a field is its
documentation, and `asr train RECIPE --print-config` shows all in force.

Units stand in the names. Paths are relative to the working directory.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from asr.config.augmentation import AugmentationConfig
from asr.config.features import FeatureConfig
from asr.config.fields import (
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Section,
    Share,
    check_schedule,
)
from asr.config.model import ModelSection, TransformerConfig
from asr.config.objective import ObjectiveConfig, check_objective
from asr.config.patience import PlateauConfig
from asr.config.pseudo_label import PseudoLabelConfig
from asr.config.store import StoreConfig
from asr.config.teacher import TeacherConfig
from asr.config.tracking import TrackingConfig, with_loggers_in_place
from asr.config.trainer import TrainerConfig


class CorpusConfig(Section):
    directory: str = "data"
    """Folder of prepared sets: NAME is DIRECTORY/NAME.jsonl.gz, NAME.shar the folder DIRECTORY/NAME.shar."""
    labelled: list[str] = []
    """Sets whose transcripts train the student."""
    untranscribed: list[str] = []
    """Sets that are pseudo-labelled. Their transcripts, where there are any, only measure the labels."""
    weights: dict[str, Positive] = {}
    """Of sets that are trained on, as in {mine: 2, other: 0.5}: how often a pass plays their utterances (1)."""
    temperature: Positive | None = None
    """Instead of weights: a set of h hours is drawn in proportion to h^(1 / temperature), so that small sets
    are heard more often (1: as they are; 1e9: all sets alike). A pass is as long as without."""
    dev: list[str] = []
    """Sets on which checkpoints are compared during training."""
    test: list[str] = []
    """Sets that are decoded once, at the end, by a recipe's run.sh."""
    min_seconds: NonNegative = 0.2
    """Shorter utterances are left out of training, and counted."""
    max_seconds: Positive = 40.0
    """Longer utterances are left out of training, and counted."""
    max_lost_share: Share = 0.05
    """Utterances whose audio is lost or damaged after preparation are named, counted and left out; training
    stops when they are more than this share. Dev sets likewise."""
    store: StoreConfig = StoreConfig()
    """How audio is read that is not on this machine."""
    scoring_normaliser: str = "none"
    """How texts are compared, for WER in training and of labels: none, lower, librispeech, whisper-english, or
    PATH.py:FUNCTION, as `asr score --normaliser` has them."""

    @model_validator(mode="after")
    def _check_weights(self) -> CorpusConfig:
        if self.weights and self.temperature is not None:
            raise ValueError(
                f"weights and temperature {self.temperature:g} are two answers to one question: leave one out"
            )
        known = [*self.labelled, *self.untranscribed]
        for name in self.weights:
            if name not in known:
                raise ValueError(
                    f"weights name '{name}', which is no set of labelled or untranscribed "
                    f"({', '.join(known) or 'there are none'})"
                )
        return self


class TokenizerConfig(Section):
    kind: Literal["characters", "sentencepiece", "pretrained"] = "characters"
    """Characters with a word boundary; a sentencepiece model (`asr prepare tokenizer`); or pretrained, that of
    an encoder-decoder."""
    normaliser: str = "none"
    """What is done to a transcript before it is spelt: none, lower, librispeech (upper-case letters, digits and
    apostrophes alone), whisper-english, or PATH.py:FUNCTION."""
    characters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
    """The characters, for kind characters. The space is always a token and is not written here."""
    sentencepiece_model: str | None = None
    """Path of the .model file, for kind sentencepiece."""


class OptimizerConfig(Section):
    """Values at the reference batch; the scaling rule derives those in force."""

    kind: Literal["adam", "adamw", "sgd", "lars"] = "adamw"
    """Adam with decoupled weight decay, Adam without any, SGD, or LARS (of objective byol)."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Adam's betas."""
    eps: Positive = 1e-8
    """Adam's epsilon."""
    momentum: Fraction = 0.0
    """SGD's momentum, and LARS's."""
    trust_coefficient: Positive = 1e-3
    """LARS's: a matrix's step at a learning rate of 1 and without momentum, as a share of the matrix."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay; with SGD and LARS, L2."""
    max_gradient_norm: NonNegative = 1.0
    """Clipping threshold of the global gradient norm; 0 for no clipping."""
    warmup_hours: NonNegative = 1.0
    """Linear warm-up from 0."""
    decay: Literal["constant", "linear", "cosine", "plateau"] = "constant"
    """Shape of the decay, from decay_start_hours to decay_end_hours; or plateau, by the dev WER."""
    plateau: PlateauConfig = PlateauConfig()
    decay_start_hours: NonNegative | None = None
    """Start of the decay; null for the end of the warm-up."""
    decay_end_hours: Positive | None = None
    """End of the decay; null for the end of training."""
    final_share: Share = 0.0
    """Learning rate at the end of the decay, as a share of the peak; on a plateau it falls no further."""

    @model_validator(mode="after")
    def _check(self) -> OptimizerConfig:
        if self.kind == "adam" and self.weight_decay > 0:
            raise ValueError(f"weight_decay {self.weight_decay} needs kind adamw; adam has none")
        if (self.decay == "plateau") != (self.plateau.patience_hours is not None):
            raise ValueError(
                f"decay {self.decay} and plateau.patience_hours {self.plateau.patience_hours}: decay plateau "
                "and a patience in hours of audio go together"
            )
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


class Config(Section):
    name: str = "run"
    """Name of the run, for titles."""
    output: str = "exp/run"
    """Folder of the run."""
    seed: Natural = 1
    """Seed of everything random."""
    fork_from: str | None = None
    """Checkpoint folder of another run from whose state a new run starts (a shared burn-in)."""
    init_from: str | None = None
    """Run or checkpoint whose weights alone a new run starts from: those of its average, or name its
    student.safetensors. With another tokenizer the head is made anew; else the average begins as these weights,
    without a warm-up (teacher.warmup_share)."""
    objective: ObjectiveConfig = ObjectiveConfig()
    corpus: CorpusConfig = CorpusConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    features: FeatureConfig = FeatureConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    model: ModelSection = TransformerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    scaling: ScalingConfig = ScalingConfig()
    batch: BatchConfig = BatchConfig(batch_seconds=2320.0)
    teacher: TeacherConfig = TeacherConfig()
    pseudo_label: PseudoLabelConfig = PseudoLabelConfig()
    trainer: TrainerConfig = TrainerConfig()
    tracking: TrackingConfig = TrackingConfig()

    _older_names = model_validator(mode="before")(with_loggers_in_place)
    _goes_with_objective = model_validator(mode="after")(check_objective)

    @model_validator(mode="before")
    @classmethod
    def _choose_tokenizer(cls, given: Any) -> Any:
        """An encoder-decoder has its own."""
        if isinstance(given, dict) and isinstance(given.get("model"), dict):
            tokenizer = given.get("tokenizer", {})
            is_encoder_decoder = given["model"].get("kind") == "encoder_decoder"
            if is_encoder_decoder and isinstance(tokenizer, dict) and "kind" not in tokenizer:
                return {**given, "tokenizer": {**tokenizer, "kind": "pretrained"}}
        return given

    @model_validator(mode="after")
    def _check(self) -> Config:
        has_own = self.model.kind == "encoder_decoder"
        if has_own != (self.tokenizer.kind == "pretrained"):
            wanted = "pretrained" if has_own else "characters or sentencepiece"
            raise ValueError(
                f"tokenizer.kind {self.tokenizer.kind} does not go with model.kind {self.model.kind}: "
                f"set it to {wanted}"
            )
        if self.pseudo_label.filters.min_ctc_score and not getattr(self.model, "ctc_weight", 0.0):
            raise ValueError(
                "pseudo_label.filters.min_ctc_score needs an encoder-decoder with a CTC head: set "
                "model.ctc_weight to 0.3, or the filter to 0"
            )
        if self.pseudo_label.token_weights != "none" and self.model.kind != "encoder_decoder":
            raise ValueError(
                f"pseudo_label.token_weights {self.pseudo_label.token_weights} needs model.kind "
                "encoder_decoder, which reads token by token: set it to none"
            )
        if self.trainer.compile_layers and self.model.kind != "transformer":
            raise ValueError(
                f"trainer.compile_layers needs model.kind transformer: with {self.model.kind} set it to false"
            )
        if self.features.source == "precomputed" and self.augmentation.speed_factors != [1.0]:
            raise ValueError(
                "augmentation.speed_factors needs features.source=waveform: set it to [1.0], or take that"
            )
        for name, probability in self.augmentation.changes.items():
            if self.features.source == "precomputed":
                raise ValueError(
                    f"augmentation.{name}.probability {probability:g} needs features.source=waveform"
                )
        highest, nyquist = self.augmentation.band_pass.high_hz[1], self.features.sample_rate_hz / 2
        if self.augmentation.band_pass.probability > 0 and highest >= nyquist:
            raise ValueError(
                f"augmentation.band_pass.high_hz ends at {highest:g}, and must be below half of "
                f"features.sample_rate_hz, {nyquist:g}"
            )
        if self.fork_from is not None and self.init_from is not None:
            raise ValueError(
                "fork_from takes all of a run's state and init_from its weights alone: give one of them, and "
                "null for the other"
            )
        start = self.pseudo_label.start
        if start.is_set and not self.corpus.untranscribed:
            raise ValueError(
                "pseudo_label.start is set but corpus.untranscribed is empty: name sets there, or set "
                "pseudo_label.start_hours to null"
            )
        if start.is_set and start.dev_wer_below is not None and not self.corpus.dev:
            raise ValueError(
                f"pseudo_label.start.dev_wer_below {start.dev_wer_below:g} needs a dev set: name one in "
                "corpus.dev, or set it to null"
            )
        waiting = self.optimizer.plateau, self.trainer.early_stopping
        if not self.corpus.dev and any(one.patience_hours is not None for one in waiting):
            raise ValueError(
                "optimizer.plateau and trainer.early_stopping wait for the dev WER: name a set in "
                "corpus.dev, or set their patience_hours to null"
            )
        return self

    @property
    def has_no_transcripts(self) -> bool:
        """Whether labels are all that is trained on: a pretrained model is the first teacher."""
        corpus, start = self.corpus, self.pseudo_label.start
        return not corpus.labelled and bool(corpus.untranscribed) and start.hours == 0

    @property
    def keeps_its_start(self) -> bool:
        """Whether the average begins with trained weights, which it is to forget by its half-life alone."""
        is_trained = self.init_from is not None or self.model.kind == "encoder_decoder"
        return is_trained and not self.teacher.warmup_share

    def has_role(self, role: str) -> bool:
        """Whether sets of corpus.labelled, or of corpus.untranscribed, are trained on."""
        if not self.objective.has_texts:
            return role == "untranscribed"
        if role == "untranscribed":
            return self.pseudo_label.start.is_set
        return not self.has_no_transcripts

    def sets_of(self, role: str) -> list[str]:
        """Sets that have a role; without texts to train on, that of the untranscribed ones."""
        corpus = self.corpus
        if self.objective.has_texts:
            return corpus.labelled if role == "labelled" else corpus.untranscribed
        return [*corpus.untranscribed, *corpus.labelled] if role == "untranscribed" else []

    @property
    def group_seconds(self) -> float:
        """Nominal audio of one group of the stream."""
        return self.batch.group_seconds or self.scaling.reference_batch_seconds / 8

    @property
    def utterance_seconds_per_micro_batch(self) -> float:
        """Padded audio of the utterances in one: all views of each go through the student in one pass."""
        return self.batch.max_seconds_per_micro_batch / self.objective.views

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
