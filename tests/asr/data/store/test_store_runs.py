"""Runs whose audio stays in an object store, against runs from the disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Train, asr_command, final, losses, read_lines, same_weights
from object_store import BUCKET, Faults, object_store

from asr.__main__ import main
from asr.pseudo_labels.ledger import read_ledger

pytest.importorskip("moto")
pytest.importorskip("s3fs")

KINDS = ("503", "reset", "429", "500", "hang", "damaged", "short")
SETS = ["labelled", "untranscribed", "dev"]


@pytest.fixture(scope="module")
def faults() -> Faults:
    return Faults(latency_seconds=0.02, every=5)


@pytest.fixture(scope="module")
def sent(corpus: Path, faults: Faults, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = tmp_path_factory.mktemp("sent")
    for path in corpus.glob("*.jsonl.gz"):
        shutil.copyfile(path, data / path.name)
    shutil.copytree(corpus / "references", data / "references")
    with object_store(faults):
        options = ["--data", str(data), "--sets", *SETS, "--shard-size", "17", "--jobs", "2"]
        assert main(["prepare", "shar", *options, "--output", f"s3://{BUCKET}/corpus"]) == 0
        yield data


def of_store(data: Path, cache: Path) -> list[str]:
    return [
        f"corpus.directory={data}",
        "corpus.labelled=[labelled.shar]",
        "corpus.untranscribed=[untranscribed.shar]",
        "corpus.dev=[dev.shar]",
        f"corpus.store.cache_directory={cache}",
        "corpus.store.timeout_seconds=2",
        "corpus.store.patience_seconds=60",
    ]


LEDGER = "pseudo_label.ledger=true"


def same_runs(left: Path, right: Path) -> None:
    assert losses(left) == losses(right)
    assert read_lines(left / "utterances.jsonl") == read_lines(right / "utterances.jsonl")
    for table in ("labels", "uses"):
        assert read_ledger(left, table).equals(read_ledger(right, table))
    for name in ("student.safetensors", "teacher.safetensors"):
        assert same_weights(final(left) / name, final(right) / name)


def no_secrets(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"secret-of-the-test" not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (1, 0), (2, 1)])
def test_a_run_from_a_faulty_store_is_that_from_the_disk(
    train: Train, sent: Path, faults: Faults, tmp_path: Path, ranks: int, workers: int
) -> None:
    how = [LEDGER, f"trainer.loader_workers={workers}"]
    faults.kinds = ()
    local = train("local", *how, ranks=ranks)
    faults.end()
    faults.kinds = KINDS
    store = train("store", *how, *of_store(sent, tmp_path / "cache"), ranks=ranks)
    same_runs(store, local)
    counted = [line["refetched"] for line in read_lines(store / "metrics.jsonl") if "loss" in line]
    assert sum(counted) > 0
    no_secrets(tmp_path)
    no_secrets(sent)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_store_that_stays_away_ends_a_run_saved_and_it_goes_on(
    train: Train, recipe: Path, sent: Path, faults: Faults, tmp_path: Path, ranks: int
) -> None:
    faults.end()
    local = train("local", LEDGER, ranks=ranks)
    settings = [*of_store(sent, tmp_path / "cache"), LEDGER]
    hasty = ["corpus.store.patience_seconds=1", "corpus.store.updates_ahead=1"]
    rare = ["trainer.checkpoint_every_hours=10", "trainer.evaluation_every_hours=0.02"]
    faults.away_after = 30
    run = tmp_path / "store"
    command = [*asr_command(ranks), "train", str(recipe), f"output={run}", *settings]
    done = subprocess.run(
        [*command, *hasty, *rare], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode != 0
    if ranks == 1:
        assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "the store is away" in line]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr.replace("torch.distributed", "")[:2000] or ranks > 1
    assert final(run).is_dir(), "it is saved"
    updates = len(losses(run))
    assert 0 < updates < len(losses(local))
    faults.end()
    train("store", *settings, ranks=ranks)
    same_runs(run, local)
