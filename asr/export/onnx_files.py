"""Graphs in ONNX: of one network and several front ends, whose weights are one file."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr.errors import UserError
from asr.export.graphs import free_axes

OPSET = 18
"""The first one that has all operators that are used; runtimes of 2023 know it."""
_EXTERNAL_FROM_BYTES = 1024
_PREFIX = "front_end/"


def need_packages() -> None:
    """Raises UserError where one is not installed."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"--to onnx: {', '.join(missing)} not installed", "pip install 'asr-ema[onnx]'"
        )


def traced(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Any:
    """A module's graph (onnx.ModelProto). The first two axes of each argument are free."""
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            arguments,
            dynamo=True,
            dynamic_shapes=free_axes(arguments),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter tells its own developers how it gets on."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def joined(front: Any, network: Any) -> Any:
    """The graph that puts the outputs of `front` into the inputs of `network`, both left as they are.

    Tensors of `network` that lie in a file stay there.
    """
    import onnx

    given = {one.name for one in front.graph.input}
    fed = [one.name for one in network.graph.input]
    places = {out.name: name for out, name in zip(front.graph.output, fed, strict=True)}

    def renamed(name: str) -> str:
        return name if not name or name in given else places.get(name, _PREFIX + name)

    graph = onnx.GraphProto(name="waveforms")
    graph.input.extend(front.graph.input)
    for tensor in front.graph.initializer:
        own = copy.deepcopy(tensor)
        own.name = renamed(tensor.name)
        graph.initializer.append(own)
    for node in front.graph.node:
        own = copy.deepcopy(node)
        own.name = _PREFIX + node.name
        own.input[:] = [renamed(name) for name in node.input]
        own.output[:] = [renamed(name) for name in node.output]
        graph.node.append(own)
    graph.initializer.extend(network.graph.initializer)
    graph.node.extend(network.graph.node)
    graph.output.extend(network.graph.output)
    found = onnx.ModelProto(graph=graph, ir_version=max(front.ir_version, network.ir_version))
    domains = {one.domain: one for one in [*front.opset_import, *network.opset_import]}
    found.opset_import.extend(domains.values())
    found.functions.extend([*front.functions, *network.functions])
    found.metadata_props.extend(network.metadata_props)
    return found


def with_longer_frames(network: Any, times: int, vocabulary_size: int) -> Any:
    """The same, whose frames come `times` times each, and whose one output are log-probabilities.

    Greedy CTC merges the copies again.
    """
    import onnx
    from onnx import helper

    found = copy.deepcopy(network)
    graph = found.graph
    source = graph.output[0].name
    if times > 1:
        constants = {"axis": [2], "times": [1, 1, times, 1], "shape": [0, -1, vocabulary_size]}
        for name, values in constants.items():
            graph.initializer.append(
                helper.make_tensor(f"longer/{name}", onnx.TensorProto.INT64, [len(values)], values)
            )
        steps = (("Unsqueeze", "axis"), ("Tile", "times"), ("Reshape", "shape"))
        for operator, constant in steps:
            target = f"longer/{operator}"
            graph.node.append(
                helper.make_node(operator, [source, f"longer/{constant}"], [target], name=target)
            )
            source = target
    shape: list[str | int | None] = ["batch", "frames", vocabulary_size]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(source, onnx.TensorProto.FLOAT, shape))
    return found


def write_with_weights(proto: Any, path: Path, weights: str) -> None:
    """Write a graph, and its large tensors into the file of that name beside it; `proto` then refers to it."""
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    convert_model_to_external_data(
        proto, all_tensors_to_one_file=True, location=weights, size_threshold=_EXTERNAL_FROM_BYTES
    )
    onnx.save(proto, path)


def write_graph(proto: Any, path: Path) -> None:
    """Write a graph whose tensors lie in itself, or in a file beside it that is there."""
    path.write_bytes(proto.SerializeToString())


def describe(proto: Any, entries: Mapping[str, object]) -> None:
    """Put entries into what the graph says of itself."""
    del proto.metadata_props[:]
    for name, value in entries.items():
        proto.metadata_props.add(key=name, value=str(value))


def session(path: Path) -> Any:
    """The graph in onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its advice is for who wrote the graph's operators
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
