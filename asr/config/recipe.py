"""The typed tree of everything that a recipe can say.

A recipe is YAML; `base:` names another recipe to start from, or a list of them, each over the one before it;
`key.path=value` on the command line overrides all. The tree is strict: an unknown key fails and the nearest
name is suggested. The string under a field is its documentation, and `asr train RECIPE --print-config`
shows all in force.

Units stand in the names. Paths are relative to the working directory.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from asr.config.fields import Count, Fraction, Natural, NonNegative, Positive, Section, Share
from asr.config.pseudo_label import PseudoLabelConfig
from asr.errors import UserError


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
    """Letters with a word boundary, or a sentencepiece model (`asr prepare tokenizer`)."""
    characters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
    """The letters, for kind characters. The space is always a token and is not written here."""
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
    """Masks on the student's input. The teacher always hears clean speech."""
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
    """Probability that a block is skipped for a global batch."""

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
    """Values at the reference batch; scaling.py derives those in force."""

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
    weight_decay: Literal["none", "sqrt"] = "none"
    """Decoupled decay unchanged, or times sqrt(kappa): the same shrinkage per hour of audio."""
    gradient_clipping: Literal["none", "sqrt"] = "none"
    """Threshold unchanged, or divided by sqrt(kappa), as a noise-dominated gradient norm shrinks."""
    second_moment: Literal["rescale", "keep", "reset"] = "rescale"
    """Adam's second moment where kappa changes in mid-run: times old / new kappa, left, or begun anew."""


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
        hours = [start for start, _ in self.pieces]
        if hours[0] != 0 or any(a >= b for a, b in itertools.pairwise(hours)):
            raise ValueError(
                f"the hours {hours} of a batch schedule must begin at 0 and ascend, as in "
                "[[0, 30], [10, 120]]"
            )
        return self

    @property
    def pieces(self) -> list[tuple[float, float]]:
        """(from this hour on, seconds) as written: of a global batch, or of a rank's share."""
        given = self.batch_seconds or self.batch_seconds_per_rank
        return given if isinstance(given, list) else [(0.0, given or 0.0)]


class TeacherConfig(Section):
    half_life_hours: Positive = 100.0
    """Hours of audio after which the weight of a past student in the average has halved."""
    update_interval_seconds: NonNegative = 0.0
    """Audio between two updates of the teacher; 0 for every step."""


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
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """Internal precision of fp32 matrix products (torch.set_float32_matmul_precision)."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed's ZeRO stage."""
    loader_workers: Natural = 0
    """Processes a rank that read audio ahead, at most its cores; 0 reads in the training process."""
    non_finite_limit: Natural = 10
    """The run stops when more utterances than this had a NaN or infinite loss."""
    utterance_ledger: bool = True
    """Write the utterance ids of every global batch to utterances.jsonl."""

    @model_validator(mode="after")
    def _check(self) -> TrainerConfig:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError(
                "precision bf16 needs zero_stage 1, 2 or 3, which hold the fp32 masters"
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


def load_config(recipe: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a recipe and apply `key.path=value` overrides (values are YAML).

    Raises UserError, naming the file, the field, the value received and the remedy.
    """
    tree: dict[str, Any] = {}
    for part in _read_recipe(Path(recipe)):
        tree = _merge(tree, part)
    for override in overrides or []:
        _apply_override(tree, override)
    return parse_config(tree, source=str(recipe))


def parse_config(tree: dict[str, Any], source: str) -> Config:
    """Validate a plain tree. Raises UserError with every fault in one line."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(_explain(dict(fault)) for fault in error.errors())
        raise UserError(f"{source}: {faults}") from None


def dump_config(config: Config, comments: bool = False) -> str:
    """The whole tree as YAML, defaults included; with each field's documentation if `comments`."""
    if not comments:
        return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return "\n".join(_commented(config, indent=0)) + "\n"


def _read_recipe(
    path: Path, above: tuple[Path, ...] = (), read: set[Path] | None = None
) -> Iterator[dict[str, Any]]:
    """The trees of its bases and then its own; of a base that several share once, where it comes first."""
    read = set() if read is None else read
    here = path.resolve()
    if here in above:
        raise UserError(f"{path}: 'base' leads in a circle; remove one of the 'base' lines")
    if here in read:
        return
    read.add(here)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe; see the recipes folder for examples") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a recipe is a mapping of sections, this is not; see recipes/")
    bases = tree.pop("base", None) or []
    for base in bases if isinstance(bases, list) else [bases]:
        yield from _read_recipe(path.parent / str(base), (*above, here), read)
    yield tree


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"override '{override}': write it as key.path=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"override '{override}': the value is not valid YAML; quote it") from None
    *parents, leaf = key.strip().split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"override '{override}': '{parent}' is a value, not a section")
        node = child
    node[leaf] = value


def _section_at(location: tuple[Any, ...]) -> type[Section] | None:
    section: Any = Config
    for name in location:
        field = section.model_fields.get(name) if isinstance(name, str) else None
        if field is None or not isinstance(field.annotation, type):
            return None
        section = field.annotation
    return section if issubclass(section, Section) else None


def _explain(fault: dict[str, Any]) -> str:
    location = fault["loc"]
    name = ".".join(str(part) for part in location) or "recipe"
    if fault["type"] == "extra_forbidden":
        section = _section_at(location[:-1])
        names = list(section.model_fields) if section else []
        nearest = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(names)}"
        return f"unknown key '{name}'; {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    received = fault.get("input")
    shown = "" if isinstance(received, (dict, Section)) else f" (received {received!r})"
    return f"'{name}'{shown}: {message[0].lower()}{message[1:]}"


def _commented(section: Section, indent: int) -> Iterator[str]:
    documentation = _field_documentation(type(section))
    for name, value in section:
        pad = "  " * indent
        if isinstance(value, Section):
            yield f"{pad}{name}:"
            yield from _commented(value, indent + 1)
            continue
        plain = section.model_dump(mode="json", include={name})[name]
        text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=1000)
        comment = documentation.get(name)
        shown = text.removesuffix("\n").removesuffix("\n...")
        yield f"{pad}{name}: {shown}" + (f"  # {comment}" if comment else "")


def _field_documentation(section: type[Section]) -> dict[str, str]:
    import ast
    import inspect

    body = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found
