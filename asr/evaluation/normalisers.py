"""Normalisers: what is done to a text before it is scored, by name and version.

Two WERs compare only under the same normaliser, so its name goes into every stamp: NAME/VERSION. A
change of what one does is a new version.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from asr.errors import UserError
from asr.utils.plugins import find_function

NAMES = ("none", "lower", "librispeech", "whisper-english")


@dataclass(frozen=True)
class Normaliser:
    """A function of text, and the name under which its results are comparable."""

    stamp: str
    """NAME/VERSION; of a user's module, its content's hash is the version."""
    apply: Callable[[str], str]


def make_normaliser(name: str, setting: str = "normaliser") -> Normaliser:
    """One of NAMES, or PATH.py:FUNCTION, a function from text to text in a module of the user's.

    Raises UserError for what there is not, as `setting` says.
    """
    if not isinstance(name, str):
        raise UserError(f"{setting} {name!r} is no name", f"name one of {', '.join(NAMES)}")
    if name == "none":
        return Normaliser("none/1", lambda text: " ".join(text.split()))
    if name == "lower":
        return Normaliser("lower/1", lambda text: " ".join(text.lower().split()))
    if name == "librispeech":
        return Normaliser("librispeech/2", librispeech)
    if name == "whisper-english":
        return _whisper_english()
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _of_user(Path(path), function)
    raise UserError(
        f"{setting} '{name}' is unknown",
        f"name one of {', '.join(NAMES)}, or PATH.py:FUNCTION, a function of yours",
    )


def run_normaliser(run: Path, name: str | None = None) -> Normaliser:
    """Under what a run's texts are compared: `name`, or what its recipe says, or none where that says nothing.

    Raises UserError where it cannot be had, or the recipe is not readable.
    """
    if name is not None:
        return make_normaliser(name)
    where = f"{run / 'config.yaml'}, corpus.scoring_normaliser"
    return recorded_normaliser(recorded_name(run), where)


def recorded_name(run: Path) -> str:
    """corpus.scoring_normaliser of a run's recipe; "none" where an older run or one without a recipe has none.

    Raises UserError for a recipe that is not readable.
    """
    import yaml

    from asr.utils.yaml_text import parse_yaml

    path = run / "config.yaml"
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8")) if path.is_file() else {}
        corpus = tree.get("corpus") or {}
        return str(corpus.get("scoring_normaliser", "none"))
    except (OSError, UnicodeDecodeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: not readable ({' '.join(str(error).split())[:200]}), and so how its texts are compared",
            "copy the run's folder again, or say --normaliser NAME",
        ) from None


def recorded_normaliser(name: str, where: str) -> Normaliser:
    """What a run's own files name, `where`: a function of a file is only run where its user names it."""
    try:
        if name.rpartition(":")[0].endswith(".py"):
            raise UserError(
                f"{name} is a function of a file, which is run only where you name it",
                f"say --normaliser {name}",
            )
        return make_normaliser(name)
    except UserError as error:
        raise UserError(
            f"{where}: {error.what}", f"{error.remedy}; or say --normaliser with another"
        ) from None


def name_beside(hypotheses: Path) -> str:
    """Of the run in whose decode/SET a file of hypotheses lies; "none" of one that lies elsewhere."""
    folder = hypotheses.resolve().parent.parent
    try:
        return recorded_name(folder.parent) if folder.name == "decode" else "none"
    except UserError:
        return "none"


def advice(hypotheses: Path, normaliser: Normaliser) -> list[str]:
    """That the recipe of the run in which a hypotheses file lies says otherwise; nothing where it does not."""
    name = name_beside(hypotheses)
    if name == "none" or normaliser.stamp.startswith(f"{name}/"):
        return []
    recipe = hypotheses.resolve().parents[2] / "config.yaml"
    return [
        f"{recipe} has corpus.scoring_normaliser {name}: --normaliser {name} compares "
        "as that run does"
    ]


_STRESS_MARKS = "\N{COMBINING GRAVE ACCENT}\N{COMBINING ACUTE ACCENT}"
_LONE_APOSTROPHE = re.compile(r"(?<![\w'])'+(?![\w'])")


def librispeech(text: str) -> str:
    """As LibriSpeech's transcripts are: upper case, no punctuation but apostrophes at a letter.

    Accents on Latin letters go (LibriSpeech has A to Z), and stress marks; a hyphen parts words, soft ones
    and joiners do not; 1½ is 1 1 2. Digits and the letters of other scripts stay, with their vowel signs: no
    word is lost. LibriSpeech's own transcripts do not change.
    """
    text = written_plainly(text).replace("’", "'").replace("‘", "'")
    text = "".join(map(_plain, unicodedata.normalize("NFC", text))).upper()
    return " ".join(_LONE_APOSTROPHE.sub("", text).split())


def written_plainly(text: str) -> str:
    """Without characters that are not seen (joiners, soft hyphens, marks of direction), numbers apart.

    The space of no width, which parts words in some scripts, is a space. Fractions and superscripts are set
    apart from digits beside them: 1½ is no 11 2, and 10² no 102.
    """
    if text.isascii():
        return text
    found, before = list[str](), ""
    for character in filter(None, map(_seen, text)):
        pair = before + character
        if len(pair) == 2 and pair.isnumeric() and "No" in map(unicodedata.category, pair):
            found.append(" ")
        found.append(character)
        before = character
    return "".join(found)


@cache
def _seen(character: str) -> str:
    if character == "\N{ZERO WIDTH SPACE}":
        return " "
    return "" if unicodedata.category(character) == "Cf" else character


@cache
def _plain(character: str) -> str:
    """What a character becomes, still in its case."""
    if character in _STRESS_MARKS:
        return ""
    if unicodedata.category(character)[0] == "M" or character == "'":
        return character
    parts = unicodedata.normalize("NFKD", character)
    if parts[0].isascii() and parts[0].isalnum():  # an accent, a ligature, a number sign
        kept = (part for part in parts if not unicodedata.combining(part))
        return "".join(part if part.isalnum() else " " for part in kept)
    return character if character.isalnum() else " "


_ELLIPSIS = re.compile(r"[.…‥]{2,}|[…‥]")


def _whisper_english() -> Normaliser:
    from importlib.metadata import version

    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise UserError(
            "normaliser whisper-english needs a package that is not installed",
            "pip install 'asr-ema[whisper]'",
        ) from None
    normalise = EnglishTextNormalizer()
    # Of several points that end a text it drops one alone: "upset..." would be two words.
    return Normaliser(
        f"whisper-english/{version('whisper-normalizer')}, ellipses dropped, joiners dropped, fractions apart",
        lambda text: " ".join(normalise(_ELLIPSIS.sub(" ", written_plainly(text))).split()),
    )


def _of_user(file: Path, name: str) -> Normaliser:
    where = f"normaliser {file}:{name}"
    function = find_function(where, file, name)

    def apply(text: str) -> str:
        try:
            result = function(text)
        except Exception as error:  # anything may happen in there
            raise UserError(
                f"{where}: {error!r} on the text '{text}'", "fix the function"
            ) from None
        if not isinstance(result, str):
            raise UserError(
                f"{where}: returned {result!r} on the text '{text}'",
                "it must take a text and return a text",
            )
        return " ".join(result.split())

    apply("a")
    version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return Normaliser(f"{file.name}:{name}/{version}", apply)
