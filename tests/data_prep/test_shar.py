"""Sets as shards: the same batches as from single files, exact resume across both, and damaged shards."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import PLAIN, Train, final, losses, read_lines, same_weights
from data_prep_helpers import Mirror, served
from lhotse import CutSet, MonoCut, Recording
from lhotse.shar import SharWriter

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.data.dataloader import TrainingData
from asr.data.dataset import SpeechSet
from asr.data.manifest.index import open_index
from asr.data.manifest.shar import audio_places, places_file
from asr.data.reading import Readable
from asr.errors import UserError
from asr.model.tokenizer import make_tokenizer
from asr.utils.files import write_json
from asr.utils.locks import locked


@pytest.fixture
def sharded(corpus: Path, tmp_path: Path) -> Path:
    """The corpus in shards of seven utterances, and its dev set as it is."""
    data = tmp_path / "data"
    options = ["--data", str(corpus), "--sets", "labelled", "untranscribed", "--output", str(data)]
    assert main(["prepare", "shar", *options, "--shard-size", "7"]) == 0
    shutil.copyfile(corpus / "dev.jsonl.gz", data / "dev.jsonl.gz")
    return data


def of_shards(data: Path) -> list[str]:
    return [
        f"corpus.directory={data}",
        "corpus.labelled=[labelled.shar]",
        "corpus.untranscribed=[untranscribed.shar]",
    ]


def test_shards_hold_the_same_speech(corpus: Path, sharded: Path) -> None:
    assert len(list((sharded / "labelled.shar").glob("recording.*.tar"))) == 6
    plain, packed = (
        SpeechSet.load(corpus / "labelled.jsonl.gz"),
        SpeechSet.load(sharded / "labelled.shar"),
    )
    assert list(plain.ids) == list(packed.ids)
    assert list(plain.references) == list(packed.references)
    assert np.array_equal(plain.seconds, packed.seconds)
    for left, right in zip(plain.cuts, packed.cuts, strict=True):
        assert np.array_equal(left.load_audio(), right.load_audio())
    aside = SpeechSet.load(sharded / "untranscribed.shar")
    assert all(aside.references)


def repack(tar: Path, prefix: str = "") -> None:
    """The same members the other way round."""
    with tarfile.open(tar) as old:
        members = [(member, old.extractfile(member)) for member in old.getmembers()]
        content = [(member, file.read()) for member, file in members if file]
    with tarfile.open(tar, "w") as new:
        for member, data in reversed(content):
            member.name = prefix + member.name
            new.addfile(member, io.BytesIO(data))


def test_notes_of_places_are_not_needed_and_not_trusted(corpus: Path, sharded: Path) -> None:
    folder = sharded / "labelled.shar"
    (folder / "places.000000.json").unlink()  # as Lhotse alone writes shards
    tar = folder / "recording.000001.tar"
    repack(tar)
    plain, packed = SpeechSet.load(corpus / "labelled.jsonl.gz"), SpeechSet.load(folder)
    assert list(plain.ids) == list(packed.ids)
    for left, right in zip(plain.cuts, packed.cuts, strict=True):
        assert np.array_equal(left.load_audio(), right.load_audio())


def test_a_flipped_byte_of_a_shard_s_audio_is_noticed(sharded: Path) -> None:
    folder = sharded / "labelled.shar"
    tar = folder / "recording.000001.tar"
    (name, (begin, count, _)), *_ = json.loads(places_file(tar).read_text()).items()
    content = bytearray(tar.read_bytes())
    content[begin + count // 2] ^= 1
    tar.write_bytes(content)
    speech = SpeechSet.load(folder)
    with pytest.raises(UserError, match=f"utterance '{name}'.: damaged: SHA-256 differs"):
        speech.cuts[list(speech.ids).index(name)].load_audio()
    other = next(n for n, one in enumerate(speech.ids) if one != name)
    assert len(speech.cuts[other].load_audio())


def test_shards_of_an_older_version_have_no_checks_and_are_read(sharded: Path) -> None:
    folder = sharded / "labelled.shar"
    for path in folder.glob("places.*.json"):
        places = json.loads(path.read_text())
        path.write_text(json.dumps({name: place[:2] for name, place in places.items()}))
    speech = SpeechSet.load(folder)
    assert len(speech.cuts[0].load_audio())


def lhotse_shards(folder: Path, cuts: Sequence[MonoCut], audio: str = "wav") -> Path:
    """Shards as Lhotse alone writes them."""
    folder.mkdir()
    with SharWriter(folder, {"recording": audio}, shard_size=4) as writer:
        for cut in cuts:
            writer.write(cut)
    return folder


def made_cut(folder: Path, name: str, seed: int) -> MonoCut:
    """The right side of a stereo recording."""
    path = folder / f"{seed}.wav"
    sides_NC = np.random.default_rng(seed).standard_normal((8000, 2)) * 0.1
    soundfile.write(path, sides_NC, 16_000, subtype="PCM_16")
    recording = Recording.from_file(path, recording_id=name)
    return MonoCut(name, 0, recording.duration, channel=1, recording=recording)


@pytest.mark.parametrize("stem", ["y" * 120, "\u017e" * 60, "sub/dir", "short.json"])
def test_what_plain_lhotse_packs_is_heard(tmp_path: Path, stem: str) -> None:
    made = [made_cut(tmp_path, f"{stem}{number}", number) for number in range(4)]
    folder = lhotse_shards(tmp_path / "made.shar", made)
    [tar] = folder.glob("recording.*.tar")
    for notes in ({}, dict(audio_places(tar))):  # and of a tar that was packed otherwise
        write_json(places_file(tar), notes)
        repack(tar, prefix="./" if notes else "")
        packed = SpeechSet.load(folder)
        assert not packed.rejects
        for left, right in zip(made, packed.cuts, strict=True):
            assert np.allclose(left.load_audio(), right.load_audio(), atol=1e-4)


def test_audio_at_another_rate_than_the_cuts_say_is_refused(tmp_path: Path) -> None:
    made = [made_cut(tmp_path, f"u{number}", number) for number in range(2)]
    packed = SpeechSet.load(lhotse_shards(tmp_path / "made.shar", made, "opus"))
    with pytest.raises(UserError, match="48000"):
        packed.at_rate(16_000)


def test_a_line_that_is_no_cut_costs_itself_alone(corpus: Path, tmp_path: Path) -> None:
    cuts = list(SpeechSet.load(corpus / "labelled.jsonl.gz").cuts)[:4]
    folder = lhotse_shards(tmp_path / "made.shar", cuts)
    [path] = folder.glob("cuts.*")
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n\n".join([lines[0], b"{oops", *lines[2:], b'{"id": "x"}'])))
    packed = SpeechSet.load(folder)
    assert list(packed.ids) == [cuts[0].id, cuts[2].id, cuts[3].id]
    [(_, lost)] = packed.rejects.items()
    assert (lost["count"], lost["first"]) == (1, cuts[1].id)
    assert "no cut" in lost["reason"]
    path.write_bytes(gzip.compress(b"\n".join([*lines, lines[1]])))
    packed = SpeechSet.load(folder)
    assert list(packed.ids) == [cut.id for cut in cuts]
    [(_, lost)] = packed.rejects.items()
    assert lost["reason"] == f"has '{cuts[1].id}' twice"


@pytest.mark.parametrize("name", ["recording.000000.tar", "places.000000.json"])
def test_a_pipe_and_half_a_character_among_shards(sharded: Path, name: str) -> None:
    folder = sharded / "labelled.shar"
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="a pipe"):
        SpeechSet.load(folder)
    (folder / name).unlink()
    if name.startswith("places"):
        for half in ('{"\\ud800": [0, 1]}', '{"x": [0, 1, "\\ud800"]}', '{"x": ["\\ud800", 1]}'):
            (folder / name).write_text(half)
            assert not SpeechSet.load(folder).rejects


def test_the_same_run_and_a_resume_across_both(train: Train, sharded: Path) -> None:
    plain = train("plain", *PLAIN)
    packed = train("packed", *PLAIN, *of_shards(sharded))
    assert losses(packed) == losses(plain)
    assert read_lines(packed / "utterances.jsonl") == read_lines(plain / "utterances.jsonl")
    train("mixed", *PLAIN, "trainer.total_hours=0.03")
    mixed = train("mixed", *PLAIN, *of_shards(sharded))
    assert losses(mixed) == losses(plain)
    assert same_weights(*(final(run) / "teacher.safetensors" for run in (mixed, plain)))


def test_the_tars_may_be_on_a_web_server(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store, here = tmp_path / "store", tmp_path / "here"
    store.mkdir()
    with served(store) as address:
        options = ["--data", str(corpus), "--sets", "labelled", "--output", str(store)]
        options += ["--shard-size", "7", "--url", address]
        assert main(["prepare", "shar", *options]) == 0
        ignore = shutil.ignore_patterns("recording.*.tar")
        shutil.copytree(store / "labelled.shar", here / "labelled.shar", ignore=ignore)
        plain = SpeechSet.load(corpus / "labelled.jsonl.gz")
        remote = SpeechSet.load(here / "labelled.shar")
        assert np.array_equal(plain.keys, remote.keys)
        assert not Mirror.asked, "the index needs no audio"
        for place in (0, 20, 39):
            assert np.array_equal(plain.cuts[place].load_audio(), remote.cuts[place].load_audio())
        assert all(wanted and wanted.startswith("bytes=") for _, wanted in Mirror.asked)
        (store / "labelled.shar/recording.000000.tar").unlink()
        with pytest.raises(UserError, match=r"recording\.000000\.tar .* cannot be read any more"):
            remote.cuts[1].load_audio()


def test_a_truncated_shard_is_named_and_counted(
    recipe: Path, sharded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = list(SpeechSet.load(sharded / "labelled.shar").ids)
    tar = sharded / "labelled.shar/recording.000002.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    packed = SpeechSet.load(sharded / "labelled.shar")
    [(name, lost)] = packed.rejects.items()
    assert name == "labelled.shar/recording.000002.tar"
    assert 0 < lost["count"] < 7
    assert lost["first"] in whole[14:21]
    assert list(packed.ids) == whole  # they keep their places in the stream
    settings = [*of_shards(sharded), "corpus.max_lost_share=0.2"]
    config = load_config(recipe, settings)
    data = TrainingData(config, make_tokenizer(config.tokenizer))
    [(said, count)] = [item for item in data.left_out.items() if "shard" in item[0]]
    assert "labelled.shar/recording.000002.tar is truncated" in said
    assert lost["first"] in said
    assert count == lost["count"]
    capsys.readouterr()
    assert main(["check", str(recipe), *settings]) == 2
    assert "shard labelled.shar/recording.000002.tar" in capsys.readouterr().out
    heard = Readable.of(packed.cuts, range(len(packed)))
    assert len(heard.lost) == count


def test_other_damage(sharded: Path) -> None:
    folder = sharded / "labelled.shar"
    (folder / "recording.000000.tar").unlink()
    cuts = folder / "cuts.000001.jsonl.gz"
    cuts.write_bytes(cuts.read_bytes()[:-30])
    packed = SpeechSet.load(folder)
    assert packed.rejects["labelled.shar/recording.000000.tar"]["count"] == 7
    damaged = packed.rejects["labelled.shar/cuts.000001.jsonl.gz"]
    assert "damaged" in damaged["reason"]
    assert len(packed) == 40 - damaged["count"]
    (folder / "cuts.000002.jsonl.gz").write_bytes(b"")
    (folder / "cuts.000004.jsonl.gz").unlink()
    packed = SpeechSet.load(folder)
    for number in (2, 4):
        assert packed.rejects[f"labelled.shar/cuts.00000{number}.jsonl.gz"]["count"] == 7
    assert len(packed) == 40 - 7 - 7 - damaged["count"]
    # A shard that is lost while a run reads it.
    tar = folder / "recording.000003.tar"
    tar.write_bytes(b"")
    last = max(i for i, name in enumerate(packed.ids) if name in _ids_of(packed, tar))
    with pytest.raises(UserError, match=r"recording\.000003\.tar .* has become shorter"):
        packed.cuts[last].load_audio()
    for path in folder.glob("cuts.*"):
        path.unlink()
    with pytest.raises(UserError, match=r"holds no cuts"):
        open_index(folder)


def _ids_of(speech: SpeechSet, tar: Path) -> set[str]:
    [manifest] = speech.manifests
    records = [manifest.record(row) for row in range(len(manifest))]
    return {r["id"] for r in records if r["recording"]["sources"][0]["source"] == tar.name}


def test_other_transcripts_and_a_second_call_meanwhile_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    manifest = data / "labelled.jsonl.gz"
    shutil.copyfile(corpus / manifest.name, manifest)
    options = ["--data", str(data), "--sets", "labelled", "--jobs", "1"]
    held = data / f".labelled.shar.partial-{mark_of(manifest, 1000)}"
    held.mkdir()
    with locked(held):
        assert main(["prepare", "shar", *options]) == 2
    assert "another preparation is writing there" in capsys.readouterr().err
    assert main(["prepare", "shar", *options]) == 0
    lines = gzip.decompress(manifest.read_bytes())
    manifest.write_bytes(gzip.compress(lines.replace(b'"text": "a', b'"text": "b')))
    assert main(["prepare", "shar", *options]) == 2
    assert "other utterances or transcripts" in capsys.readouterr().err
    (data / "labelled.shar/shar.json").write_text("{")
    assert main(["prepare", "shar", *options]) == 2
    assert main(["prepare", "shar", *options[:3], "labelled.shar"]) == 2
    assert "in shards already" in capsys.readouterr().err


def test_a_pipe_in_place_of_a_recording_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was waited for without an end."""
    (tmp_path / "audio").mkdir()
    cuts = [made_cut(tmp_path / "audio", f"u{number}", number) for number in range(2)]
    CutSet.from_cuts(cuts).to_file(tmp_path / "set.jsonl.gz")
    path = Path(cuts[1].recording.sources[0].source)
    path.unlink()
    os.mkfifo(path)
    assert main(["prepare", "shar", "--data", str(tmp_path), "--sets", "set", "--jobs", "1"]) == 2
    assert f"{path}: a pipe" in capsys.readouterr().err


