"""`asr export --to onnx`: graphs of one network, checked against PyTorch by onnxruntime.

Shape suffixes: B utterances, N samples, T feature frames, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.export import moonshine, sherpa
from asr.export.graphs import CtcNetwork, Features, SherpaFeatures, ctc_network, example
from asr.export.onnx_files import (
    OPSET,
    describe,
    joined,
    need_packages,
    session,
    traced,
    with_longer_frames,
    write_graph,
    write_with_weights,
)
from asr.export.speech import CheckSpeech, Run, batched, difference, scored, texts_of
from asr.model.loaded_model import LoadedModel

TOLERANCE = 1e-4
"""Of log-probabilities, onnxruntime against PyTorch, by the same features."""
WAVEFORM_TOLERANCE = 5e-3
"""The same by the same waveforms: PyTorch's transform is in fp32 and the graph's in fp64, which differ where a
band is almost silent, and the features are its logarithm. Texts must be equal."""
NETWORK, WAVEFORM, SHERPA = "model", "waveform", "sherpa"
_SECONDS_TRACED = 1.0

Whole = Callable[[Any], Any]
"""The network's graph -> one that takes waveforms (both onnx.ModelProto)."""


def write_onnx(
    model: LoadedModel, folder: Path, speech: CheckSpeech, int8: bool, about: Mapping[str, object]
) -> dict[str, Any]:
    """Write the graphs into `folder`; returns what was found when they were checked.

    Raises UserError where a package is missing, or a graph computes something else than the model.
    """
    need_packages()
    network = ctc_network(model)
    graph = traced(
        network, example(model.front_end), ("features", "lengths"), ("log_probs", "frames")
    )
    describe(graph, {**about, **_said_of(model)})
    wholes = _wholes(model)
    sherpa.write_tokens(model.tokenizer, folder / sherpa.TOKENS)
    _write_all(graph, wholes, folder, "")
    if moonshine.ENCODER in wholes:
        moonshine.write_others(model, folder)
    found = {"opset": OPSET, "speech": speech.what, **_compared(model, network, folder, speech)}
    if int8:
        from asr.export.quantised import quantised

        _write_all(quantised(folder / f"{NETWORK}.onnx"), wholes, folder, ".int8")
        if speech.whole is not None:
            for name, end in (("fp32", ""), ("int8", ".int8")):
                score, _ = scored(model, speech.whole, waveform_run(folder, end))
                found[f"wer_{name}"] = score.to_json()
    return found


def _said_of(model: LoadedModel) -> dict[str, object]:
    return {
        "sample_rate": model.config.features.sample_rate_hz,
        "feature_dim": model.front_end.width or 1,
        "subsampling_factor": model.network.encoder.stride,
        "vocab_size": model.tokenizer.vocabulary_size,
        "blank_id": 0,
    }


