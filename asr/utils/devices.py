"""Whether a GPU computes, and how tensors get there and back without idle time.

One that is there and cannot be used is an error, and no slow run on the CPU.
"""

from __future__ import annotations

import glob
import os
import warnings
from typing import TYPE_CHECKING

from asr.errors import UserError

if TYPE_CHECKING:
    import torch

CHOICE = "ASR_DEVICE"
"""In the environment: cpu, where a GPU is to be left alone. Commands set it by --device."""
_FILES_OF_GPUS = ("/dev/nvidia[0-9]*", "/dev/kfd")
"""What the drivers of NVIDIA and AMD make for each GPU."""


def has_gpu() -> bool:
    """Whether torch is to compute on a GPU. Raises UserError where one is here and torch cannot use it."""
    import torch

    choice = os.environ.get(CHOICE) or "auto"
    if choice not in ("auto", "cpu", "cuda"):
        raise UserError(f"{CHOICE}={choice} in the environment", "cpu, cuda or auto")
    if choice == "cpu":
        return False
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return True
    there = [path for pattern in _FILES_OF_GPUS for path in sorted(glob.glob(pattern))]
    if choice == "cuda" or (there and not _are_hidden()):
        where = f"a GPU is here ({there[0]}), and" if there else "a GPU is wanted, and"
        raise UserError(
            f"{where} torch {torch.__version__} cannot use it: {_reason(said)}", _REMEDY
        )
    return False


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device, from the host or there already, without a wait for what the device does before.

    A copy from memory that is not pinned would wait, as `torch.tensor(values, device=...)` and indices in a
    list do.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def fetched(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Tensors on the CPU: where some are on a device, the host waits for it once.

    They are of one stream of one device, and perhaps of the host.
    """
    # An empty one is not copied at all.
    there = [n for n, one in enumerate(tensors) if one.device.type != "cpu" and one.numel()]
    # The last copy waits for those before it, too.
    return [one.to("cpu", non_blocking=place in there[:-1]) for place, one in enumerate(tensors)]


_REMEDY = (
    "update its driver, or install the torch that was built for it (TORCH='torch==VERSION' and pip's "
    "index in the environment of tools/make_venv.sh); or run on the CPU: --device cpu"
)


def _are_hidden() -> bool:
    """Whether the environment says that this process has no GPU."""
    names = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
    return any(os.environ.get(name) in ("", "-1", "NoDevFiles") for name in names)


def _reason(said: list[warnings.WarningMessage]) -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return "it was built for the CPU alone"
    for warning in said:
        text = " ".join(str(warning.message).split())
        if "CUDA" in text or "driver" in text:
            return text[:200]
    return f"it was built for CUDA {torch.version.cuda}, and the driver does not answer"
