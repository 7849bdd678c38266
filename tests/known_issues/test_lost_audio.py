"""Audio that was lost or damaged after preparation once ended a run, or halved a test set without a word."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import PLAIN, Train, read_lines

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.data.dataloader import RankBatch, TrainingData
from asr.data.dataset import SpeechSet
from asr.data.sampler import Position
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.model.tokenizer import make_tokenizer
from asr.training.batch_stats import BatchStats
from asr.training.guards.lost_audio import LostAudioGuard

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture
def own(corpus: Path, tmp_path: Path) -> Path:
    """A copy of the corpus that may be damaged."""
    shutil.copytree(corpus, tmp_path / "data", ignore=shutil.ignore_patterns(".index"))
    shutil.copytree(corpus.parent / "audio", tmp_path / "audio")
    for manifest in (tmp_path / "data").glob("*.jsonl.gz"):
        lines = gzip.decompress(manifest.read_bytes()).decode()
        moved = lines.replace(str(corpus.parent / "audio"), str(tmp_path / "audio"))
        manifest.write_bytes(gzip.compress(moved.encode()))
    return tmp_path / "data"


def removed(path: Path) -> None:
    path.unlink()


def garbled(path: Path) -> None:
    path.write_bytes(b"RIFF, and then nothing of the sort")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def at_another_rate(path: Path) -> None:
    audio, rate = soundfile.read(path)
    soundfile.write(path, np.repeat(audio, 3), 3 * rate, subtype="PCM_16")


def a_pipe(path: Path) -> None:
    """Opening it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "u0-003": removed,
    "u0-011": at_another_rate,
    "u1-007": garbled,
    "u1-020": cut_short,
    "u1-031": a_pipe,
}


def damage(data: Path) -> None:
    for name, how in DAMAGES.items():
        kind = "labelled" if name.startswith("u0") else "untranscribed"
        how(data.parent / "audio" / kind / f"{name}.wav")


def data_of(recipe: Path, *overrides: str) -> TrainingData:
    config = load_config(recipe, list(overrides))
    return TrainingData(config, make_tokenizer(config.tokenizer))


def drawn(data: TrainingData, count: int, rank: int = 0, ranks: int = 1) -> list[RankBatch]:
    """So many batches, read to their ends."""
    found = []
    for batch in islice(data.batches(Position(), rank, ranks), count):
        batch.micro_batches = iter(list(batch.micro_batches))
        found.append(batch)
    return found


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_stream_stays_and_the_lost_are_silent(recipe: Path, own: Path, ranks: int) -> None:
    whole = drawn(data_of(recipe), 12)
    damage(own)
    lost = set[str]()
    for rank in range(ranks):
        data = data_of(recipe, f"corpus.directory={own}")
        for before, batch in zip(whole, drawn(data, 12, rank, ranks), strict=True):
            assert batch.batch.after == before.batch.after
            assert batch.batch.seconds == before.batch.seconds
            for micro_batch in batch.micro_batches:
                names = {micro_batch.ids[place] for place in micro_batch.lost}
                assert names == {*micro_batch.ids} & {*DAMAGES}
                assert micro_batch.student_input is not None
                waveforms_BN, _ = micro_batch.student_input
                for place in range(len(micro_batch.ids)):
                    assert bool(waveforms_BN[place].any()) == (place not in micro_batch.lost)
        lost |= {*data.lost}
    assert lost == {*DAMAGES}


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_goes_on_counts_and_names_each_once(
    train: Train, recipe: Path, own: Path, ranks: int
) -> None:
    damage(own)
    removed(own.parent / "audio/dev/u2-003.wav")
    settings = [f"corpus.directory={own}", "corpus.max_lost_share=0.2", "trainer.total_hours=0.035"]
    run = train("run", *PLAIN, *settings, ranks=ranks)
    ledger, metrics = read_lines(run / "utterances.jsonl"), read_lines(run / "metrics.jsonl")
    updates = [line for line in metrics if "loss" in line]
    whole = drawn(data_of(recipe, *PLAIN), len(updates))
    for line, update, batch in zip(ledger, updates, whole, strict=True):
        assert update["hours"] == pytest.approx(batch.batch.after.seconds / 3600)
        names = [*line["labelled"], *line["untranscribed"]]
        assert len(names) == len(batch.batch.segments)
        assert update["lost_utterances"] == len({*names} & {*DAMAGES})
    names = [name for line in ledger for name in line["untranscribed"]]
    dropped = sum(update["pseudo_labels_dropped"].get("lost", 0) for update in updates)
    assert dropped == sum(name in DAMAGES for name in names)
    log = (run / "train.log").read_text()
    met = {name for line in ledger for kind in ("labelled", "untranscribed") for name in line[kind]}
    for name in {*DAMAGES} & met:
        assert log.count(f"(utterance '{name}')") == 1
    assert "48000 Hz, and its manifest says" in log
    assert "without 1 utterances that cannot be read" in log