def _wholes(model: LoadedModel) -> dict[str, Whole]:
    """Of waveforms with their lengths, and of one as each of sherpa-onnx's recognisers gives it."""
    samples = round(_SECONDS_TRACED * model.config.features.sample_rate_hz)
    waveforms = torch.randn((2, samples), generator=torch.Generator().manual_seed(0))
    pair = waveforms, torch.tensor([samples, samples // 2])
    outputs = ("front_features", "front_lengths")
    front = traced(Features(model.front_end), pair, ("waveforms", "samples"), outputs)
    found: dict[str, Whole] = {WAVEFORM: lambda network: joined(front, network)}
    if model.config.features.sample_rate_hz == sherpa.RATE_HZ:
        module = SherpaFeatures(model.front_end)
        scaled = traced(module, (waveforms,), ("waveform",), outputs)
        frames, tokens = sherpa.frames_of_20_ms(model), model.tokenizer.vocabulary_size
        found[SHERPA] = lambda network: joined(scaled, with_longer_frames(network, frames, tokens))
        found[moonshine.ENCODER] = moonshine.encoder(model, waveforms)
    return found


def _write_all(graph: Any, wholes: Mapping[str, Whole], folder: Path, end: str) -> None:
    """The network alone, and whole in each way; the weights once."""
    write_with_weights(graph, folder / f"{NETWORK}{end}.onnx", f"weights{end}.bin")
    for name, whole in wholes.items():
        write_graph(whole(graph), folder / f"{name}{end}.onnx")


def waveform_run(folder: Path, end: str = "") -> Run:
    """What waveform.onnx computes."""
    graph = session(folder / f"{WAVEFORM}{end}.onnx")

    def run(waveforms_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        given = {"waveforms": waveforms_BN.numpy(), "samples": samples_B.numpy()}
        log_probs_BSV, frames_B = graph.run(None, given)
        return torch.from_numpy(log_probs_BSV), torch.from_numpy(frames_B)

    return run


@torch.inference_mode()
def _compared(
    model: LoadedModel, network: CtcNetwork, folder: Path, speech: CheckSpeech
) -> dict[str, Any]:
    """Largest differences to PyTorch, and what sherpa-onnx reads."""
    waveforms_BN, samples_B = batched(speech.waveforms)
    features, lengths_B = model.front_end(waveforms_BN, samples_B)
    expected, frames_B = network(features, lengths_B)
    texts = texts_of(model, expected, frames_B)
    given = {"features": features.numpy(), "lengths": lengths_B.numpy()}
    answers = {
        NETWORK: tuple(map(torch.from_numpy, session(folder / "model.onnx").run(None, given))),
        WAVEFORM: waveform_run(folder)(waveforms_BN, samples_B),
    }
    found: dict[str, Any] = {}
    for name, (log_probs, frames) in answers.items():
        limit = TOLERANCE if name == NETWORK else WAVEFORM_TOLERANCE
        largest = difference(log_probs, frames, expected, frames_B)
        found[f"{name}_difference"] = largest
        if not largest <= limit or texts_of(model, log_probs, frames) != texts:
            raise UserError(
                f"{name}.onnx: its log-probabilities differ from PyTorch's by up to {largest:.2g} on "
                f"{speech.what}, and {limit:g} is what they may",
                "export with --to torch, and report the model's config.yaml: this is a fault of ours",
            )
    if (folder / f"{SHERPA}.onnx").is_file():
        found |= _read_by_sherpa(model, folder, speech, texts)
    return found


def _read_by_sherpa(
    model: LoadedModel, folder: Path, speech: CheckSpeech, texts: Sequence[str]
) -> dict[str, str]:
    """How many texts each of its recognisers reads otherwise; that of Moonshine models may none."""
    found = {}
    for name, texts_by in (("sherpa", _texts_by_sherpa), ("moonshine", moonshine.texts_by)):
        read = texts_by(model, folder, speech.waveforms)
        other = sum(text != own for text, own in zip(read, texts, strict=True))
        found[f"{name}_other_texts"] = f"{other} of {len(texts)}"
        if other and name == "moonshine":
            raise UserError(
                f"{moonshine.ENCODER}.onnx: {other} of {len(texts)} texts are others on {speech.what}",
                "export with --to torch, and report the model's config.yaml: this is a fault of ours",
            )
    return found


def _texts_by_sherpa(model: LoadedModel, folder: Path, waveforms: Sequence[Tensor]) -> list[str]:
    """Its own scaling of each waveform (N,), and greedy CTC of sherpa.onnx."""
    graph, found = session(folder / f"{SHERPA}.onnx"), []
    for wave in waveforms:
        scaled = (wave - wave.mean()) / (wave.var(correction=0) + 1e-5).sqrt()
        log_probs = torch.from_numpy(graph.run(None, {"waveform": scaled[None].numpy()})[0])
        found += texts_of(model, log_probs, torch.tensor([log_probs.shape[1]]))
    return found
