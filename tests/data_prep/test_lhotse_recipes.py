"""Corpora that Lhotse has recipes for, on small trees of their layouts."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from data_prep_helpers import cuts_of, rejects_of, write_audio

from asr.data_prep import cli
from asr.errors import UserError

Expected = dict[str, dict[str, tuple[str, float]]]
"""Set -> id -> text and seconds."""


def prepare(output: Path, name: str, *arguments: str | Path) -> int:
    options = ("--output", str(output), "--jobs", "1")
    return cli.main(["lhotse", name, *options, "--", *map(str, arguments)])


def common_voice(root: Path) -> tuple[list[str], Expected]:
    columns = (
        "client_id path sentence up_votes down_votes age gender accents variant locale segment"
    )
    for part, clips in {"train": ("a", "b"), "dev": ("c",), "test": ("d",)}.items():
        rows = [columns.replace(" ", "\t")]
        for clip in clips:
            write_audio(root / "pl" / "clips" / f"{clip}.mp3", seconds=1.0, rate_hz=32_000)
            said = f'"Zdanie {clip}'  # Common Voice has quotes that are never closed
            rows.append(f"client\t{clip}.mp3\t{said}\t2\t0\t\tmale\t\t\tpl\t")
        rows.append("client\tgone.mp3\tNie ma\t2\t0\t\t\t\t\tpl\t")
        (root / "pl" / f"{part}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    said = {clip: (f'"Zdanie {clip}', 1.0) for clip in "abcd"}
    parts = {"train": "ab", "dev": "c", "test": "d"}
    expected = {part: {clip: said[clip] for clip in clips} for part, clips in parts.items()}
    return ["-l", "pl", "-s", "train", str(root)], {"train": expected["train"]}


def ted_lium(root: Path) -> tuple[list[str], Expected]:
    for part in ("train", "dev", "test"):
        sph = root / "legacy" / part / "sph" / f"Talk_{part}.sph"
        sph.parent.mkdir(parents=True)
        write_audio(root / "talk.wav", seconds=3.0)
        samples, rate = soundfile.read(root / "talk.wav", dtype="int16")
        soundfile.write(sph, samples, rate, format="NIST", subtype="PCM_16")
        stm = root / "legacy" / part / "stm" / f"Talk_{part}.stm"
        stm.parent.mkdir(parents=True)
        head = f"Talk_{part} 1 talk"
        stm.write_text(
            f"{head} 0.00 0.50 <NA> ignore_time_segment_in_scoring\n"
            f"{head} 0.50 1.50 <o,f0,male> it 's a {{NOISE}} talk\n"
            f"{head} 2.00 2.75 <o,f0,male> thank you\n"
        )
    return [str(root)], {
        part: {
            f"Talk_{part}-1": ("it 's a [NOISE] talk", 1.0),
            f"Talk_{part}-2": ("thank you", 0.75),
        }
        for part in ("train", "dev", "test")
    }


def ami(root: Path) -> tuple[list[str], Expected]:
    notes = root / "ami_public_manual_1.6.2"
    for folder in ("corpusResources", "segments", "words"):
        (notes / folder).mkdir(parents=True)
    meetings, expected = [], {}
    for part, meeting in (("train", "ES2002a"), ("dev", "ES2011a"), ("test", "ES2004a")):
        agents = (("A", "FEE005", 0, 0.5), ("B", "MEE006", 1, 1.0))
        for agent, _, channel, begin in agents:
            audio = root / "wav" / meeting / "audio" / f"{meeting}.Headset-{channel}.wav"
            write_audio(audio, seconds=4.0)
            times = f'transcriber_start="{begin}" transcriber_end="{begin + 1.5}"'
            (notes / "segments" / f"{meeting}.{agent}.segments.xml").write_text(
                f"<root><segment {times}/></root>"
            )
            words = "".join(
                f'<w starttime="{begin + n / 2}" endtime="{begin + n / 2 + 0.5}">{word}</w>'
                for n, word in enumerate(("Hello", "there"))
            )
            path = notes / "words" / f"{meeting}.{agent}.words.xml"
            path.write_text(f"<root>{words}</root>")
        speakers = "".join(
            f'<speaker nxt_agent="{agent}" global_name="{name}" channel="{channel}"/>'
            for agent, name, channel, _ in agents
        )
        meetings.append(f'<meeting observation="{meeting}">{speakers}</meeting>')
        said = {f"{meeting}-{channel}-0": ("HELLO THERE", 1.0) for channel in (0, 1)}
        expected[part] = said
    table = notes / "corpusResources" / "meetings.xml"
    table.write_text(f"<meetings>{''.join(meetings)}</meetings>")
    return [str(root)], expected


def mls(root: Path) -> tuple[list[str], Expected]:
    home = root / "mls_polish"
    expected: Expected = {}
    for number, part in enumerate(("train", "dev", "test")):
        name = f"12{number}_34_00000{number}"
        write_audio(home / part / "audio" / "12" / "34" / f"{name}.flac", seconds=1.5)
        (home / part / "transcripts.txt").write_text(f"{name}\tdzień dobry\n", encoding="utf-8")
        expected[part] = {name: ("dzień dobry", 1.5)}
    rows = [" 120 | M | train ", " 121 | F | dev ", " 122 | F | test "]
    (home / "metainfo.txt").write_text("\n".join(rows) + "\n")
    return ["--flac", str(root)], expected


def aishell(root: Path) -> tuple[list[str], Expected]:
    home = root / "data_aishell"
    for part, speaker in (("train", "S0002"), ("dev", "S0724"), ("test", "S0764")):
        write_audio(home / "wav" / part / speaker / f"BAC009{speaker}W0122.wav", seconds=1.25)
    (home / "transcript").mkdir()
    table = "BAC009S0002W0122 而 对 楼市\nBAC009S0724W0122 楼市\nBAC009S0764W0122 甚至 出现\n"
    (home / "transcript" / "aishell_transcript_v0.8.txt").write_text(table, encoding="utf-8")
    return [str(root)], {
        "train": {"BAC009S0002W0122": ("而对楼市", 1.25)},
        "dev": {"BAC009S0724W0122": ("楼市", 1.25)},
        "test": {"BAC009S0764W0122": ("甚至出现", 1.25)},
    }


def gigaspeech(root: Path) -> tuple[list[str], Expected]:
    audio_file = root / "audio" / "podcast" / "P0001.opus"
    write_audio(audio_file.with_suffix(".ogg"), seconds=3.0, subtype="OPUS").rename(audio_file)
    segments = [
        {"sid": f"P1_{n}", "begin_time": b, "end_time": b + 1.0, "speaker": "N/A", "text_tn": text}
        for n, (b, text) in enumerate([(0.5, "AS THEY'RE <COMMA> LEAVING"), (1.5, "<SIL>")])
    ]
    audio = {
        "aid": "P1",
        "path": "audio/podcast/P0001.opus",
        "sample_rate": 16_000,
        "channels": 1,
        "duration": 3.0,
        "segments": segments,
    }
    (root / "GigaSpeech.json").write_text(json.dumps({"audios": [audio]}))
    said = {one["sid"]: (one["text_tn"], 1.0) for one in segments}
    return ["--subset", "XS", str(root)], {"XS": said}


class _GigaSpeech:
    """What Lhotse asks of the class in the package speechcolab, which reads the same file."""

    def __init__(self, folder: Path) -> None:
        self.gigaspeech_dataset_dir = Path(folder)

    def audios(self, _subset: str) -> Any:
        path = self.gigaspeech_dataset_dir / "GigaSpeech.json"
        return json.loads(path.read_text())["audios"]


@pytest.fixture
def speechcolab(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("speechcolab", "speechcolab.datasets", "speechcolab.datasets.gigaspeech"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules[name], "GigaSpeech", _GigaSpeech, raising=False)
    from lhotse.recipes import gigaspeech as recipe

    monkeypatch.setattr(recipe, "is_module_available", lambda *_: True)


@pytest.mark.usefixtures("speechcolab")
@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("commonvoice", common_voice, marks=pytest.mark.slow),  # it spawns processes
        ("tedlium", ted_lium),
        ("ami", ami),
        ("mls", mls),
        ("aishell", aishell),
        ("gigaspeech", gigaspeech),
    ],
)
def test_what_a_recipe_writes_is_taken(
    tmp_path: Path, name: str, make: Callable[[Path], tuple[list[str], Expected]]
) -> None:
    (tmp_path / "corpus").mkdir()
    arguments, expected = make(tmp_path / "corpus")
    assert prepare(tmp_path / "out", name, *arguments) == 0
    there = sorted(path.name.split(".")[0] for path in (tmp_path / "out").glob("*.jsonl.gz"))
    assert there == sorted(expected)
    for part, utterances in expected.items():
        cuts = {cut.id: cut for cut in cuts_of(tmp_path / "out", part)}
        found = {key: (cut.supervisions[0].text, cut.duration) for key, cut in cuts.items()}
        assert found == utterances
        for cut in cuts.values():
            assert cut.load_audio().shape == (1, round(cut.duration * 16_000))
    assert rejects_of(tmp_path / "out") == []


def test_a_recipe_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recipe 'tedlum'; did you mean 'tedlium'"):
        prepare(tmp_path / "out", "tedlum")
    with pytest.raises(UserError, match=r"Missing argument 'OUTPUT_DIR'.*less its last one"):
        prepare(tmp_path / "out", "aishell")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"lhotse prepare aishell: FileNotFoundError: .*transcript"):
        prepare(tmp_path / "out", "aishell", tmp_path / "empty")
    with pytest.raises(UserError, match="takes no such"):
        cli.main(["folder", "--root", str(tmp_path), "--output", "x", "--", "more"])