def counted(share: float, lost: int, batch: RankBatch, recipe: Path) -> list[str]:
    said: list[str] = []
    config = load_config(recipe, [f"corpus.max_lost_share={share}"])
    guard = LostAudioGuard(config, ALONE, 80, said.append)
    ids = [str(number) for number in range(lost)]
    stats = BatchStats(lost_utterances=lost, lost={name: f"{name}.wav is gone" for name in ids})
    for _ in range(2):
        guard.count(stats, stats, batch.batch)
    return said


def test_more_than_the_share_ends_the_run(recipe: Path) -> None:
    [batch] = drawn(data_of(recipe), 1)
    assert counted(0.05, 4, batch, recipe) == [
        f"lost, left out of training: {number}.wav is gone" for number in range(4)
    ]
    with pytest.raises(UserError, match=r"5 of 80 .* corpus\.max_lost_share is 0\.05.*0\.wav"):
        counted(0.05, 5, batch, recipe)
    with pytest.raises(UserError, match="1 of 80"):
        counted(0, 1, batch, recipe)
    # A disk that is gone is no matter of single files.
    with pytest.raises(UserError, match="all of this update"):
        counted(0.9, len(batch.batch.segments), batch, recipe)
    assert len(counted(1, len(batch.batch.segments), batch, recipe)) <= 11


def test_a_set_whose_files_were_converted_is_the_same_once_it_is_prepared_again(
    recipe: Path, own: Path
) -> None:
    """As the message says: a run goes on with it from its checkpoint."""
    settings = f"corpus.directory={own}"
    before, folder = data_of(recipe, settings), own.parent / "audio" / "labelled"
    for number in (3, 4):
        at_another_rate(folder / f"u0-{number:03d}.wav")
    drawn(lost := data_of(recipe, settings), 6)
    assert {*lost.lost} == {"u0-003", "u0-004"}
    made = own.parent / "again"
    assert main(["prepare", "folder", "--root", str(folder), "--output", str(made)]) == 0
    (made / "labelled.jsonl.gz").replace(own / "labelled.jsonl.gz")
    again = data_of(recipe, settings)
    drawn(again, 6)
    assert again.fingerprints == before.fingerprints
    assert again.lost == {}


