"""No message and no document of ours names a setting, an option, a command or an extra that there is not."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from recipe_paths import RECIPES

import asr
import asr.data_prep
from asr.__main__ import COMMANDS, main
from asr.config.model import MODEL_KINDS
from asr.config.schema import Config
from asr.data_prep.segmentation.voice_activity import chosen
from asr.data_prep.text.number_words import make_number_words
from asr.decoding.beam import BeamDecoder, BeamSettings
from asr.errors import UserError
from asr.evaluation.normalisers import make_normaliser
from asr.model.tokenizer import CharacterTokenizer
from asr.pseudo_labels.labelling.recogniser import Choice, load_recogniser

SOURCES = [Path(next(iter(package.__path__))) for package in (asr, asr.data_prep)]
SAID = {"UserError", "LostAudioError", "LineError", "Finding", "note", "ValueError", "Fault", "say"}
"""Whose arguments a user reads."""


def _text(node: ast.AST) -> str:
    """The constant parts of a text, with … for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(one) for one in node.values)
    if isinstance(node, ast.FormattedValue):
        return "…"
    return " ".join(map(_text, ast.iter_child_nodes(node)))


def messages() -> Iterator[tuple[str, str]]:
    """Where, and what: of each call that says something, and of each constant that one may name."""
    for path in sorted({p for source in SOURCES for p in source.rglob("*.py")}):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            is_call = isinstance(node, ast.Call) and _called(node) in SAID
            if is_call or (isinstance(node, ast.Assign) and node in tree.body):
                yield f"{path.name}:{node.lineno}", _text(node)


def documents() -> Iterator[tuple[str, str]]:
    """Each paragraph, row and command line of the front page, docs and recipes."""
    root = RECIPES.parent
    for path in (root / "README.md", *root.glob("docs/*.md"), *root.glob("recipes/*/*.md")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{path.relative_to(root)}:{number}", line.replace("\\|", "|")


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _settings(model: type[BaseModel], before: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield before + name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _settings(kind, f"{before}{name}.")


def known_settings() -> set[str]:
    kinds = {one for kind in MODEL_KINDS.values() for one in _settings(kind, "model.")}
    return {*_settings(Config, ""), *kinds, "pseudo_label.start_hours"}


def _parsers(
    patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Of each command and its sub-commands, as they are when their help is asked for."""
    made: list[argparse.ArgumentParser] = []
    real = argparse.ArgumentParser.__init__

    def noted(self: argparse.ArgumentParser, *arguments: object, **options: object) -> None:
        real(self, *arguments, **options)  # type: ignore[arg-type]
        made.append(self)

    patch.setattr(argparse.ArgumentParser, "__init__", noted)
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
    capsys.readouterr()
    for parser in made:
        yield parser.prog, parser


@pytest.mark.parametrize("texts", [messages, documents])
def test_settings(texts: Callable[[], Iterator[tuple[str, str]]]) -> None:
    known = known_settings()
    sections = "|".join(sorted({name.partition(".")[0] for name in known if "." in name}))
    named = re.compile(rf"(?<![\w/.…])((?:{sections})(?:\.[a-z_]+)+)(?![\w/(])")
    found = [(where, one) for where, text in texts() for one in named.findall(text)]
    known |= {
        "model.bin",
        "model.onnx",
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer.vocab",
        "scaling.json",
    }  # files
    known |= {"model.tokenizer"}  # of a loaded model in Python
    wrong = [(where, name) for where, name in found if name not in known]
    assert not [one for one in wrong if not one[1].endswith(".safetensors")]
    assert len({name for _, name in found}) > 40


@pytest.mark.parametrize("kind", [messages, documents])
def test_commands_and_options(
    kind: Callable[[], Iterator[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parsers = {prog: set(p._option_string_actions) for prog, p in _parsers(monkeypatch, capsys)}
    texts = list(kind())
    # Of launchers, and of the roof; of Docker; of CTranslate2's converter.
    others = {"--num_gpus", "--nproc-per-node", "--module", "--shutdown-timeout", "--version"}
    others |= {"--shm-size", "--build-arg", "--gpus", "--rm", "--output_dir", "--copy_files"}
    if kind is documents:  # which also describe scripts
        scripts = [p for f in ("recipes/*/*.sh", "tools/*.*") for p in RECIPES.parent.glob(f)]
        others |= {o for p in scripts for o in re.findall(r"--[a-z][\w-]*", p.read_text())}
    named = {o for _, text in texts for o in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)}
    assert named <= others | set().union(*parsers.values())
    assert len(named) > 30
    commands = re.compile(
        rf"(?<![\w/.-])(asr (?:prepare \w[\w.-]*|labels (?:stats|diff|worst|export)|{'|'.join(COMMANDS)}))\b"
        r"([^`;,()\n]*)"
    )
    found = [(where, *one) for where, text in texts for one in commands.findall(text)]
    assert len(found) > 30
    words = {"asr prepare again", "asr prepare wrote"}
    assert not [one for one in found if one[1] not in parsers and one[1] not in words]
    for where, command, rest in found:
        own = rest.partition(" -- ")[0]  # what is behind goes on to another program
        wanted = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", own))
        assert wanted <= parsers.get(command, set()), (where, command)


PROVOKED: dict[str, Callable[[Path], object]] = {
    "torchaudio.models.decoder": lambda _: BeamDecoder(CharacterTokenizer("ab"), BeamSettings()),
    "whisper_normalizer.english": lambda _: make_normaliser("whisper-english"),
    "num2words": lambda _: make_number_words("en"),
    "silero_vad": lambda _: chosen("silero"),
    "transformers": lambda folder: load_recogniser(Choice(str(folder)), torch.device("cpu")),
    "faster_whisper": lambda _: load_recogniser(Choice("faster-whisper:tiny"), torch.device("cpu")),
}
BRINGS = {"torchaudio.models.decoder": "flashlight-text"}
"""A package whose module is looked for by another's."""


@pytest.mark.parametrize("module", PROVOKED)
def test_the_extra_that_is_named_brings_what_is_missing(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, module, None)
        with pytest.raises(UserError) as error:
            PROVOKED[module](tmp_path)
    match = re.search(r"pip install '(asr-ema)\[([\w-]+)\]'", str(error.value))
    assert match, error.value
    wanted = [one for one in requires(match[1]) or [] if f'extra == "{match[2]}"' in one]
    package = BRINGS.get(module, module.partition(".")[0].replace("_", "-"))
    assert any(one.startswith(package) for one in wanted), wanted
