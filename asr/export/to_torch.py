"""`asr export --to torch`: programs of torch.export, from features and from waveforms."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from asr.errors import UserError
from asr.export.graphs import Features, ctc_network, example, free_axes
from asr.export.sherpa import TOKENS, write_tokens
from asr.export.speech import CheckSpeech, batched, difference, texts_of
from asr.model.loaded_model import LoadedModel
from asr.utils.files import naming

TOLERANCE = 1e-4
"""Of log-probabilities, the program against the model."""


class _Whole(torch.nn.Module):
    """Waveforms and samples -> log-probabilities and frames."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.features = Features(model.front_end, torch.float32)
        self.network = ctc_network(model)

    def forward(
        self, waveforms: torch.Tensor, samples: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found: tuple[torch.Tensor, torch.Tensor] = self.network(*self.features(waveforms, samples))
        return found


@torch.no_grad()
def write_torch(model: LoadedModel, place: Path, speech: CheckSpeech) -> dict[str, Any]:
    """Write the programs; returns what was found when they were checked.

    Raises UserError for an encoder-decoder, and where a program computes something else than the model.
    """
    network = ctc_network(model)
    write_tokens(model.tokenizer, place / TOKENS)
    samples = model.config.features.sample_rate_hz
    waveforms = torch.randn((2, samples), generator=torch.Generator().manual_seed(0))
    parts = {
        "model": (network, example(model.front_end)),
        "waveform": (_Whole(model).eval(), (waveforms, torch.tensor([samples, samples // 2]))),
    }
    waveforms_BN, samples_B = batched(speech.waveforms)
    heard = model.front_end(waveforms_BN, samples_B)
    expected, frames_B = network(*heard)
    found: dict[str, Any] = {"torch": torch.__version__, "speech": speech.what}
    for name, (module, arguments) in parts.items():
        program = torch.export.export(module, arguments, dynamic_shapes=free_axes(arguments))
        path = place / f"{name}.pt2"
        content = io.BytesIO()
        torch.export.save(
            program, content
        )  # into a file it aborts the process where the disk is full
        with naming(path):
            path.write_bytes(content.getvalue())
        given = heard if name == "model" else (waveforms_BN, samples_B)
        log_probs, frames = torch.export.load(path).module()(*given)
        largest = difference(log_probs, frames, expected, frames_B)
        found[f"{name}_difference"] = largest
        if not largest <= TOLERANCE or texts_of(model, log_probs, frames) != texts_of(
            model, expected, frames_B
        ):
            raise UserError(
                f"{name}.pt2: its log-probabilities differ from the model's by up to {largest:.2g} on "
                f"{speech.what}, and {TOLERANCE:g} is what they may",
                "report the model's config.yaml: this is a fault of ours",
            )
    return found
