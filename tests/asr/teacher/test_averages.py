"""Several averages, updated now and then, survive a stop: the one that is shipped, and the one that labels."""

from __future__ import annotations

from conftest import Train, final, losses, read_lines, same_weights

OPTIONS = [
    "teacher.update_interval_seconds=40",
    "teacher.half_life_hours=[[0,0.01],[0.03,0.02]]",
    "teacher.evaluation_half_life_hours=0.03",
    "trainer.zero_stage=2",
]


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
