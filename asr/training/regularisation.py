"""What is drawn for each utterance as the student trains: the layers it skips, and its dropout.

A draw is a function of the utterance's place in the stream. So the gradient's variance falls as 1/kappa, and
ranks, accumulation and micro-batches change no draw; but for dropout on a GPU, and of the attention weights,
which torch draws for the micro-batch.

Shape suffixes: B utterances, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.sampler import AudioStream
from asr.data.segments import Segment
from asr.model.dropout import UtteranceDraws
from asr.model.encoders.encoder import Encoder
from asr.model.speech_model import SpeechModel
from asr.training.state import TrainingState
from asr.utils.seeds import SeedTag, generator, hash_seed


def kept_layers(
    config: Config, encoder: Encoder, segments: Sequence[Segment], batch_number: int
) -> Tensor | None:
    """LayerDrop's decision (B, L): booleans on the CPU, False where an utterance skips a layer.

    None where nobody skips any.
    """
    if encoder.layer_drop == 0 or not segments:
        return None
    if config.model.layer_drop_unit == "batch":
        places: list[tuple[int, ...]] = [(config.seed, batch_number)] * len(segments)
    else:
        places = [segment.seed(config.seed) for segment in segments]
    drawn = [
        generator(seed, SeedTag.LAYER_DROP, *place).random(encoder.layers)
        for seed, *place in places
    ]
    return torch.tensor([[u >= encoder.layer_drop for u in own] for own in drawn])


def dropout_draws(
    config: Config, segments: Sequence[Segment], frames_B: Tensor
) -> UtteranceDraws | None:
    """The generators of the utterances' dropout; None on a GPU, where it is not drawn for each of them.

    `frames_B` are their encoder frames.
    """
    if not segments or frames_B.device.type != "cpu":
        return None
    seeds = [hash_seed(*segment.seed(config.seed), SeedTag.DROPOUT) for segment in segments]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return UtteranceDraws(generators, frames_B.tolist())


def enter_phase(
    config: Config, student: SpeechModel, stream: AudioStream, state: TrainingState
) -> None:
    """Regularise as labels are trained on, from where they have begun."""
    start, has_begun = config.pseudo_label.start_hours, True
    if stream.waits:
        has_begun = stream.is_open(state.position)
    if start is not None and state.clock.hours >= start and has_begun:
        regularise_as_labelled(config, student)


def regularise_as_labelled(config: Config, student: SpeechModel) -> None:
    """Dropout and LayerDrop as `pseudo_label:` says, where it does."""
    policy, model = config.pseudo_label, config.model
    student.set_dropout(
        model.dropout if policy.dropout is None else policy.dropout,
        model.layer_drop if policy.layer_drop is None else policy.layer_drop,
    )
