"""Several averages, updated now and then, survive a stop: the one that is shipped, and the one that labels."""

from __future__ import annotations

import pytest
from conftest import Train, final, losses, read_lines, relative_distance, same_weights

OPTIONS = [
    "teacher.update_interval_seconds=40",
    "teacher.warmup_share=0",
    "teacher.half_life_hours=[[0,0.01],[0.03,0.02]]",
    "teacher.evaluation_half_life_hours=0.03",
    "trainer.zero_stage=2",
]


@pytest.mark.slow
def test_what_is_kept_for_later_is_the_same_on_two_ranks(train: Train) -> None:
    """Snapshots are whole, whoever owns the weights."""
    kept = ["teacher.keep_for_average=true", "trainer.total_hours=0.02"]
    one, two = train("one", *kept), train("two", *kept, "trainer.zero_stage=2", ranks=2)
    files = [sorted((run / "averages").glob("snapshot-*")) for run in (one, two)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    assert len(files[0]) > 4
    for pair in [
        *zip(*files, strict=True),
        [final(r) / "power_averages.safetensors" for r in (one, two)],
    ]:
        assert relative_distance(*pair) < 1e-4


@pytest.mark.slow
def test_a_run_stopped_between_two_updates_of_its_averages_goes_on_exactly(train: Train) -> None:
    whole = train("whole", *OPTIONS)
    momenta = [u["teacher_momentum"] for u in read_lines(whole / "metrics.jsonl") if "loss" in u]
    assert [m is None for m in momenta[:6]] == [True, True, False] * 2
    stopped = final(train("parts", *OPTIONS, "trainer.total_hours=0.02"))
    assert (stopped / "averaged_student.safetensors").is_file(), (
        "stopped at an update of the averages"
    )
    parts = train("parts", *OPTIONS)
    assert losses(parts) == losses(whole)
    for name in ("teacher", "labelling_average"):
        files = (final(run) / f"{name}.safetensors" for run in (whole, parts))
        assert same_weights(*files), name
    both = (final(whole) / f"{name}.safetensors" for name in ("teacher", "labelling_average"))
    assert not same_weights(*both)
