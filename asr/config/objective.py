"""What a recipe's `objective:` can say: what the student is trained for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from asr.config.fields import Count, NonNegative, Positive, Section, Share, Width

if TYPE_CHECKING:
    from asr.config.schema import Config


class CollapseConfig(Section):
    """When representations count as collapsed, over about the last reference batches of audio; and what is
    done about it. The bounds of variances are those at which data2vec's code ends a run."""

    min_target_variance: NonNegative = 0.01
    """Alarm below this variance of what is predicted, over masked frames, on average over the channels."""
    min_prediction_variance: NonNegative = 1e-4
    """Alarm below this variance of the predictions, likewise."""
    max_dead_share: Share = 0.5
    """Alarm above this share of frames whose representation is hardly more than their utterance's mean."""
    min_effective_rank: NonNegative = 2.0
    """Alarm, at evaluations, below this effective rank of the average's output over a dev set's frames: 1 is a
    line, model.width the most."""
    action: Literal["warn", "rollback", "stop"] = "warn"
    """Say so; or also put student and average back to their last healthy state, and stop where that has not
    helped; or stop."""
    snapshot_hours: Positive = 1.0
    """Audio between two states that rollback keeps, at evaluations where there are dev sets; it goes back to
    the last but one."""
    grace_hours: NonNegative = 0.0
    """Audio from the start within which nothing is said."""


class RepresentationConfig(Section):
    """What all kinds have that predict representations, and no texts."""

    teacher: Literal["ema", "student"] = "ema"
    """Whose representations are predicted: the average's, or to compare the student's own, which collapse."""
    health: CollapseConfig = CollapseConfig()
    """Whether the representations have collapsed, and what is done then."""


class LatentConfig(RepresentationConfig):
    """For kind latent; the defaults are data2vec's of speech (Baevski et al. 2022, arXiv 2202.03555)."""

    top_blocks: Count = 8
    """The mean of the outputs of so many blocks, counted from the last, is predicted; each normalised over the
    utterance's frames."""
    mask_share: Annotated[Share, Field(gt=0)] = 0.65
    """Spans of masked frames, together, over the utterance's frames: as they overlap, about half are masked."""
    mask_ms: Positive = 200.0
    """Length of a span; in an encoder's frames it is rounded."""
    smooth_l1_beta: NonNegative = 0.0
    """Error below which the smooth L1 loss is quadratic; 0 for the squared error everywhere."""


class ByolConfig(RepresentationConfig):
    """For kind byol; the widths are BYOL's (Grill et al. 2020, arXiv 2006.07733)."""

    level: Literal["frame", "utterance", "both"] = "frame"
    """What is predicted: each frame of the other view; its mean over an utterance's frames, which counts for as
    many frames as it has, and may collapse where utterances are much alike; or the mean of both losses."""
    normalise_frames: bool = True
    """What is predicted of a frame has mean 0 and variance 1 over its utterance in every channel, as data2vec
    has it: a constant is no answer then. Without it, and without statistics of a batch, it may be one."""
    hidden_width: Width = 4096
    """Of the hidden layer of projector and predictor."""
    projection_width: Width = 256
    """Of what is predicted."""
    fade: NonNegative = 1.0
    """Each view becomes louder or softer from its beginning to its end: what is added to its log-mel features
    at either is drawn from minus to plus this (BYOL-A's random linear fader, arXiv 2204.07402)."""


class ObjectiveConfig(Section):
    kind: Literal["text", "latent", "byol"] = "text"
    """What the student predicts: the texts of speech (transcripts and pseudo-labels); or without any transcript
    (self-supervised), latent: of masked, augmented speech what the average makes of the clean one; byol: of one
    augmented view of speech what the average makes of another one. `objective: byol` says the same."""
    latent: LatentConfig = LatentConfig()
    """Masks, targets and loss, for kind latent."""
    byol: ByolConfig = ByolConfig()
    """Projections, views and loss, for kind byol."""

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @property
    def has_texts(self) -> bool:
        """Whether transcripts, labels and so a tokenizer are needed."""
        return self.kind == "text"

    @property
    def policy(self) -> RepresentationConfig:
        """Of the kind in force, which predicts representations."""
        return self.byol if self.kind == "byol" else self.latent

    @property
    def views(self) -> int:
        """How often the student hears an utterance in an update, augmented in another way each time."""
        return 2 if self.kind == "byol" else 1

    @property
    def parts(self) -> int:
        """Losses of which the mean is taken, each of other predictions: of frames, of whole utterances."""
        return 2 if self.kind == "byol" and self.byol.level == "both" else 1

    @property
    def score_name(self) -> str:
        """What checkpoints are compared by, as state.json and complete.json have it."""
        return "dev_wer" if self.has_texts else "dev_loss"


def check_objective(config: Config) -> Config:
    """The recipe. Raises ValueError where another part of the recipe does not go with its objective."""
    objective, model = config.objective, config.model
    if objective.has_texts:
        return config
    if model.kind != "transformer":
        raise ValueError(
            f"objective.kind {objective.kind} needs model.kind transformer so far, and it is {model.kind}"
        )
    if objective.kind == "latent" and objective.latent.top_blocks > model.layers:
        raise ValueError(
            f"objective.latent.top_blocks {objective.latent.top_blocks} is more than model.layers "
            f"{model.layers}: set it to that or less"
        )
    if config.pseudo_label.start.is_set:
        raise ValueError(
            f"objective.kind {objective.kind} labels nothing, and pseudo_label.start is set: set "
            "pseudo_label.start_hours to null"
        )
    return config
