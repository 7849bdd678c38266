"""Audio in an object store: as from the disk whatever the network does, and no secret anywhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from object_store import BUCKET, Faults, files, object_store

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.config.store import StoreConfig
from asr.data.dataloader import RankBatch, TrainingData
from asr.data.dataset import SpeechSet
from asr.data.reading import load_samples
from asr.data.sampler import Position
from asr.data.store.addresses import checked, without_secrets
from asr.data.store.bringing import Part, bring
from asr.data.store.cache import AudioCache
from asr.data.store.fetcher import Fetcher
from asr.distributed.process_group import Ranks
from asr.errors import LostAudioError, StoreAwayError, UserError
from asr.model.tokenizer import make_tokenizer
from asr.training.guards.audio_store import StoreGuard
from asr.utils.signals import StopRequest

pytest.importorskip("moto")
pytest.importorskip("s3fs")

PURE = "pseudo_label.start_hours=null"
ADDRESS = f"s3://{BUCKET}/corpus"


@pytest.fixture(scope="module")
def faults() -> Faults:
    return Faults()


@pytest.fixture(scope="module")
def sent(corpus: Path, faults: Faults, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of sets; the tars of the labelled one are in a store."""
    data = tmp_path_factory.mktemp("sent")
    for path in corpus.glob("*.jsonl.gz"):
        shutil.copyfile(path, data / path.name)
    options = ["--data", str(data), "--sets", "labelled", "--jobs", "1"]
    with object_store(faults):
        done = main(["prepare", "shar", *options, "--output", ADDRESS, "--shard-size", "17"])
        assert done == 0
        yield data


@pytest.fixture
def calm(faults: Faults) -> Iterator[Faults]:
    """The store's faults, to be set."""
    faults.end()
    yield faults
    faults.end()


def settings(data: Path, cache: Path) -> list[str]:
    return [
        f"corpus.directory={data}",
        "corpus.labelled=[labelled.shar]",
        PURE,
        f"corpus.store.cache_directory={cache}",
        "corpus.store.timeout_seconds=1",
        "corpus.store.patience_seconds=60",
        "trainer.loader_workers=1",
    ]


def data_of(recipe: Path, *overrides: str) -> TrainingData:
    config = load_config(recipe, list(overrides))
    return TrainingData(config, make_tokenizer(config.tokenizer))


def drawn(data: TrainingData, count: int) -> tuple[list[str], list[torch.Tensor], int]:
    """Of so many batches the ids, what the student hears, and what was asked for again."""
    ids, heard, refetched = list[str](), list[torch.Tensor](), 0
    batches: Iterator[RankBatch] = data.batches(Position(), 0, 1)
    for batch in islice(batches, count):
        refetched += batch.refetched
        for micro_batch in batch.micro_batches:
            assert not micro_batch.lost
            ids += micro_batch.ids
            heard += micro_batch.student_input or ()
    return ids, heard, refetched


def test_the_stream_is_that_of_the_disk_whatever_the_network_does(
    recipe: Path, sent: Path, calm: Faults, tmp_path: Path
) -> None:
    calm.kinds, calm.every = ("503", "reset", "429", "500", "hang", "damaged", "short"), 4
    data = data_of(recipe, *settings(sent, tmp_path / "cache"))
    ids, heard, refetched = drawn(data, 6)
    calm.kinds = ()
    expected_ids, expected, none = drawn(data_of(recipe, "trainer.loader_workers=1", PURE), 6)
    assert ids == expected_ids
    assert all(map(torch.equal, heard, expected))
    assert refetched >= 7 > none == 0
    until = time.monotonic() + 10  # what is read ahead is on its way
    while len(calm.parts) != len({*calm.parts}) + refetched and time.monotonic() < until:
        time.sleep(0.1)
        refetched += data.store.taken_refetched()
    assert len(calm.parts) == len({*calm.parts}) + refetched, "what came is not asked for again"
    calm.asked.clear()
    again, *_ = drawn(data_of(recipe, *settings(sent, tmp_path / "cache")), 6)
    assert again == ids
    assert len(calm.parts) < len({*ids}), "a restart finds what was read"


def test_a_store_that_stays_away_ends_the_stream_between_two_batches(
    recipe: Path, sent: Path, calm: Faults, tmp_path: Path
) -> None:
    calm.away_after = 30
    data = data_of(recipe, *settings(sent, tmp_path / "cache"), "corpus.store.patience_seconds=0.5")
    read, batches = 0, data.batches(Position(), 0, 1)

    def read_to_the_end() -> None:
        nonlocal read
        for batch in batches:
            read += sum(len(one.segments) for one in batch.micro_batches)
            assert not batch.lost

    with pytest.raises(StoreAwayError, match=r"the store is away .* run the same command again"):
        read_to_the_end()
    calm.away_after = None
    assert read > 0
    ids, *_ = drawn(data_of(recipe, *settings(sent, tmp_path / "cache")), 6)
    assert len(ids) > read, "it goes on when the store is back"


