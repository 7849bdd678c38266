"""The remedy in a message, followed to the letter, works: the commonest messages of a user's way.

Each test takes the command, option, key or file to be used from the message itself.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import needs_beam_search, read_lines
from remedy_helpers import RECIPE, Home, found, make_home

LONGER = "trainer.total_hours=0.012"
"""Goes on from the finished run."""
LATE = "pseudo_label.start_hours=null"
"""Without labels."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only, but for recordings that are put back."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_home()
    return folder


@pytest.fixture
def home(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Home:
    """A copy of all but the recordings, as the working directory."""
    ignored = shutil.ignore_patterns(".index", "audio")
    shutil.copytree(made, tmp_path / "home", ignore=ignored)
    monkeypatch.chdir(tmp_path / "home")
    return Home(tmp_path / "home", capsys)


# Recipes.


@pytest.mark.parametrize("key", ["model.widht", "learning_rate", "trainer.half_life_hours"])
def test_a_misspelt_key(home: Home, key: str) -> None:
    said = home.message("plan", "tiny.yaml", f"{key}=4")
    meant = found(r"did you mean '([\w.]+)'", said)
    shown = home.works("train", "tiny.yaml", f"{meant}=4", "--print-config")
    assert re.search(rf"\b{meant.rpartition('.')[2]}: 4(\.0)?\b", shown)


def test_a_value_of_another_kind(home: Home) -> None:
    text = Path("tiny.yaml").read_text(encoding="utf-8")
    Path("tiny.yaml").write_text(text.replace("width: 16", "width: wide"), encoding="utf-8")
    said = home.message("plan", "tiny.yaml")
    key = found(r"'model\.(\w+)' \(received 'wide'\)", said)
    command = found(r"`asr (train RECIPE --print-config)`", said).replace("RECIPE", "tiny.yaml")
    status, shown, _ = home.run(*command.split())
    assert status == 2, "the recipe is still at fault"
    documented = found(rf"^(  {key}: \d+  # .+)$".replace("^", "(?m)^"), shown)
    value = yaml.safe_load(documented)[key]
    home.works("plan", "tiny.yaml", f"model.{key}={value}")


def test_a_list_and_a_section(home: Home) -> None:
    said = home.message("plan", "tiny.yaml", "corpus.dev=dev")
    home.is_sound(found(r"write (\S+)$", said))
    said = home.message("plan", "tiny.yaml", "corpus.untranscribed=[]")
    key, value = found(r"set (\S+ to \S+?);", said).split(" to ")
    home.works("plan", "tiny.yaml", "corpus.untranscribed=[]", f"{key}={value}")


def test_yaml_that_cannot_be_read(home: Home) -> None:
    text = Path("tiny.yaml").read_text(encoding="utf-8")
    Path("tiny.yaml").write_text(text.replace("  width", "\twidth"), encoding="utf-8")
    said = home.message("plan", "tiny.yaml")
    assert "indent with spaces" in said
    lines = Path("tiny.yaml").read_text(encoding="utf-8").splitlines()
    number = int(found(r"tab character\D+line (\d+)", said)) - 1
    assert "\t" in lines[number]
    lines[number] = lines[number].replace("\t", "  ")
    Path("tiny.yaml").write_text("\n".join(lines), encoding="utf-8")
    home.works("plan", "tiny.yaml")


def test_a_batch_beyond_the_rule(home: Home) -> None:
    kappa_1500 = "scaling.reference_batch_seconds=0.01"
    said = home.message("plan", "tiny.yaml", kappa_1500)
    home.works("plan", "tiny.yaml", kappa_1500, found(r"or (scaling\.\S+?),", said))


# Corpora.


def test_a_corpus_that_is_not_there(home: Home) -> None:
    said = home.message("train", "tiny.yaml", "output=new", "corpus.directory=nowhere")
    key, command = found(r"of a recipe: (\S+?)\)", said), found(r"\(asr (prepare --help)\)", said)
    assert "folder" in home.works(*command.split())
    home.is_sound(f"{key}=data")
    said = home.message("train", "tiny.yaml", "output=new", "corpus.dev=[dve]")
    meant = r"did you mean '(.+?)'"
    home.is_sound(f"corpus.dev=[{found(meant, said)}]")
    said = home.message("decode", "run", "data/dve.jsonl.gz")
    home.works("decode", "run", f"data/{found(meant, said)}.jsonl.gz")


@pytest.mark.parametrize("characters", ["abcdef", "ABCDEFGH"])
def test_characters_outside_the_tokenizer(home: Home, characters: str) -> None:
    own = f"tokenizer.characters={characters}"
    said = home.finding(own)
    assert said in home.message("train", "tiny.yaml", "output=new", own)
    home.is_sound(found(r'set (tokenizer\.characters: "\w+")', said).replace(": ", "=", 1))
    if characters.isupper():
        home.is_sound(own, found(r"set (tokenizer\.normaliser: \w+)", said).replace(": ", "="))


def test_utterances_that_are_too_long(home: Home) -> None:
    own = ["corpus.untranscribed=[]", LATE]
    short = "batch.max_seconds_per_micro_batch=1.2"
    said = home.finding(*own, short)
    key, least = found(r"more than (\S+) 1\.2;", said), found(r"raise that to (\d+) or more", said)
    home.is_sound(*own, f"{key}={least}")
    key, most = found(r"or set (\S+=[\d.]+)", said).split("=")
    said = home.finding(*own, short, f"{key}={most}")
    assert "are left out of training" in said, "and no problem is left but that which was meant"


def test_groups_shorter_than_utterances(home: Home) -> None:
    own = ["corpus.untranscribed=[]", LATE]
    said = home.finding(*own, "batch.group_seconds=0.5")
    key, least = found(r"set (\S+ to \S+) or more", said).split(" to ")
    home.is_sound(*own, f"{key}={least}")


def test_a_labelled_set_without_transcripts(home: Home) -> None:
    named = "corpus.labelled=[labelled,untranscribed]"
    said = home.message("train", "tiny.yaml", "output=new", named, "corpus.untranscribed=[]", LATE)
    key = found(r"move their set to (corpus\.\w+)", said)
    home.is_sound("corpus.labelled=[labelled]", f"{key}=[untranscribed]")


def test_features_that_are_not_stored(home: Home) -> None:
    own = ["features.source=precomputed", "corpus.untranscribed=[]", LATE]
    said = home.finding(*own)
    command = found(r"run `asr (prepare features .+?)`", said).replace("RECIPE", "tiny.yaml")
    home.works(*shlex.split(command))
    name = found(r"name the sets (SET\S+)$", said).replace("SET", "labelled")
    home.is_sound(*own, f"corpus.labelled=[{name}]")


def test_a_lost_recording(home: Home, made: Path) -> None:
    command = ["train", "tiny.yaml", "output=new", LONGER, "corpus.max_lost_share=0"]
    recording = made / "audio" / "labelled" / "u0-003.wav"
    aside = recording.rename(made / "aside.wav")
    try:
        lost = Path(found(r"such as (\S+\.wav) ", home.message(*command)))
        status, said, _ = home.run("check", "tiny.yaml", "output=new")
        assert (status, said.count(str(lost))) == (2, 2), "it is opened, and looked for"
    finally:
        aside.rename(recording)
    assert lost == recording, "what is to be restored"
    home.works(*command)


# Runs.


def test_another_recipe_in_a_run_s_folder(home: Home) -> None:
    other = ["train", "tiny.yaml", LONGER, "model.width=32", "tokenizer.characters=abcdefgh#"]
    said = home.message(*other)
    back = shlex.split(found(r"; set (.+), or begin", said))
    assert len(back) == 2
    folder = found(r"\((output=)FOLDER\)", said)
    home.works(*other, f"{folder}another")
    home.works(*other, *back)
    shorter = ["train", "tiny.yaml", "trainer.total_hours=0.016", "corpus.max_seconds=1"]
    folder = found(r"\((output=)FOLDER\)", home.message(*shorter))
    home.works(*shorter, f"{folder}third")


def test_a_folder_in_which_another_trains(home: Home) -> None:
    holds = (
        "import sys, time; from pathlib import Path; from asr.utils.locks import locked\n"
        "with locked(Path('run/.lock'), signed=True): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", holds], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline()
            said = home.message("train", "tiny.yaml", LONGER)
            home.works("train", "tiny.yaml", found(r"(output=)FOLDER", said) + "another")
            assert int(found(r"\(pid (\d+) ", said)) == other.pid, "which is to be stopped"
        finally:
            other.kill()
    home.works("train", "tiny.yaml", LONGER)


@pytest.mark.parametrize("name", ["student.safetensors", "state.json", "config.yaml"])
def test_a_damaged_checkpoint(home: Home, name: str) -> None:
    latest = Path("run/checkpoints") / Path("run/latest").read_text().strip()
    (latest / name).write_bytes(b"{" + (latest / name).read_bytes())
    said = home.message("train", "tiny.yaml", LONGER)
    assert home.message("decode", "run", "data/dev.jsonl.gz", "--model", "student") == said.replace(
        "asr train", "asr decode"
    )
    shutil.rmtree(found(r"or delete (\S+?): the run then goes on", said))
    said = home.message("decode", "run", "data/dev.jsonl.gz")
    assert latest.name not in found(r"write (\S+) into it", said)
    Path("run/latest").write_text(found(r"write (\S+) into it", said))
    home.works("decode", "run", "data/dev.jsonl.gz")
    home.works("train", "tiny.yaml", LONGER)


def test_a_fork_from_a_run(home: Home) -> None:
    said = home.finding("fork_from=run")
    command = ["train", "tiny.yaml", "output=new", LONGER]
    assert said in home.message(*command, "fork_from=run")
    home.works(*command, "fork_from=" + found(r"name (\S+),", said))


def test_labels_that_never_began(home: Home) -> None:
    own = ["train", "tiny.yaml", "output=new", "pseudo_label.start_hours=0.008"]
    said = found(r"(pseudo-labelling never began: .+)", home.works(*own))
    assert "run the same command" in said
    said = home.works(*own, found(r"raise (\S+) above", said) + "=0.016")
    assert "never began" not in said
    assert any(line.get("loss_pseudo_labelled") for line in read_lines(Path("new/metrics.jsonl")))


def test_half_a_launcher_s_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = home.message("train", "tiny.yaml")
    monkeypatch.delenv(found(r"unset (\w+)$", said))
    home.works("train", "tiny.yaml")


# Afterwards.


def test_averages_that_are_not_there(home: Home) -> None:
    said = home.message("average", "run", "--half-life", "0.005")
    kept = found(r"train with (\S+?),", said)
    home.works("train", "tiny.yaml", "output=new", kept)
    home.works("average", "new", "--half-life", "0.005")
    decode = ["decode", "run", "data/dev.jsonl.gz", "--average"]
    home.works(*decode, found(r"average at most (\d+)", home.message(*decode, "9")))


def test_a_run_that_was_not_decoded(home: Home) -> None:
    command = found(r"run `asr (decode .+?)` first", home.message("score", "run"))
    home.works(*command.replace("SET", "data/dev").split())
    assert "WER" in home.works("score", "run")
    shutil.move("data", "other")
    shutil.copy("other/labelled.jsonl.gz", "other/dev.jsonl.gz")  # a set of the same name
    again = ["decode", "run", "other/dev.jsonl.gz"]
    said = home.message(*again)
    home.works(*again, found(r"give (--output)", said), "elsewhere/dev.jsonl")
    shutil.rmtree(found(r"or delete (\S+)$", said))
    home.works(*again)


@needs_beam_search
def test_a_language_model_that_is_not_there(home: Home) -> None:
    command = ["decode", "run", "data/dev.jsonl.gz", "--lm", "lm.arpa"]
    command += shlex.split(found(r"add (--decoder beam)$", home.message(*command)))
    make = found(r"`asr (prepare lm .+?)` makes one", home.message(*command))
    home.works(*shlex.split(make.replace("SET", "data/labelled")))
    home.works(*command)
    untold = [*command, "--tune", "data/untranscribed.jsonl.gz"]
    assert "name a dev set with its transcripts" in home.message(*untold)
    home.works(*command, "--tune", "data/dev.jsonl.gz")


def test_texts_of_an_unknown_format_and_normaliser(home: Home) -> None:
    Path("ref.txt").write_text("hello world\ngood morning\n")
    Path("hyp.txt").write_text("hello word\ngood morning\n")
    command = ["score", "ref.txt", "hyp.txt"]
    said = home.message(*command)
    options = re.findall(r"(--[\w-]*format) of", said)
    for option in options:
        command += [option, found(r"\(kaldi; (\w+),", said)]
    assert len(options) == 2
    assert "25.00" in home.works(*command)
    for name in found(
        r"name one of (.+?), whisper", home.message(*command, "--normaliser", "no")
    ).split(", "):
        home.works(*command, "--normaliser", name)
    Path("ref.tsv").write_text("a\thello world\nb\tgood morning\n")
    Path("hyp.tsv").write_text("a\thello world\n")
    command = ["score", "ref.tsv", "hyp.tsv"]
    option, one, other = (
        found(r"\(asr score (--missing \w+ or \w+)\)", home.message(*command))
        .replace(" or ", " ")
        .split()
    )
    for choice in (one, other):
        home.works(*command, option, choice)


# Preparation.


def test_folders_as_users_have_them(home: Home, made: Path) -> None:
    shutil.copytree(made / "audio" / "dev", "mine")
    Path("mine/u2-000.txt").write_text("a b")
    command = ["prepare", "folder", "--root", "mine", "--output", "out"]
    said = home.message(*command)
    ways = re.findall(r"--transcripts ([^\s,]+)", said)
    assert len(ways) == 2
    for number, way in enumerate(ways):
        home.works(*command[:-1], f"out{number}", "--transcripts", way)
    shutil.copytree(made / "audio" / "labelled", "more")
    command = ["prepare", "folder", "--root", "more", "--output", "out0"]
    option = found(r"add (--set-name) NAME", home.message(*command))
    home.works(*command, option, "more")
    assert Path("out0/more.jsonl.gz").is_file()


def test_a_sentencepiece_model_that_is_not_there(home: Home) -> None:
    own = ["tokenizer.kind=sentencepiece", "output=new"]
    said = home.finding(*own)
    command = found(r"`asr (prepare tokenizer .+?)`", said)
    command = command.replace("SET", "data/labelled").replace("FOLDER", "tok")
    fewer = found(r"set (--vocabulary-size \d+)", home.message(*command.split()))
    home.works(*command.split(), *fewer.split())
    own.append(found(r"and set (tokenizer\.\S+?),", said).replace("FOLDER", "tok"))
    home.is_sound(*own)
    home.works("train", "tiny.yaml", *own)
    home.works(*command.split(), "--vocabulary-size", "20")  # another in its place
    said = home.message("train", "tiny.yaml", *own, LONGER)
    shutil.copy(*found(r"\(cp (.+?)\)", said).split())
    home.works("train", "tiny.yaml", *own, LONGER)


def test_recipe_of_the_tests(home: Home) -> None:
    home.is_sound()
    assert yaml.safe_load(Path("tiny.yaml").read_text(encoding="utf-8")) == RECIPE
