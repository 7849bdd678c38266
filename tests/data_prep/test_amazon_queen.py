from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from data_prep_helpers import cuts_of, rejects_of, summary_of
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from queen_game import make_game, pack_container, pack_dialogue

from asr.data_prep import cli
from asr.data_prep.corpora.amazon_queen import corpus
from asr.data_prep.corpora.amazon_queen.container import parse_container, read_container
from asr.data_prep.corpora.amazon_queen.dialogue import (
    character_of,
    cut_segments,
    list_segments,
    read_dialogue,
)
from asr.data_prep.corpora.amazon_queen.texts import CHARACTERS, letters_text, written_text
from asr.data_prep.corpora.splits import position
from asr.errors import UserError

# Joe's texts fall by their hash; these are chosen so that training, dev and test have some.
_WORDS = """alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa
quebec romeo sierra tango uniform victor whiskey x-ray yankee zulu"""
_JOES = [f"{word}, {word}." for word in _WORDS.split()]
_BOBS = [f"Bob's line {'very ' * n}long?" for n in range(12)]


def make_small_game(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Bob (2) trains, Sparky (60) tests, Frank (30) develops; each has Okay, an ambiguous text, a gulp."""
    okay = [(90, "*02Okay.*FL"), (91, "One of two"), (91, "Two of two"), (92, "<gulp>")]
    dialogues = {
        "BOB1": pack_dialogue(
            2, list(enumerate(_JOES)), [*enumerate(_BOBS), *okay, (93, "In 1940's!")]
        ),
        "SPARKY2": pack_dialogue(60, [], [(1, "First*02and second.*03"), *okay]),
        "FRANK": pack_dialogue(30, [], [(1, "Frankly, my dear"), *okay], levels=-3),
    }
    segments = [f"02{n:04X}J1" for n in range(len(_JOES))]
    segments += [f"02{n:04X}P1" for n in range(len(_BOBS))] + ["02005DP1"]
    segments += ["600001P1", "600001P2", "300001P1"]
    for key in ("02", "60", "30"):
        segments += [f"{key}005AP2", f"{key}005BP1", f"{key}005CP1", f"{key}XXXXP1"]
    segments += ["JOE00431", "JOE00401", "C10A0011"]
    remarks = ["A first*03", "A second", "Joe finds it @@lovely@@, TV^_ and all*24"]
    path = make_game(folder / "tree/usr/queen.1c", dialogues, remarks, segments)
    patch.setattr(corpus, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_small_game(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared game, for tests that only look."""
    folder = tmp_path_factory.mktemp("queen")
    with pytest.MonkeyPatch.context() as patch:
        assert prepare(folder / "out", make_small_game(folder, patch)) == 0
    return folder / "out"


def prepare(output: Path, source: Path, *more: str) -> int:
    return cli.main(
        [
            *("amazon_queen", "--output", str(output), "--source", str(source)),
            *("--jobs", "1", "--labelled-minutes", "0.1", *more),
        ]
    )


def texts(output: Path, name: str) -> dict[str, str | None]:
    return {cut.id: cut.supervisions[0].text for cut in cuts_of(output, name)}


def test_sets_speakers_and_texts(output: Path) -> None:
    test, dev = texts(output, "test"), texts(output, "dev")
    assert test["600001P1"] == "FIRST"
    assert test["600001P2"] == "AND SECOND"
    assert test["60005AP2"] == "OKAY"
    assert dev["300001P1"] == "FRANKLY MY DEAR"
    for cut in (*cuts_of(output, "test"), *cuts_of(output, "dev")):
        assert cut.supervisions[0].speaker in {"joe", "sparky", "frank"}
        assert cut.recording.sampling_rate == 16_000
        assert set(cut.supervisions[0].text) <= {*CHARACTERS, " "}
    free = {
        cut.id: cut.supervisions[0].speaker for cut in cuts_of(output, "untranscribed_no_reference")
    }
    assert free == {"02XXXXP1": "bob", "JOE00401": "joe", "C10A0011": None}
    labelled = cuts_of(output, "labelled")
    assert 0 < sum(cut.duration for cut in labelled) <= 6 + 1e-6
    assert {cut.id for cut in labelled}.isdisjoint(
        {cut.id for cut in cuts_of(output, "untranscribed")}
    )


def test_joes_texts_are_dealt_by_their_hash(output: Path) -> None:
    found = {n: set(texts(output, n)) for n in ("test", "dev", "labelled_all")}
    places = {f"02{n:04X}J1": position(letters_text(text)) for n, text in enumerate(_JOES)}
    for name, place in places.items():
        wanted = "test" if place < 0.06 else "dev" if place < 0.10 else "labelled_all"
        others = {one for one, names in found.items() if name in names}
        assert others <= {wanted}, "a text may only be left out besides"


def test_what_is_left_out_is_counted(output: Path) -> None:
    reasons: dict[str, set[str]] = {}
    for line in rejects_of(output):
        reasons.setdefault(line["reason"], set()).add(line["id"])
    assert reasons["ambiguous_text"] == {"02005BP1", "60005BP1", "30005BP1"}
    assert reasons["held_out_character"] == {"60XXXXP1", "30XXXXP1"}
    assert reasons["empty_text"] == {"60005CP1"}  # the others' is near it, and so left out before
    assert reasons["text_characters"] == {"02005DP1"}
    assert {"02005AP2", "30005AP2"} <= reasons["text_in_test"]
    kept = [cut.id for name in ("test", "dev", "labelled_all") for cut in cuts_of(output, name)]
    kept += [cut.id for cut in cuts_of(output, "untranscribed_no_reference")]
    listed = len(list_segments(read_container(output.parent / "tree/usr/queen.1c")))
    assert (
        listed
        == len(set(kept)) + len(rejects_of(output))
        == len(kept) + sum(map(len, reasons.values()))
    )


def test_training_hears_no_text_of_dev_and_test(output: Path) -> None:
    held = {*texts(output, "test").values(), *texts(output, "dev").values()}
    assert held.isdisjoint(texts(output, "labelled_all").values())


def test_a_near_text_of_training_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "For a rash cure I need the following ingredients"
    near, far = f"{long}, Joe:", "For a cure I need these ingredients"
    dialogues = {
        "NAOMI": pack_dialogue(3, [], [(1, long + ":")]),
        "BOB1": pack_dialogue(2, [], [(1, near), (2, far)]),
    }
    path = make_game(tmp_path / "queen.1c", dialogues, [], ["030001P1", "020001P1", "020002P1"])
    monkeypatch.setattr(corpus, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    prepare(tmp_path / "out", path)
    assert list(texts(tmp_path / "out", "labelled_all")) == ["020002P1"]
    assert [line["reason"] for line in rejects_of(tmp_path / "out")] == ["text_in_test"]


def test_references_stay_aside_and_come_back_for_the_oracle(output: Path) -> None:
    withheld = cuts_of(output, "untranscribed")
    assert withheld
    assert all(
        cut.supervisions[0].text is None and not cut.supervisions[0].custom for cut in withheld
    )
    every = texts(output, "labelled_all")
    assert set(every) == {
        cut.id for name in ("labelled", "untranscribed") for cut in cuts_of(output, name)
    }
    lines = (output / "references/untranscribed.tsv").read_text().splitlines()
    references = dict(line.split("\t") for line in lines)
    assert references == {name: every[name] for name in texts(output, "untranscribed")}


def test_the_written_form_has_the_same_audio(output: Path) -> None:
    for name in ("test", "dev", "labelled", "labelled_all"):
        plain, written = cuts_of(output, name), cuts_of(output, f"{name}_written")
        assert [cut.id for cut in plain] == [cut.id for cut in written]
        for one, other in zip(plain, written, strict=True):
            assert one.recording == other.recording
            assert other.supervisions[0].text == one.supervisions[0].custom["text_written"]
            assert letters_text(other.supervisions[0].text) == one.supervisions[0].text
    assert texts(output, "test_written")["600001P2"] == "and second."


def test_more_labelled_minutes_only_add(game: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "less", game, "--labelled-minutes", "0.05")
    prepare(tmp_path / "more", game, "--labelled-minutes", "100")
    less, more = texts(tmp_path / "less", "labelled"), texts(tmp_path / "more", "labelled")
    assert less
    assert set(less) < set(more)
    assert not (tmp_path / "more" / "untranscribed.jsonl.gz").exists()
    assert more == texts(tmp_path / "less", "labelled_all")


def test_prepared_again_nothing_is_written_and_what_is_missing_comes_back(
    game: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    prepare(output, game)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.jsonl.gz")}
    lost = output / "test_written.jsonl.gz"
    content = lost.read_bytes()
    lost.unlink()
    prepare(output, game)
    assert lost.read_bytes() == content
    assert {p: p.stat().st_mtime_ns for p in before if p != lost} == {
        p: t for p, t in before.items() if p != lost
    }
    prepare(output, game, "--labelled-minutes", "0.05")
    assert texts(output, "labelled_written").keys() == texts(output, "labelled").keys()
    assert summary_of(output)["sets"]["labelled"]["utterances"] == len(texts(output, "labelled"))


def test_a_limit_goes_for_each_set(game: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", game, "--limit-minutes", "0.02")
    for name in ("test", "labelled", "untranscribed", "untranscribed_no_reference"):
        assert len(texts(tmp_path / "out", name)) == 2, name


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")
def test_a_package_and_a_folder_are_sources(game: Path, tmp_path: Path) -> None:
    tree = game.parents[1]
    prepare(tmp_path / "out", tree)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: flight-of-the-amazon-queen\nVersion: 1\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: a tiny game\n"
    )
    package = tmp_path / "game.deb"
    subprocess.run(["dpkg-deb", "-b", tree, package], check=True, capture_output=True)
    prepare(tmp_path / "out2", package)
    assert texts(tmp_path / "out", "test") == texts(tmp_path / "out2", "test")


def test_another_game_file_is_refused(game: Path, tmp_path: Path) -> None:
    game.write_bytes(game.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"queen\.1c: is not the queen\.1c .*SHA-256.*1\.0\.0-9"):
        prepare(tmp_path / "out", game)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no queen\.1c.*name the \.deb"):
        prepare(tmp_path / "out", tmp_path / "empty")
    with pytest.raises(UserError, match="--labelled-minutes -1"):
        prepare(tmp_path / "out", game, "--labelled-minutes", "-1")


_NAMES = st.from_regex(re.compile(r"[A-Z0-9_]{1,8}\.[A-Z]{2,3}", re.ASCII), fullmatch=True)


@settings(max_examples=30)
@given(st.dictionaries(_NAMES, st.binary(max_size=40), max_size=8))
def test_a_container_reads_back(resources: dict[str, bytes]) -> None:
    found = parse_container(pack_container(resources), Path("queen.1c"))
    assert list(found.resources.items()) == list(resources.items())


_STRINGS = st.lists(
    st.tuples(st.integers(0, 65_535), st.text(st.characters(codec="cp437"), max_size=255)),
    max_size=6,
)


@settings(max_examples=30)
@given(st.integers(0, 99), _STRINGS, _STRINGS, st.integers(-20, 20))
def test_a_dialogue_reads_back(
    key: int, joe: list[tuple[int, str]], other: list[tuple[int, str]], levels: int
) -> None:
    found = read_dialogue(pack_dialogue(key, joe, other, levels), "X.DOG")
    assert (found.key, found.joe, found.other) == (key, joe, other)


@pytest.mark.parametrize("length", [0, 20, 40, 47, 150, 165])
def test_a_dialogue_cut_short_is_explained(length: int) -> None:
    whole = pack_dialogue(2, [(1, "Hello")], [(2, "And goodbye")])
    with pytest.raises(UserError, match=r"BOB1\.DOG: not a dialogue"):
        read_dialogue(whole[:length], "BOB1.DOG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with QTBL"),
        (b"ZIP!" + bytes(20), "does not begin with QTBL"),
        (pack_container({"A.SB": b"abc"}, compression=2), "compression 2"),
        (pack_container({"A.SB": b"abc"})[:30], "ends within its table of 1"),
        (pack_container({"A.SB": b"abc"})[:-1], r"'A\.SB', ends at byte 39, the file at 38"),
        (pack_container({"../A.SB": b"abc"}), "has a name that is none"),
    ],
)
def test_damaged_containers_are_explained(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "queen.1c").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_container(tmp_path / "queen.1c")


@pytest.mark.parametrize(
    ("text", "written", "letters"),
    [
        (" Hi, I'm  Joe King. ", "Hi, I'm Joe King.", "HI I'M JOE KING"),
        ("Super Soldier Treatment^_.", "Super Soldier Treatment.", "SUPER SOLDIER TREATMENT"),
        ("@@ She's beautiful! @@", "She's beautiful!", "SHE'S BEAUTIFUL"),
        ("(sigh) Well - 'tis 'odd'", "Well - 'tis 'odd'", "WELL 'TIS 'ODD'"),
        ("<gulp>", "", ""),
        ("in 1844, 24 Hour", "in 1844, 24 Hour", "IN EIGHTEEN FORTY FOUR TWENTY FOUR HOUR"),
        ("at 19:00, 2B, 1940's, 1900", "at 19:00, 2B, 1940's, 1900", "AT 19 00 2B 1940'S 1900"),
        ("only 7 and 12", "only 7 and 12", "ONLY SEVEN AND TWELVE"),
    ],
)
def test_texts(text: str, written: str, letters: str) -> None:
    assert written_text(text) == written
    assert letters_text(written) == letters


@given(st.text())
@example("Take 10: go.")
@example("At 10:30 or 1.5")
def test_letters_are_stable(text: str) -> None:
    letters = letters_text(written_text(text))
    assume(not any(map(str.isdigit, letters)))  # what cannot be spelt is for validation to refuse
    assert letters_text(letters) == letters == " ".join(letters.split())


def test_segments_and_characters() -> None:
    assert cut_segments("*01*01Ooop!*02Ungh*03") == ["", "", "Ooop!", "Ungh", ""]
    assert [character_of(name) for name in ("FAYE2", "DOG", "ORACLE3")] == ["faye", "dog", "oracle"]
