"""What touches tensors gives on a card what it gives on the CPU: decoding, labels, generation, encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu_helpers import needs_card

pytest.importorskip("transformers")

from device_cases import CASES, Models, assert_alike, on_host

RELATIVE, ABSOLUTE = 2e-3, 2e-4
"""fp32 without TF32: sums are in another order. Texts must be the same."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Models:
    return Models(tmp_path_factory.mktemp("models"), corpus)


@needs_card
@pytest.mark.parametrize("name", CASES)
def test_a_path_gives_on_the_card_what_it_gives_here(name: str, models: Models) -> None:
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    here = on_host(CASES[name](models, torch.device("cpu")))
    there = on_host(CASES[name](models, torch.device("cuda")))
    assert_alike(here, there, RELATIVE, ABSOLUTE)


@needs_card
def test_the_host_is_warned_of_waits_that_are_counted_elsewhere() -> None:
    """tests/far_device.py counts what torch itself says that it waits for, and no more."""
    from asr.utils.devices import fetched, sent

    device = torch.device("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        values = sent(torch.arange(3.0), device) * 2
        with pytest.raises(RuntimeError, match="synchronizing"):
            torch.tensor([1.0], device=device)
        with pytest.raises(RuntimeError, match="synchronizing"):
            _ = values[[0, 2]]
        with pytest.raises(RuntimeError, match="synchronizing"):
            values.tolist()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    one, other = fetched(values, values + 1)
    assert (one.tolist(), other.tolist()) == ([0.0, 2.0, 4.0], [1.0, 3.0, 5.0])
