"""A manifest, or a file's name, once ran shell commands: nothing that reads audio runs what it names."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

import asr
from asr.__main__ import main
from asr.data.reading import load_features
from asr.errors import LostAudioError

Record = dict[str, Any]
COMMAND = "touch {there}; cat {audio}"


def command(record: Record, run: str, audio: str) -> None:
    record["recording"]["sources"][0].update(type="command", source=run)


def pipe(record: Record, run: str, audio: str) -> None:
    record["recording"]["sources"][0].update(type="url", source=f"pipe:{run}")


def address(record: Record, run: str, audio: str) -> None:
    record["recording"]["sources"][0].update(type="url", source=f"file://{audio}")


def tar(record: Record, run: str, audio: str) -> None:
    place = {"type": "tar", "source": audio, "place": [44, 100]}
    record["recording"]["sources"][0].update(place)


def standard_input(record: Record, run: str, audio: str) -> None:
    record["recording"]["sources"][0].update(source="-")


def room(record: Record, run: str, audio: str) -> None:
    source = {"type": "command", "channels": [0], "source": run}
    rir = {**record["recording"], "id": "rir", "sources": [source]}
    transform = {"name": "ReverbWithImpulseResponse", "kwargs": {"rir": rir}}
    record["recording"]["transforms"] = [transform]


def speed_of_a_command(record: Record, run: str, audio: str) -> None:
    record["recording"]["transforms"] = [{"name": "Speed", "kwargs": {"factor": {"rir": run}}}]


def features(record: Record, run: str, audio: str) -> None:
    shape = {"num_frames": 9, "num_features": 80, "frame_shift": 0.01, "sampling_rate": 16_000}
    span = {"start": 0.0, "duration": record["duration"], "channels": 0, "type": "fbank"}
    stored = {"storage_type": "kaldiio", "storage_path": f"{run} |", "storage_key": "x"}
    record["features"] = {**shape, **span, **stored}


REFUSED = ("is not read: its", "no folder of shards", "not a readable manifest of cuts")
HOSTILE = [command, pipe, address, tar, standard_input, room, speed_of_a_command, features]


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """What a command would leave behind."""
    return tmp_path / "there"


def records_of(manifest: Path) -> list[Record]:
    return [json.loads(line) for line in gzip.open(manifest, "rt", encoding="utf-8")]


def write(manifest: Path, records: list[Record]) -> Path:
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(manifest, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)
    return manifest


@pytest.fixture
def poisoned(corpus: Path, tmp_path: Path, there: Path) -> Callable[..., Path]:
    """poisoned(how): a copy of the corpus whose dev set's second utterance asks for more than to be read."""

    def make(how: Callable[[Record, str, str], None]) -> Path:
        data = tmp_path / "data"
        shutil.copytree(corpus, data, ignore=shutil.ignore_patterns(".index"))
        records = records_of(data / "dev.jsonl.gz")
        audio = records[1]["recording"]["sources"][0]["source"]
        how(records[1], COMMAND.format(there=there, audio=audio), audio)
        write(data / "dev.jsonl.gz", records)
        return data

    return make