def test_what_the_store_does_not_have_is_lost_and_what_it_refuses_is_not(
    sent: Path, calm: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StoreConfig(cache_directory=str(tmp_path / "cache"))
    speech = SpeechSet.load(sent / "labelled.shar", store)
    part = speech.remote_part(0)
    assert part is not None
    tar = part.address.removeprefix("s3://")
    content = files().cat_file(tar)
    try:
        files().rm_file(tar)
        with pytest.raises(LostAudioError, match=r"recording\.000000\.tar .* cannot be read"):
            speech.cuts[0]
        files().pipe_file(tar, content[: part.begin + 10])
        with pytest.raises(LostAudioError, match="has become shorter"):
            speech.cuts[0]
    finally:
        files().pipe_file(tar, content)
    speech.bring([0, 1])
    assert len(load_samples(speech.cuts[0])[0])
    nowhere = Part("s3://no-such-bucket/x.tar", 0, 10, None)
    with pytest.raises(StoreAwayError, match=r"the store refuses .*credentials"):
        bring(nowhere, store)
    fetcher = Fetcher(store)
    [fetched] = fetcher.ask([nowhere])
    assert "the store refuses" in str(fetched.result(30))


def test_retry_after_is_heeded(sent: Path, calm: Faults, tmp_path: Path) -> None:
    store = StoreConfig(cache_directory=str(tmp_path / "cache"))
    part = SpeechSet.load(sent / "labelled.shar", store).remote_part(3)
    assert part is not None
    calm.kinds, calm.every = ("429",), 1
    with pytest.raises(StoreAwayError):
        bring(part, store.model_copy(update={"patience_seconds": 2.5}))
    waits = np.diff(calm.moments)
    assert len(waits) >= 1
    assert waits.min() >= 1.0


def test_the_cache_is_bounded_and_nothing_in_it_is_believed(tmp_path: Path) -> None:
    config = StoreConfig(cache_directory=str(tmp_path), cache_gigabytes=1e-3)
    caches = [AudioCache(config) for _ in range(3)]
    contents = {f"{n:064x}": os.urandom(10_000) for n in range(300)}
    first = next(iter(contents))
    for n, (name, content) in enumerate(contents.items()):
        caches[n % 3].put(name, content)
        assert caches[0].get(first, 10_000, None), "what is heard again and again stays"
        os.utime(tmp_path / name[:2] / name, (n, n)) if name != first else None
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 1e6
    kept = [name for name in contents if caches[1].get(name, 10_000, None)]
    assert 60 < len(kept) < 100
    path = tmp_path / kept[-1][:2] / kept[-1]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert caches[0].get(kept[-1], 10_000, None) is None
    assert caches[0].get(kept[-2], 10_000, "0" * 64) is None
    assert caches[0].get(kept[-3], 9_999, None) is None
    # What is somebody else's stays, and does not count.
    others = [tmp_path / "thesis/chapter.wav", tmp_path / "ab/notes.txt"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(bytes(2_000_000))
        os.utime(other, (1, 1))
    new = AudioCache(config)
    new.put("cd" * 32, bytes(1000))
    assert all(other.exists() for other in others)
    assert new.get("cd" * 32, 1000, None)
    blocked = StoreConfig(cache_directory=str(path / "under a file"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"corpus\.store\.cache_directory"):
        AudioCache(blocked.model_copy(update={"cache_directory": str(tmp_path / "file")}))


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hunter2@host/x",
        "s3://key:hunter2@bucket/x",
        "https://host/x?X-Amz-Signature=hunter2",
        "ftp://host/x",
        "s3:///x",
        "http://[x",
        "s3://bu\ncket/x",
    ],
)
def test_an_address_with_a_secret_or_of_no_store_is_refused(
    address: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(corpus), "--sets", "labelled"]
    for option in ("--url", "--output"):
        assert main(["prepare", "shar", *options, option, address]) == 2
        said = capsys.readouterr().err
        assert option in said
        assert "hunter2" not in said
        assert len(said.splitlines()) <= 2
    folder = tmp_path / "made.shar"
    folder.mkdir()
    (folder / "recording.url").write_text(address)
    (folder / "cuts.000000.jsonl.gz").touch()
    with pytest.raises(UserError) as raised:
        SpeechSet.load(folder)
    assert str(folder / "recording.url") in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.data.store.addresses.find_spec", lambda name: None)
    for scheme, extra in (("s3", "s3"), ("gs", "gs"), ("hf", "hf")):
        with pytest.raises(UserError, match=rf"pip install 'asr-ema\[{extra}\]'"):
            checked(f"{scheme}://bucket/x", "here")
    assert checked("https://host/x/", "here") == "https://host/x"


def test_errors_of_libraries_lose_their_secrets() -> None:
    text = "GET https://me:hunter2@host/x?sig=hunter2&b=1 failed for s3://b/c"
    assert without_secrets(text) == "GET https://host/x failed for s3://b/c"
    text = "Max retries exceeded with url: /x?X-Amz-Signature=hunter2 (Caused by that)"
    assert without_secrets(text) == "Max retries exceeded with url: /x (Caused by that)"


def test_a_call_that_is_made_again_sends_what_is_not_there(
    sent: Path, calm: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(sent), "--sets", "labelled", "--jobs", "1", "--shard-size", "17"]
    folder, at = sent / "labelled.shar", f"{BUCKET}/corpus/labelled.shar"
    assert not list(folder.glob("recording.*.tar"))

    def again() -> list[str]:
        calm.asked.clear()
        assert main(["prepare", "shar", *options, "--output", ADDRESS]) == 0
        return [one.split()[1].rpartition("/")[2] for one in calm.asked if one.startswith("PUT")]

    capsys.readouterr()
    assert again() == []
    assert "nothing to do" in capsys.readouterr().out
    files().rm_file(f"{at}/recording.000001.tar")
    before = files().cat_file(f"{at}/recording.000000.tar")
    names = ["recording.000001.tar", "places.000001.json", "cuts.000001.jsonl.gz", "shar.json"]
    assert again() == names
    assert files().cat_file(f"{at}/recording.000000.tar") == before
    assert not list(folder.glob("recording.*.tar"))
    assert len(SpeechSet.load(folder)) == 40


def test_shards_that_were_made_here_first_stay_here(
    sent: Path, calm: Faults, corpus: Path, tmp_path: Path
) -> None:
    """The second call took them for what a kill had left, and removed those that the store had."""
    shutil.copyfile(corpus / "labelled.jsonl.gz", tmp_path / "labelled.jsonl.gz")
    options = ["--data", str(tmp_path), "--sets", "labelled", "--jobs", "1", "--shard-size", "20"]
    assert main(["prepare", "shar", *options]) == 0
    tars = sorted((tmp_path / "labelled.shar").glob("recording.*.tar"))
    assert len(tars) == 2
    other = f"s3://{BUCKET}/other"
    for _ in range(2):
        assert main(["prepare", "shar", *options, "--output", other]) == 0
        assert all(tar.exists() for tar in tars)
        files().rm_file(f"{BUCKET}/other/labelled.shar/{tars[1].name}")


def test_a_folder_with_the_address_alone_is_a_set(sent: Path, calm: Faults, tmp_path: Path) -> None:
    folder = tmp_path / "labelled.shar"
    folder.mkdir()
    (folder / "recording.url").write_text(f"{ADDRESS}/labelled.shar/\n")
    expected = SpeechSet.load(sent / "labelled.shar")
    assert list(SpeechSet.load(folder).ids) == list(expected.ids)
    (folder / "cuts.000001.jsonl.gz").unlink()
    (folder / "coming").touch()  # as a kill leaves it
    assert list(SpeechSet.load(folder).ids) == list(expected.ids)
    (folder / "recording.url").write_text(f"{ADDRESS}/none.shar\n")
    for path in folder.glob("cuts.*"):
        path.unlink()
    with pytest.raises(UserError, match=r"has no cuts\.\*\.jsonl\.gz there"):
        SpeechSet.load(folder)


def test_reading_a_store_imports_no_torch() -> None:
    """The process that reads ahead is started for each rank."""
    code = "import sys, asr.data.store.fetcher; print('torch' in sys.modules)"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", time.monotonic() - started


def test_a_signal_ends_the_wait_for_a_store(
    recipe: Path, sent: Path, calm: Faults, tmp_path: Path
) -> None:
    """A launcher would kill the run before its patience ends."""
    calm.is_away = True
    config = settings(sent, tmp_path / "cache")
    data = data_of(recipe, *config, "trainer.loader_workers=0")
    stop, saved = StopRequest(), list[None]()
    guard = StoreGuard(data, Ranks(0, 1, torch.device("cpu")), stop, saved.append)
    batches = data.batches(Position(), 0, 1)
    threading.Timer(0.5, lambda: setattr(stop, "number", signal.SIGTERM)).start()
    started = time.monotonic()
    assert guard.next_of(batches) is None
    assert time.monotonic() - started < 20
    assert not saved, "the trainer does, as after any signal"
