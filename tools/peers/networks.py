"""A training step: forward, CTC, backward and AdamW, of encoders of the same width, depth and front end.

Each encoder is its toolkit's own, with the positions that it has by default. All stand behind our front end and
under the same head, since front ends differ by more than encoders do. Those with convolution modules: two
feed-forward networks of half the width (Conformer), or one of the whole (ours).

Shape suffixes: B utterances, T feature frames, F mel bins, S encoder frames, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.config.model import TransformerConfig
from asr.model.acoustic_model import AcousticModel
from asr.model.attention import sinusoidal_positions
from asr.model.dropout import UtteranceDraws, drawn_by
from asr.model.encoders.transformer import FrontEnd, TransformerEncoder
from asr.model.features import frame_mask
from peers.race import Race, Work

_WIDTH, _HEADS, _LAYERS, _INNER, _KERNEL = 256, 4, 6, 1024, 31
_MEL_BINS, _VOCABULARY, _DROPOUT = 80, 32, 0.1
_FRAMES = (1000, 980, 960, 950, 940, 930, 910, 900)
"""Of 10 ms, sorted by length as micro-batches are: 5 % padding."""
_TOKENS_PER_FRAME = 0.14

Layers = Callable[[Tensor, Tensor], Tensor]
"""Hidden states (B, S, D) and frames (B,) -> hidden states."""


class Peer(nn.Module):
    """Our front end, another's layers, the same head."""

    def __init__(self, layers: nn.Module, call: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.front_end = FrontEnd(_MEL_BINS, _config(convolution=False))
        self.layers, self.call = layers, call
        self.head = nn.Linear(_WIDTH, _VOCABULARY)

    def forward(self, features_BTF: Tensor, frames_B: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BSD = self.front_end(features_BTF)
        frames_B = self.front_end.output_lengths(frames_B)
        return self.head(self.call(self.layers, hidden_BSD, frames_B)), frames_B


def races(convolution: bool, autocast: bool) -> Iterator[Race]:
    """One, of the plain transformer or of those with convolution modules."""
    made = with_convolution() if convolution else plain()
    name = "training step, " + ("with convolution" if convolution else "plain")
    config = _config(convolution)
    ours = AcousticModel(TransformerEncoder(_MEL_BINS, config), _VOCABULARY)
    yield Race(
        name + (", autocast bf16" if autocast else ", fp32"),
        step(ours, _ours_drawing(ours), autocast),
        {label: step(peer, peer, autocast) for label, peer in made.items()},
    )


def _config(convolution: bool) -> TransformerConfig:
    return TransformerConfig(
        width=_WIDTH,
        heads=_HEADS,
        layers=_LAYERS,
        feed_forward_width=_INNER,
        stride=4,
        convolution_kernel=_KERNEL if convolution else 0,
        norm="pre",
        dropout=_DROPOUT,
        layer_drop=0.0,
    )


def _ours_drawing(model: AcousticModel) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """As training calls it: dropout drawn for each utterance."""

    def forward(features_BTF: Tensor, frames_B: Tensor) -> tuple[Tensor, Tensor]:
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(frames_B))]
        frames = model.encoder.output_lengths(frames_B).tolist()
        with drawn_by(UtteranceDraws(generators, frames)):
            logits_BSV, lengths_B = model(features_BTF, frames_B)
        return logits_BSV, lengths_B

    return forward


