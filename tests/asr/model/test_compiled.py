"""trainer.compile_layers: the same numbers but for rounding, the same file names, and a clear refusal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import DROP, Train, asr_command, final, losses, relative_distance
from torch._dynamo.utils import counters

from asr.config.model import TransformerConfig
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.model.encoders.compiled import compile_layers
from asr.model.encoders.transformer import TransformerEncoder

DROPOUT = [setting for setting in DROP if setting != "model.dropout=0"]
SHORT = [*DROPOUT, "trainer.total_hours=0.025", "trainer.evaluation_every_hours=0.0125"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [["trainer.activation_checkpointing=true"]])
def test_compiled_layers_train_as_others_do(more: list[str], train: Train) -> None:
    """Supervised and on the teacher's labels, with LayerDrop; a checkpoint of one goes on in the other.

    Dropout too, whose draws belong to the utterance on a CPU.
    """
    plain = train("plain", *SHORT)
    compiled = train("compiled", *SHORT, *more, "trainer.compile_layers=true")
    train("resumed", *SHORT, "trainer.total_hours=0.013")
    resumed = train("resumed", *SHORT, *more, "trainer.compile_layers=true")
    for run in (compiled, resumed):
        assert losses(run) == pytest.approx(losses(plain), rel=1e-4)
        for name in ("student", "teacher"):
            left, right = (final(one) / f"{name}.safetensors" for one in (plain, run))
            assert relative_distance(left, right) < 1e-4, name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["model={kind: pretrained, encoder: somewhere}"], "needs model.kind transformer"),
        (["trainer.zero_stage=3"], "needs zero_stage 0, 1 or 2"),
    ],
)
def test_what_is_not_compiled_is_refused(settings: list[str], said: str, recipe: Path) -> None:
    with pytest.raises(UserError, match=said):
        load_config(recipe, ["trainer.compile_layers=true", *settings])


@pytest.mark.slow
def test_one_program_serves_all_layers_lengths_and_batches() -> None:
    programs = []
    for layers in (2, 4):
        torch._dynamo.reset()
        counters.clear()
        torch.manual_seed(1)
        shape = {"width": 32, "heads": 2, "feed_forward_width": 64, "norm": "pre"}
        encoder = TransformerEncoder(80, TransformerConfig(layers=layers, **shape)).eval()
        compile_layers(encoder)
        with torch.no_grad():
            for batch, frames in ((2, 64), (3, 128), (5, 90)):
                encoder(torch.randn(batch, frames, 80), torch.full((batch,), frames))
        programs.append(counters["stats"]["unique_graphs"])
    assert programs[0] == programs[1]
    assert 1 <= programs[0] <= 2


def test_a_missing_compiler_is_named(recipe: Path) -> None:
    command = [*asr_command(), "check", str(recipe), "trainer.compile_layers=true"]
    environment = {**os.environ, "CXX": "/nowhere/g++"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "trainer.compile_layers: no C++ compiler" in done.stdout
