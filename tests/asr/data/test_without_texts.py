"""Where representations are predicted, the teacher hears the student's frames, and no text is read."""

from __future__ import annotations

from pathlib import Path

import torch
from latent_helpers import BYOL, LATENT

from asr.config.recipe import load_config
from asr.data.dataloader import TrainingData
from asr.data.sampler import Position
from asr.data.segments import Kind
from asr.model.tokenizer import CharacterTokenizer, NoTokenizer


def test_both_hear_all_sets_at_one_speed(recipe: Path) -> None:
    quieter = "augmentation.volume={probability: 1.0, gain_db: [-9, -8]}"
    data = TrainingData(load_config(recipe, [*LATENT, quieter]), NoTokenizer())
    assert list(data.sets) == [Kind.UNTRANSCRIBED]
    assert len(data.sets[Kind.UNTRANSCRIBED]) == 80
    speeds = set()
    for micro_batch in next(data.batches(Position(), 0, 1)).micro_batches:
        assert micro_batch.student_input is not None
        assert micro_batch.teacher_input is not None
        heard, clean = micro_batch.student_input, micro_batch.teacher_input
        assert torch.equal(heard[1], clean[1])
        assert heard[0].norm() < 0.5 * clean[0].norm(), "augmented, but for the speed"
        assert micro_batch.targets == [[]] * len(micro_batch.ids)
        speeds |= {segment.speed for segment in micro_batch.segments}
    assert len(speeds) > 1


def test_two_views_are_heard_at_one_speed_and_changed_each_in_its_own_way(recipe: Path) -> None:
    loud = "augmentation.volume={probability: 1.0, gain_db: [-20, 20]}"
    data = TrainingData(load_config(recipe, [*BYOL, loud]), NoTokenizer())
    for micro_batch in next(data.batches(Position(), 0, 1)).micro_batches:
        assert micro_batch.student_input is not None
        assert micro_batch.teacher_input is None, "it hears the student's"
        (first, second), lengths = (
            micro_batch.student_input[0].chunk(2),
            micro_batch.student_input[1],
        )
        assert torch.equal(*lengths.chunk(2))
        assert first.shape[0] * first.shape[1] <= 10 * 16_000, "half of a pass each"
        gains = second.norm(dim=1) / first.norm(dim=1)
        assert torch.allclose(second, gains[:, None] * first, atol=1e-4)
        assert (gains - 1.0).abs().min() > 1e-3


def test_a_labelling_teacher_hears_the_original_speed(recipe: Path) -> None:
    config = load_config(recipe, ["pseudo_label.start_hours=0", "corpus.labelled=[]"])
    data = TrainingData(config, CharacterTokenizer("abcdefgh"))
    for micro_batch in next(data.batches(Position(), 0, 1)).micro_batches:
        assert micro_batch.student_input is not None
        assert micro_batch.teacher_input is not None
        seconds = torch.tensor([segment.seconds for segment in micro_batch.segments])
        assert torch.allclose(micro_batch.teacher_input[1] / 16_000, seconds, atol=1e-3)
        assert not torch.equal(micro_batch.student_input[1], micro_batch.teacher_input[1])