def step(
    model: nn.Module, forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], autocast: bool
) -> Work:
    """An update on the same made-up batch."""
    torch.manual_seed(1)
    features_BTF = torch.randn(len(_FRAMES), max(_FRAMES), _MEL_BINS)
    frames_B = torch.tensor(_FRAMES)
    sizes_B = (frames_B * _TOKENS_PER_FRAME).long()
    tokens = torch.randint(1, _VOCABULARY, (int(sizes_B.sum()),))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    model.train()

    def update() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            logits_BSV, lengths_B = forward(features_BTF, frames_B)
        log_SBV = logits_BSV.float().log_softmax(-1).transpose(0, 1)
        loss = functional.ctc_loss(log_SBV, tokens, lengths_B, sizes_B, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return update


def plain() -> dict[str, Peer]:
    """Transformers, pre-norm but for Hugging Face's."""
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder as EspnetEncoder
    from speechbrain.lobes.models.transformer.Transformer import TransformerEncoder as SpeechBrain
    from transformers import Wav2Vec2Config
    from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Encoder

    layer = nn.TransformerEncoderLayer(
        _WIDTH, _HEADS, _INNER, _DROPOUT, batch_first=True, norm_first=True
    )
    hugging_face = Wav2Vec2Config(**_hugging_face(), attn_implementation="sdpa")
    return {
        "torch.nn": Peer(
            nn.TransformerEncoder(layer, _LAYERS, nn.LayerNorm(_WIDTH), enable_nested_tensor=False),
            lambda own, x, n: own(_positioned(x), src_key_padding_mask=_padding(x, n)),
        ),
        "SpeechBrain": Peer(
            SpeechBrain(
                _LAYERS, _HEADS, _INNER, d_model=_WIDTH, dropout=_DROPOUT, normalize_before=True
            ),
            lambda own, x, n: own(_positioned(x), src_key_padding_mask=_padding(x, n))[0],
        ),
        "ESPnet": Peer(
            EspnetEncoder(
                _WIDTH, _WIDTH, _HEADS, _INNER, _LAYERS, _DROPOUT, _DROPOUT, input_layer=None
            ),
            lambda own, x, n: own(x, n)[0],
        ),
        "Hugging Face (wav2vec 2.0)": Peer(
            Wav2Vec2Encoder(hugging_face), lambda own, x, n: own(x, ~_padding(x, n))[0]
        ),
    }


def with_convolution() -> dict[str, Peer]:
    """Conformers."""
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder as EspnetEncoder
    from speechbrain.lobes.models.transformer.Conformer import ConformerEncoder as SpeechBrain
    from speechbrain.nnet.attention import RelPosEncXL
    from torchaudio.models import Conformer
    from transformers import Wav2Vec2ConformerConfig
    from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
        Wav2Vec2ConformerEncoder,
    )

    half = _INNER // 2
    speech_brain = nn.ModuleDict(
        {
            "layers": SpeechBrain(
                _LAYERS, _WIDTH, half, _HEADS, kernel_size=_KERNEL, dropout=_DROPOUT
            ),
            "positions": RelPosEncXL(_WIDTH),
        }
    )
    hugging_face = Wav2Vec2ConformerConfig(
        **{**_hugging_face(), "intermediate_size": half},
        conv_depthwise_kernel_size=_KERNEL,
        attn_implementation="eager",
    )
    espnet = EspnetEncoder(
        _WIDTH, _WIDTH, _HEADS, half, _LAYERS, _DROPOUT, _DROPOUT, input_layer=None,
        rel_pos_type="latest", pos_enc_layer_type="rel_pos", selfattention_layer_type="rel_selfattn",
        macaron_style=True, use_cnn_module=True, cnn_module_kernel=_KERNEL,
    )  # fmt: skip
    return {
        "torchaudio": Peer(
            Conformer(_WIDTH, _HEADS, half, _LAYERS, _KERNEL, _DROPOUT, use_group_norm=True),
            lambda own, x, n: own(x, n)[0],
        ),
        "SpeechBrain": Peer(
            speech_brain,
            lambda own, x, n: own["layers"](
                x, src_key_padding_mask=_padding(x, n), pos_embs=own["positions"](x)
            )[0],
        ),
        "ESPnet": Peer(espnet, lambda own, x, n: own(x, n)[0]),
        "Hugging Face (wav2vec 2.0 Conformer)": Peer(
            Wav2Vec2ConformerEncoder(hugging_face), lambda own, x, n: own(x, ~_padding(x, n))[0]
        ),
    }


def _hugging_face() -> dict[str, Any]:
    rates = ("hidden_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
    return {
        "hidden_size": _WIDTH,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "intermediate_size": _INNER,
        "hidden_act": "relu",
        "attention_dropout": 0.0,
        "layerdrop": 0.0,
        **dict.fromkeys(rates, _DROPOUT),
    }


def _positioned(hidden_BSD: Tensor) -> Tensor:
    _, frames, width = hidden_BSD.shape
    return hidden_BSD + sinusoidal_positions(frames, width, hidden_BSD.device).to(hidden_BSD.dtype)


def _padding(hidden_BSD: Tensor, frames_B: Tensor) -> Tensor:
    """(B, S) true where there is none."""
    return ~frame_mask(frames_B, hidden_BSD.shape[1])


def averages() -> Iterator[Race]:
    """An update of the average of 40 million weights; `flat` is one call on all of them in one tensor."""
    from timm.utils import ModelEmaV3

    from asr.distributed.process_group import Ranks
    from asr.distributed.shards import Shards
    from asr.teacher.ema import WeightAverage
    from asr.teacher.student_samples import StudentSamples

    def network() -> AcousticModel:
        wide = TransformerConfig(
            width=512, heads=8, layers=12, feed_forward_width=2048, dropout=0.0, layer_drop=0.0
        )
        return AcousticModel(TransformerEncoder(_MEL_BINS, wide), _VOCABULARY)

    student, momentum = network(), 0.999
    engine = SimpleNamespace(
        optimizer=torch.optim.AdamW(student.parameters()), zero_optimization_stage=lambda: 0
    )
    samples = StudentSamples(Shards(dict(student.named_weights()), engine, ranks=1, rank=0))
    ours = WeightAverage(network(), samples, Ranks(0, 1, torch.device("cpu")))
    theirs = ModelEmaV3(student, momentum)
    swa = torch.optim.swa_utils.AveragedModel(
        student,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(momentum),  # type: ignore[no-untyped-call]
    )
    swa.update_parameters(student)  # the first one copies
    flat = torch.cat([weight.detach().flatten() for weight in student.parameters()])
    average = flat.clone()
    yield Race(
        "EMA",
        lambda: ours.update(momentum, samples.take()),
        {
            "flat lerp": lambda: average.lerp_(flat, 1 - momentum),
            "timm": lambda: theirs.update(student),
            "torch.optim.swa_utils": lambda: swa.update_parameters(student),
        },
        wanted=0.97,
    )
