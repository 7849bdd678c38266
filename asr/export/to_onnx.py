"""`asr export --to onnx`: three graphs of one network, checked against PyTorch by onnxruntime.

Shape suffixes: B utterances, N samples, T feature frames, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.export import sherpa
from asr.export.graphs import CtcNetwork, Features, SherpaFeatures, ctc_network, example
from asr.export.onnx_files import (
    OPSET,
    describe,
    joined,
    need_packages,
    traced,
    with_longer_frames,
    write_graph,
    write_with_weights,
)
from asr.export.speech import CheckSpeech, Run, batched, difference, scored, texts_of
from asr.model.loaded_model import LoadedModel

TOLERANCE = 1e-4
"""Of log-probabilities, onnxruntime against PyTorch, by the same features."""
WAVEFORM_TOLERANCE = 2e-2
"""The same by the same waveforms: two transforms in fp32 differ where a band is almost silent, and the features
are its logarithm. Texts must be equal."""
NETWORK, WAVEFORM, SHERPA = "model", "waveform", "sherpa"
_SECONDS_TRACED = 1.0


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
    fronts = _fronts(model)
    sherpa.write_tokens(model.tokenizer, folder / sherpa.TOKENS)
    _write_all(model, graph, fronts, folder, "")
    found = {"opset": OPSET, "speech": speech.what, **_compared(model, network, folder, speech)}
    if int8:
        from asr.export.quantised import quantised

        _write_all(model, quantised(folder / f"{NETWORK}.onnx"), fronts, folder, ".int8")
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


def _fronts(model: LoadedModel) -> dict[str, Any]:
    """Graphs of the front ends: of waveforms with their lengths, and of one as sherpa-onnx gives it."""
    samples = round(_SECONDS_TRACED * model.config.features.sample_rate_hz)
    waveforms = torch.randn((2, samples), generator=torch.Generator().manual_seed(0))
    pair = waveforms, torch.tensor([samples, samples // 2])
    outputs = ("front_features", "front_lengths")
    found = {WAVEFORM: traced(Features(model.front_end), pair, ("waveforms", "samples"), outputs)}
    if model.config.features.sample_rate_hz == sherpa.RATE_HZ:
        found[SHERPA] = traced(
            SherpaFeatures(model.front_end), (waveforms,), ("waveform",), outputs
        )
    return found


def _write_all(
    model: LoadedModel, graph: Any, fronts: Mapping[str, Any], folder: Path, end: str
) -> None:
    """The network alone, and behind each front end; the weights once."""
    write_with_weights(graph, folder / f"{NETWORK}{end}.onnx", f"weights{end}.bin")
    for name, front in fronts.items():
        network = graph
        if name == SHERPA:
            network = with_longer_frames(
                graph, sherpa.frames_of_20_ms(model), model.tokenizer.vocabulary_size
            )
        write_graph(joined(front, network), folder / f"{name}{end}.onnx")


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its advice is for who wrote the graph's operators
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def waveform_run(folder: Path, end: str = "") -> Run:
    """What waveform.onnx computes."""
    session = _session(folder / f"{WAVEFORM}{end}.onnx")

    def run(waveforms_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        given = {"waveforms": waveforms_BN.numpy(), "samples": samples_B.numpy()}
        log_probs_BSV, frames_B = session.run(None, given)
        return torch.from_numpy(log_probs_BSV), torch.from_numpy(frames_B)

    return run


@torch.inference_mode()
def _compared(
    model: LoadedModel, network: CtcNetwork, folder: Path, speech: CheckSpeech
) -> dict[str, Any]:
    """Largest differences to PyTorch, and sherpa-onnx's texts as its graph gives them."""
    waveforms_BN, samples_B = batched(speech.waveforms)
    features, lengths_B = model.front_end(waveforms_BN, samples_B)
    expected, frames_B = network(features, lengths_B)
    texts = texts_of(model, expected, frames_B)
    given = {"features": features.numpy(), "lengths": lengths_B.numpy()}
    answers = {
        NETWORK: tuple(map(torch.from_numpy, _session(folder / "model.onnx").run(None, given))),
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
        other = sum(
            text != text_by_sherpa(model, folder, wave)
            for text, wave in zip(texts, speech.waveforms, strict=True)
        )
        found["sherpa_other_texts"] = f"{other} of {len(texts)}"
    return found


def text_by_sherpa(model: LoadedModel, folder: Path, wave: Tensor) -> str:
    """What sherpa-onnx reads: its own scaling of the waveform, and greedy CTC of sherpa.onnx."""
    scaled = (wave - wave.mean()) / (wave.var(correction=0) + 1e-5).sqrt()
    session = _session(folder / f"{SHERPA}.onnx")
    log_probs = torch.from_numpy(session.run(None, {"waveform": scaled[None].numpy()})[0])
    return texts_of(model, log_probs, torch.tensor([log_probs.shape[1]]))[0]