@pytest.mark.parametrize("how", [removed, cut_short])
def test_a_lost_tar_keeps_its_utterances_in_the_stream(
    recipe: Path, own: Path, how: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--sets", "labelled", "dev"]
    assert main(["prepare", "shar", "--data", str(own), *sets, "--shard-size", "2"]) == 0
    shards = [f"corpus.directory={own}", "corpus.labelled=[labelled.shar]"]
    whole = data_of(recipe, *shards)
    how(own / "labelled.shar/recording.000003.tar")
    data = data_of(recipe, *shards)
    assert data.fingerprints == whole.fingerprints
    for before, batch in zip(drawn(whole, 6), drawn(data, 6), strict=True):
        assert batch.batch.after == before.batch.after
    assert 1 <= len(data.lost) <= 2
    assert all("recording.000003.tar" in why for why in data.lost.values())
    # Training begins without what it may lose, and says so.
    [said] = [reason for reason in data.left_out if "recording.000003.tar" in reason]
    assert 1 <= data.left_out[said] <= 2
    with pytest.raises(UserError, match=r"max_lost_share"):
        data_of(recipe, *shards, "corpus.max_lost_share=0")


def test_lost_features_are_lost_utterances(recipe: Path, own: Path) -> None:
    assert main(["prepare", "features", "--data", str(own), "--sets", "labelled"]) == 0
    stored = sorted((own / "features/labelled").rglob("*.npy"))
    removed(stored[1])
    cut_short(stored[5])
    names = [SpeechSet.load(own / "labelled.jsonl.gz").ids[place] for place in (1, 5)]
    settings = ["features.source=precomputed", "corpus.labelled=[labelled.features]"]
    settings += ["corpus.untranscribed=[]", "pseudo_label.start_hours=null"]
    settings += ["augmentation.speed_factors=[1.0]", f"corpus.directory={own}"]
    data = data_of(recipe, *settings)
    drawn(data, 8)
    assert sorted(data.lost) == sorted(names)
    assert all("asr prepare features" not in why for why in data.lost.values())
    # And preparation mends what it made.
    content = [path.read_bytes() for path in stored if path not in (stored[1], stored[5])]
    assert main(["prepare", "features", "--data", str(own), "--sets", "labelled"]) == 0
    assert sorted((own / "features/labelled").rglob("*.npy")) == stored
    assert [p.read_bytes() for p in stored if p not in (stored[1], stored[5])] == content
    data = data_of(recipe, *settings)
    drawn(data, 8)
    assert not data.lost


def decoded(trained: Path, manifest: Path, output: Path) -> int:
    return main(["decode", str(trained), str(manifest), "--output", str(output)])


def test_no_error_rate_of_what_is_left(
    trained: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "teacher.jsonl"
    removed(own.parent / "audio/dev/u2-003.wav")
    at_another_rate(own.parent / "audio/dev/u2-005.wav")
    assert decoded(trained, own / "dev.jsonl.gz", output) == 2
    said = capsys.readouterr().err
    assert "2 of 8 utterances of 'dev' cannot be read" in said
    assert not output.exists()
    assert len(read_lines(tmp_path / "teacher.jsonl.incomplete")) == 6


@pytest.mark.parametrize("part", ["recording.000001.tar", "cuts.000001.jsonl.gz"])
def test_no_error_rate_of_half_a_test_set(
    trained: Path, own: Path, tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = ["--data", str(own), "--sets", "dev", "--shard-size", "4"]
    assert main(["prepare", "shar", *packed]) == 0
    removed(own / "dev.shar" / part)
    assert decoded(trained, own / "dev.shar", tmp_path / "teacher.jsonl") == 2
    said = capsys.readouterr().err
    assert "4 of 8 utterances" in said
    assert part in said
    assert not (tmp_path / "teacher.jsonl").exists()
    # A later preparation brings it back, byte for byte.
    assert main(["prepare", "shar", *packed]) == 0
    assert decoded(trained, own / "dev.shar", tmp_path / "teacher.jsonl") == 0
    assert len(read_lines(tmp_path / "teacher.jsonl")) == 8


def test_preparation_makes_again_what_is_lost_of_it(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(root / f"{number}.ogg", random.standard_normal(9000) / 9, 8000)
    command = ["prepare", "folder", "--root", str(root), "--output", str(output)]
    assert main(command) == 0
    made = sorted((output / "audio/untranscribed").iterdir())
    before = {path: path.read_bytes() for path in [*made, output / "untranscribed.jsonl.gz"]}
    for how in (removed, garbled, cut_short):
        for path in (made[1], output / "untranscribed.jsonl.gz"):
            how(path)
            assert main(command) == 0
            assert {path: path.read_bytes() for path in before} == before


def test_check_opens_some_and_says_so(
    recipe: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    garbled(own.parent / "audio/labelled/u0-003.wav")
    assert main(["check", str(recipe), f"corpus.directory={own}"]) == 2
    said = capsys.readouterr().out
    assert "of 40 recordings opened" in said
    assert "u0-003.wav" in said
