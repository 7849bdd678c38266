"""Weights in eight bits, by onnxruntime's dynamic quantisation."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any


def quantised(path: Path) -> Any:
    """The graph (onnx.ModelProto) whose matrix products have 8-bit weights, a scale for each output.

    Convolutions stay: onnxruntime has no fast kernel for them, and they are a small part of the weights.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().disabled, before = True, logging.getLogger().disabled
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "int8.onnx"
            quantize_dynamic(
                path,
                target,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
            )
            return onnx.load(target)
    finally:
        logging.getLogger().disabled = before
