"""What a run writes of where it stands, it reads back; and older runs' files, too."""

from __future__ import annotations

import json

from asr.config.recipe import parse_config
from asr.data.sampler import Position
from asr.scaling.validity import GradientNoise
from asr.training.state import TrainingState

CONFIG = parse_config(
    {
        "scaling": {"reference_batch_seconds": 10},
        "batch": {"batch_seconds": 20},
        "teacher": {"update_interval_seconds": 60, "half_life_hours": 1},
    },
    "test",
)


def test_a_state_comes_back_through_json() -> None:
    state = TrainingState.at_the_start(CONFIG, 20.0)
    state.clock.advance(19.5)
    state.schedule.consume(19.5, state.clock.hours)
    state.schedule.due_seconds += 3.0  # the update before came late
    state.note_gradient_norm(2.5)
    state.position = Position(labelled_group=3, seconds=19.5)
    state.noise_scale.observe(GradientNoise(4.0, 1.0))
    state.clipped.observe(2.0, 1.0, 19.5, 10.0)
    state.batches_drawn, state.non_finite, state.skipped_updates, state.dev_score = 2, 1, 1, 50.0
    saved = json.loads(json.dumps({**state.to_json(), "batch_seconds": state.batch_seconds}))
    again = TrainingState.at_the_start(CONFIG, 20.0)
    assert again.restore(saved) == []
    assert again == state
    del saved["skipped_updates"], saved["clipped"]  # as the first version wrote it
    saved["noise_scale"] = {"noise": 4.0, "signal": 1.0}
    [note] = again.restore(saved)
    assert "measured anew" in note
    assert again.noise_scale.seconds is None
    assert again.clipped.share is None
    assert again.skipped_updates == 0


def test_another_batch_keeps_the_audio_that_no_teacher_update_has_seen() -> None:
    state = TrainingState.at_the_start(CONFIG, 20.0)
    assert state.schedule.consume(20.0, 20 / 3600) is None
    state.change_batch(CONFIG, 40.0)
    assert state.batch_seconds == 40.0
    assert state.schedule.pending_seconds == 20.0
    assert state.schedule.consume(40.0, 60 / 3600) is not None