@pytest.mark.parametrize("how", HOSTILE)
def test_what_a_manifest_names_is_not_run(
    how: Callable[[Record, str, str], None],
    poisoned: Callable[..., Path],
    fluent: Path,
    recipe: Path,
    there: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = poisoned(how)
    dev = data / "dev.jsonl.gz"
    commands = {
        "decode": ["decode", str(fluent), str(dev), "--output", str(tmp_path / "out.jsonl")],
        "check": ["check", str(recipe), f"corpus.directory={data}"],
        "train": ["train", str(recipe), f"corpus.directory={data}", f"output={tmp_path / 'run'}"],
        "features": ["prepare", "features", "--data", str(data), "--sets", "dev"],
        "shar": ["prepare", "shar", "--data", str(data), "--sets", "dev"],
    }
    for name, arguments in commands.items():
        assert main(arguments) == 2, name
        output = capsys.readouterr()
        said = output.out + output.err
        assert any(reason in said for reason in REFUSED), (name, said)
        assert not there.exists(), name
    if how is not tar:  # which Lhotse itself does not know
        with pytest.raises(asr.UserError, match="is not read: its"):
            asr.decode(asr.load_model(fluent, device="cpu"), CutSet.from_file(dev))
    assert not there.exists()


class Pickled:
    """What is run where it is read by pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_stored_features_are_not_unpickled(corpus: Path, tmp_path: Path, there: Path) -> None:
    data = Path(shutil.copytree(corpus, tmp_path / "data"))
    assert main(["prepare", "features", "--data", str(data), "--sets", "dev"]) == 0
    manifest = data / "dev.features.jsonl.gz"
    records = records_of(manifest)
    for record in records:
        record["custom"] = {}  # no checksum, as where others have stored them
    write(manifest, records)
    stored = records[0]["features"]
    where = Path(stored["storage_path"]) / stored["storage_key"]
    np.save(where, np.array([Pickled(there)], dtype=object), allow_pickle=True)
    with pytest.raises(LostAudioError, match=f"{where.name}.*pickle"):
        load_features(CutSet.from_file(manifest)[0])
    assert not there.exists()


def test_what_cuts_in_a_shard_name_is_not_run(
    corpus: Path, tmp_path: Path, there: Path, fluent: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(corpus, data, ignore=shutil.ignore_patterns(".index"))
    assert main(["prepare", "shar", "--data", str(data), "--sets", "dev"]) == 0
    [cuts] = (data / "dev.shar").glob("cuts.*.jsonl.gz")
    records = records_of(cuts)
    room(records[1], COMMAND.format(there=there, audio="x"), "")
    write(cuts, records)
    with pytest.raises(asr.UserError, match="ReverbWithImpulseResponse"):
        asr.decode(asr.load_model(fluent, device="cpu"), data / "dev.shar.jsonl.gz")
    assert not there.exists()


def test_a_file_s_name_is_a_name(
    tmp_path: Path, there: Path, fluent: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WAV whose name ends in .sph went into a shell string."""
    monkeypatch.chdir(tmp_path)
    audio = records_of(corpus / "dev.jsonl.gz")[0]["recording"]["sources"][0]["source"]
    samples, rate = soundfile.read(audio)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/plain.wav", samples, rate)
    shutil.copyfile(tmp_path / "in/plain.wav", tmp_path / "in/a;touch there;.sph")
    assert main(["prepare", "folder", "--root", "in", "--output", "out"]) == 0
    records = records_of(tmp_path / "out/untranscribed.jsonl.gz")
    [plain] = [record for record in records if "plain" in record["id"]]
    named = json.loads(json.dumps(plain).replace("plain.wav", "a;touch there;.sph"))
    named["id"] = "named"
    manifest = write(tmp_path / "own" / "set.jsonl.gz", [plain, named])
    texts = asr.decode(asr.load_model(fluent, device="cpu"), manifest)
    assert texts[0].hypothesis == texts[1].hypothesis != ""
    assert main(["prepare", "features", "--data", "own", "--sets", "set"]) == 0
    assert main(["prepare", "shar", "--data", "own", "--sets", "set"]) == 0
    assert not there.exists()


def test_an_index_that_came_along_is_not_believed(
    corpus: Path, tmp_path: Path, there: Path, fluent: Path
) -> None:
    """Its lines may say what its manifest does not."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    shutil.copytree(corpus, here, ignore=shutil.ignore_patterns(".index"))
    model = asr.load_model(fluent, device="cpu")
    honest = asr.decode(model, here / "dev.jsonl.gz")
    [lines] = (here / ".index").glob("dev-*/lines.jsonl")
    text, other = lines.read_text(encoding="utf-8"), str.maketrans("abcdefgh", "habcdefg")
    tampered = re.sub(r'(?<="text": ")[^"]*', lambda match: match[0].translate(other), text)
    assert tampered != text
    assert len(tampered) == len(text)
    lines.write_text(tampered, encoding="utf-8")
    shutil.copytree(here, elsewhere, copy_function=shutil.copy2)  # sizes and times are kept
    assert [o.reference for o in asr.decode(model, elsewhere / "dev.jsonl.gz")] == [
        o.reference for o in honest
    ]
