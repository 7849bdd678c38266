"""trainer.compile_layers: the same numbers but for rounding, the same file names, and a clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import DROP, Train, final, losses, relative_distance

from asr.config.recipe import load_config
from asr.errors import UserError

SHORT = [*DROP, "trainer.total_hours=0.025", "trainer.evaluation_every_hours=0.0125"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["trainer.activation_checkpointing=true"]])
def test_compiled_layers_train_as_others_do(more: list[str], train: Train) -> None:
    """Supervised and on the teacher's labels, with LayerDrop; a checkpoint of one goes on in the other."""
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
