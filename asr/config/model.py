"""What a recipe's `model:` can say: which network the student is, by its `kind`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from asr.config.fields import (
    Count,
    Fraction,
    Kernel,
    Layers,
    NonNegative,
    Positive,
    Section,
    Share,
    Stride,
    Width,
)


class _Regularised(Section):
    """What all students have: noise that is drawn as they train."""

    @property
    def least_seconds(self) -> float:
        """Audio that an utterance costs in training, at least."""
        return 0.0

    @property
    def least_read_seconds(self) -> float:
        """The same where the model reads: labels, evaluation, decoding."""
        return self.least_seconds

    dropout: Fraction = 0.0
    """Dropout of every block."""
    attention_dropout: Fraction = 0.0
    """Dropout of the attention weights."""
    layer_drop: Fraction = 0.0
    """Probability that an utterance skips a block of the encoder."""
    layer_drop_unit: Literal["utterance", "batch"] = "utterance"
    """Drawn for each utterance, so that its noise falls as the batch grows; or, to compare, once a global batch
    as in slimIPL: then it does not, and the scaling rule does not hold."""


class TransformerConfig(_Regularised):
    """Our own encoder with random weights, and a CTC head."""

    kind: Literal["transformer"] = "transformer"
    """Which student: transformer, from random weights; pretrained, an encoder that was trained before; or
    encoder_decoder, a whole pretrained model that is read by its decoder."""
    width: Width = 768
    """Model width, D."""
    heads: Count = 4
    """Attention heads, H."""
    layers: Layers = 36
    """Transformer blocks."""
    feed_forward_width: Width = 3072
    """Inner width of the feed-forward network."""
    activation: Literal["relu", "silu"] = "relu"
    """Of the feed-forward network."""
    stride: Stride = 3
    """Feature frames per encoder frame."""
    front_end_kernel: Width = 7
    """Kernel of the front end's convolution, in feature frames; odd."""
    convolution_kernel: Kernel = 0
    """Kernel of each block's convolution module, in encoder frames; odd; 0 for none."""
    norm: Literal["pre", "post"] = "post"
    """Where the layer normalisation stands."""
    positions: Literal["sinusoidal", "rotary", "none"] = "sinusoidal"
    """Position encoding."""
    dropout: Fraction = 0.3
    """Dropout of the front end and of every block."""
    layer_drop: Fraction = 0.3
    """Probability that an utterance skips a block."""

    @model_validator(mode="after")
    def _check(self) -> TransformerConfig:
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


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): they alone are trained, averaged and stored."""

    rank: Width = 8
    """Of each adapter."""
    alpha: Positive = 16.0
    """Adapters count alpha / rank."""
    dropout: Fraction = 0.0
    """Of what goes into the adapters."""
    targets: Literal["attention", "all"] = "attention"
    """Which projections of the layers have one: those of their attention, or all."""


class _FineTuned(_Regularised):
    """What students have that begin from weights of others."""

    freeze_encoder_until_hours: NonNegative = 0.0
    """Audio until which the encoder stays as it is."""
    freeze_front_end_until_hours: NonNegative | Literal["always"] = 0.0
    """Audio until which its convolutions stay as they are; or always."""
    layer_decay: Annotated[Share, Field(gt=0)] = 1.0
    """The learning rate of each layer over that of the layer above it (layer-wise decay). What lies above the
    layers has the whole one, in an encoder and in a decoder."""
    head_learning_rate_factor: Positive = 1.0
    """Learning rate of a new head over that of the encoder."""
    lora: LoraConfig | None = None
    """Train adapters beside the model's weights, and not these; null for the weights."""


class PretrainedConfig(_FineTuned):
    """An encoder that was trained before, and a CTC head. Needs the optional extra `pretrained`."""

    kind: Literal["pretrained"]
    """An encoder that was trained before, and a CTC head."""
    encoder: str
    """Folder in Hugging Face's layout, or the name of one on the hub: Whisper, wav2vec 2.0, HuBERT, WavLM,
    data2vec-audio, XLS-R, MMS, w2v-BERT 2.0 or Parakeet."""


class EncoderDecoderConfig(_FineTuned):
    """A pretrained model that keeps its decoder. Needs the optional extra `pretrained`."""

    kind: Literal["encoder_decoder"]
    """A pretrained model that keeps its decoder, trained by cross-entropy."""
    pretrained: str
    """Folder in Hugging Face's layout, or the name of one on the hub: Whisper, Distil-Whisper or Moonshine."""
    language: str | None = None
    """Of a multilingual model, as its tokens name it: en, de, ...; null for a model of one language."""

    @property
    def least_seconds(self) -> float:
        """Silence is put behind shorter ones."""
        return self.window_seconds

    @property
    def least_read_seconds(self) -> float:
        """Windows may be longer there."""
        return self.generation_window_seconds or self.window_seconds

    label_smoothing: Fraction = 0.0
    """Share of a token's probability that the loss spreads over all tokens."""
    ctc_weight: Fraction = 0.0
    """w of a loss (1 - w) cross-entropy + w CTC, by a new CTC head on the encoder (0.3 is usual): it gives
    words their times, and labels a second judge. 0 for no head."""
    window_seconds: Positive = 10.0
    """Audio that Whisper's encoder sees of an utterance, at least: 30 is what it was trained with, 10 costs a
    third. A longer utterance has a longer window. Moonshine hears the utterance alone: set it to 1 there, since
    micro-batches are planned by it."""
    generation_window_seconds: Positive | None = None
    """The same where text is generated: labels, evaluation, decoding. A model that was trained with 30 s writes
    better labels there until it has learnt shorter windows; null for window_seconds."""


MODEL_KINDS: dict[str, type[Section]] = {
    "transformer": TransformerConfig,
    "pretrained": PretrainedConfig,
    "encoder_decoder": EncoderDecoderConfig,
}
"""The section of each kind."""


def _kind(given: Any) -> str:
    """Which section: recipes of the first versions name no kind."""
    kind = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
    return str(kind or "transformer")


ModelSection = Annotated[
    Annotated[TransformerConfig, Tag("transformer")]
    | Annotated[PretrainedConfig, Tag("pretrained")]
    | Annotated[EncoderDecoderConfig, Tag("encoder_decoder")],
    Discriminator(_kind),
]
