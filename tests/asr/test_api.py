"""The Python interface: its examples run as they stand, and it agrees with the command line."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import FLUENT, LETTERS, PLAIN, SAMPLE_RATE_HZ, tones
from lhotse import CutSet

import asr
from asr.__main__ import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def here(
    fluent: Path, recipe: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory as the examples want it: exp/run, data, recipe.yaml, talk.wav."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/run").symlink_to(fluent)
    (tmp_path / "data").symlink_to(corpus)
    tree = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    talk = tones("abc deh fgabc", np.random.default_rng(5))
    soundfile.write(tmp_path / "talk.wav", talk, SAMPLE_RATE_HZ)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [n for n in asr.__all__ if n[0].islower()])
def test_the_examples_of_the_docstrings_run(name: str, here: Path) -> None:
    function = getattr(asr, name)
    [example] = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert example.examples
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)


def test_the_example_of_the_readme_runs(here: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "abc deh fgabc" in done.stdout


def test_importing_it_is_cheap() -> None:
    code = "import sys, asr; assert not {'torch', 'numpy', 'pydantic'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert dir(asr) == sorted(asr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'transcibe'"):
        asr.transcibe  # noqa: B018


def test_it_is_typed(tmp_path: Path) -> None:
    """A user's own code passes mypy's strictest check."""
    own = tmp_path / "own.py"
    own.write_text(
        "import asr\n"
        "model: asr.LoadedModel = asr.load_model('exp/run', weights='student', average=2)\n"
        "text: str = asr.transcribe(model, 'talk.wav').text\n"
        "wer: float = asr.score(asr.decode(model, 'data/dev.jsonl.gz')).wer\n"
        "delta: float = asr.compare(['a'], ['b'], references=['a']).delta_wer\n"
        "done: bool = asr.train(asr.load_config('recipe.yaml', {'model.layers': 2}))\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    checked = subprocess.run([*command, str(own)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_an_array_reads_as_its_file_does(here: Path) -> None:
    model = asr.load_model("exp/run", device="cpu")
    from_file = asr.transcribe(model, "talk.wav")
    samples, rate = soundfile.read(here / "talk.wav", dtype="float32")
    whole, _ = soundfile.read(here / "talk.wav", dtype="int16")
    stereo = np.stack([samples, samples], axis=1)
    for given in (samples, samples.astype(np.float64), whole, stereo):
        assert asr.transcribe(model, (given, rate)).words == from_file.words
    assert from_file.segments[0].text.startswith("abc")
    assert json.loads(from_file.to("json"))["text"] == from_file.text
    for bad, what in (
        (samples[:0], "shape"),
        (samples * np.nan, "NaN"),
        (samples[None, None], "shape"),
    ):
        with pytest.raises(asr.UserError, match=what):
            asr.transcribe(model, (bad, rate))
    with pytest.raises(asr.UserError, match="name one of txt"):
        from_file.to("doc")


def test_a_set_decodes_as_on_the_command_line(here: Path) -> None:
    assert main(["decode", "exp/run", "data/dev.jsonl.gz", "--output", "dev.jsonl"]) == 0
    model = asr.load_model("exp/run")
    decoded = asr.decode(model, "data/dev.jsonl.gz")
    written = {
        line["id"]: line["hypothesis"]
        for line in map(json.loads, Path("dev.jsonl").read_text(encoding="utf-8").splitlines())
    }
    assert {one.id: one.hypothesis for one in decoded} == written
    in_memory = asr.decode(model, CutSet.from_file("data/dev.jsonl.gz"))
    assert [one.hypothesis for one in in_memory] == [one.hypothesis for one in decoded]
    assert asr.score("dev.jsonl") == asr.score(decoded)
    assert asr.compare(decoded, "dev.jsonl").delta_wer == 0.0


def test_texts_in_every_form_score_alike(tmp_path: Path) -> None:
    references, hypotheses = ["A B C", "D"], ["A X C", "D"]
    scored = asr.score(references, hypotheses)
    assert (scored.wer, scored.utterances) == (25.0, 2)
    by_id = asr.score(
        dict(zip("ab", references, strict=True)), dict(zip("ab", hypotheses, strict=True))
    )
    assert by_id == scored
    for name, texts in (("r.tsv", references), ("h.tsv", hypotheses)):
        lines = [f"{key}\t{text}\n" for key, text in zip("ab", texts, strict=True)]
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
    assert asr.score(tmp_path / "r.tsv", tmp_path / "h.tsv") == scored
    assert asr.score(["a  b"], ["A, b"], normaliser="librispeech").wer == 0.0
    for pair, what in (
        ((references, hypotheses[:1]), "do not go together"),
        ((references,), "without references"),
        ((references, tmp_path / "h.tsv"), "give two files"),
        (([], []), "nothing to score"),
    ):
        with pytest.raises(asr.UserError, match=what):
            asr.score(*pair)


def test_a_recipe_trains_in_this_process(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = (setting.partition("=") for setting in [*PLAIN, *FLUENT])
    overrides = {key: yaml.safe_load(value) for key, _, value in pairs}
    short = {**overrides, "trainer.total_hours": 0.01, "output": "exp/short"}
    config = asr.load_config("recipe.yaml", short)
    assert asr.train(config)
    assert asr.train(config), "a finished run does nothing"
    output = capsys.readouterr()
    assert "saved" not in output.out + output.err, "what train.log has is not printed"
    assert output.out == ""
    model = asr.load_model("exp/short", weights="student")
    assert model.tokenizer.vocabulary_size == len(LETTERS) + 2
    with pytest.raises(asr.UserError, match=r"unknown key 'model\.widht'; did you mean 'width'"):
        asr.load_config("recipe.yaml", {"model.widht": 3})