def mark_of(manifest: Path, shard_size: int) -> str:
    """Of the folder in which a set's shards are made."""
    lines = gzip.decompress(manifest.read_bytes())
    stamp = {
        "utterances": lines.count(b"\n"),
        "sha256": hashlib.sha256(lines).hexdigest(),
        "shard_size": shard_size,
        "format": "flac",
    }
    return hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:12]


def test_an_interrupted_call_goes_on(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(corpus), "--sets", "labelled", "--shard-size", "10", "--jobs", "1"]
    assert main(["prepare", "shar", *options, "--output", str(tmp_path / "whole")]) == 0
    done = tmp_path / "whole/labelled.shar"
    stamp = json.loads((done / "shar.json").read_text())
    mark = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:12]
    left = tmp_path / f"again/.labelled.shar.partial-{mark}"
    left.mkdir(parents=True)
    for name in ("cuts.000001.jsonl.gz", "places.000001.json", "recording.000001.tar"):
        shutil.copyfile(done / name, left / name)
    (left / "shard-000002").mkdir()
    assert main(["prepare", "shar", *options, "--output", str(tmp_path / "again")]) == 0
    assert "continuing: 1 of 4 shards are there" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "again/labelled.shar").iterdir()) == sorted(
        p.name for p in done.iterdir()
    )
    assert main(["prepare", "shar", *options, "--output", str(tmp_path / "again")]) == 0
    assert "nothing to do" in capsys.readouterr().out
    other = [*options[:-3], "9", "--jobs", "1", "--output", str(tmp_path / "again")]
    assert main(["prepare", "shar", *other]) == 2
    assert "in another way; delete it" in capsys.readouterr().err
    assert main(["prepare", "shar", "--data", str(corpus), "--sets", "nope"]) == 2
    assert "no such set" in capsys.readouterr().err
