"""The Python interface: its examples run as they stand, and it agrees with the command line."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from conftest import FLUENT, LETTERS, PLAIN, SAMPLE_RATE_HZ, tones
from lhotse import CutSet
from lhotse.utils import fastcopy

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
    doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(example, out=said.append)
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
    assert asr.transcribe(model, [samples, 16000.0]).words == from_file.words  # type: ignore[arg-type]
    with pytest.raises(asr.UserError, match="name one of txt"):
        from_file.to("doc")


NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000)


@pytest.mark.parametrize(
    ("audio", "what"),
    [
        ((NOISE[:0], 16_000), "shape"),
        ((NOISE[None, None], 16_000), "shape"),
        ((np.stack([NOISE, NOISE]), 16_000), "transpose it"),
        ((NOISE * np.nan, 16_000), "NaN"),
        ((NOISE.astype(np.int64), 16_000), "type int64"),
        ((NOISE > 0, 16_000), "type bool"),
        ((NOISE, 0), "whole number of Hz"),
        ((NOISE, 10**9), "whole number of Hz"),
        ((NOISE, 16_000.5), "whole number of Hz"),
        ((NOISE, float("nan")), "whole number of Hz"),
        ((NOISE, "16000"), "samples a second"),
        ((NOISE, True), "samples a second"),
        (NOISE, r"\(samples, rate in Hz\)"),
        ((NOISE, 16_000, 1), r"\(samples, rate in Hz\)"),
        ("nowhere.wav", "no such file"),
    ],
)
def test_audio_that_is_none_is_refused(audio: Any, what: str, here: Path) -> None:
    with pytest.raises(asr.UserError, match=what):
        asr.transcribe(asr.load_model("exp/run", device="cpu"), audio)


def test_a_model_that_cannot_be_had_is_refused(here: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"weights": "ema"}, "name one of teacher, student"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"average": 0}, "from 1 on"),
        ({"average": 1.5}, "from 1 on"),
        ({"average": 99}, "not the 99 to average"),
        ({"average": 1, "best": True}, "without best"),
    ]
    for options, what in cases:
        with pytest.raises(asr.UserError, match=what):
            asr.load_model("exp/run", **options)
    [checkpoint, *_] = sorted(Path("exp/run/checkpoints").iterdir())
    with pytest.raises(asr.UserError, match="is one checkpoint"):
        asr.load_model(checkpoint, average=1)
    with pytest.raises(asr.UserError, match="neither a checkpoint"):
        asr.load_model("nowhere")
    Path("theirs").mkdir()
    Path("theirs/config.json").write_text("{}")
    with pytest.raises(asr.UserError, match="a model of others"):
        asr.load_model("theirs")


def test_what_is_no_set_is_refused(here: Path) -> None:
    model = asr.load_model("exp/run", device="cpu")
    cuts = list(CutSet.from_file("data/dev.jsonl.gz"))
    for given, what in (
        ([cuts[0].append(cuts[1])], "MixedCut"),
        (["talk.wav"], "no cut of one recording"),
        ([fastcopy(cuts[0], recording=None)], "no cut of one recording"),
        (3, "cuts is a int"),
        ("nowhere.jsonl.gz", "no such"),
    ):
        with pytest.raises(asr.UserError, match=what):
            asr.decode(model, given)
    for decoder in ("beam", asr.BeamDecoder):
        with pytest.raises(asr.UserError, match="cannot decode"):
            asr.decode(model, cuts, decoder)
    for function in (asr.decode, asr.transcribe):
        with pytest.raises(asr.UserError, match="load it"):
            function("exp/run", "talk.wav")
    twice = asr.decode(model, [cuts[0], cuts[1].with_id(cuts[0].id)])
    apart = asr.decode(model, cuts[:2])
    assert [one.hypothesis for one in twice] == [one.hypothesis for one in apart]
    without = [cut.map_supervisions(lambda s: fastcopy(s, text=None)) for cut in cuts]
    with pytest.raises(asr.UserError, match="none of 8 texts has a reference"):
        asr.score(asr.decode(model, without))


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
        ((references,), "none of 2 texts has a reference"),
        ((references, tmp_path / "h.tsv"), "give two files"),
        (([], []), "nothing to score"),
        (([["A"]], [["A"]]), "a hypothesis text is a list"),
        ((references, hypotheses, None), "normaliser None"),
        ((3, 4), "a hypothesis text is a int"),
        (({"a": "A"}, {"b": "A"}), "do not go together"),
    ):
        with pytest.raises(asr.UserError, match=what):
            asr.score(*pair)


def test_references_are_references_on_their_side() -> None:
    wrong = [asr.Utterance(key, "A B", "X Y", 2.0, "s") for key in "ab"]
    right = [asr.Utterance(key, "A B", "A B", 2.0, "s") for key in "ab"]
    assert asr.score(wrong) == asr.score(wrong, wrong) == asr.score(right, wrong)
    assert asr.score(wrong).wer == 100.0
    assert asr.score(wrong, wrong).hours_of_audio > 0
    assert asr.compare(wrong, right, references=wrong).delta_wer == 100.0
    with pytest.raises(asr.UserError, match="two hypothesis texts have the id 'a'"):
        asr.score([*wrong, wrong[0]])


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
    for bad in ("recipe.yaml", {}):
        with pytest.raises(asr.UserError, match=r"asr\.load_config"):
            asr.train(bad)  # type: ignore[arg-type]


def test_overrides_in_every_form(here: Path) -> None:
    plain = asr.load_config("recipe.yaml")
    forms: list[Any] = ["model.layers=1", ["model.layers=1"], {"model.layers": 1}]
    for given in [*forms, {"model": {"layers": 1}}]:
        config = asr.load_config("recipe.yaml", given)
        assert config.model == plain.model.model_copy(update={"layers": 1})
    assert asr.load_config("recipe.yaml", {"output": Path("exp/x")}).output == "exp/x"
    with pytest.raises(
        asr.UserError, match=r"unknown key 'model\.widht'; did you mean 'model.width'"
    ):
        asr.load_config("recipe.yaml", {"model.widht": 3})
    with pytest.raises(asr.UserError, match="override 3 is no key"):
        asr.load_config("recipe.yaml", {3: 3})  # type: ignore[dict-item]
