"""An n-gram model that others made, for the beam decoder: unpacked, in a recipe's case, its words listed."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from asr.errors import UserError
from asr.model.arpa import no_number, section_order
from asr.utils.files import replacing

from .fetch import fetch

Case = Literal["same", "upper", "lower"]
_SPECIAL = {"<s>", "</s>", "<unk>", "<UNK>"}
_CASES: dict[str, Callable[[str], str]] = {"same": str, "upper": str.upper, "lower": str.lower}


def take_arpa(
    source: str, output: Path, lexicon: Path | None, case: Case, characters: str | None
) -> None:
    """Copy an ARPA file, plain or gzipped, from a path or an address; write its words as a lexicon.

    Words with other characters than `characters` are left out of the lexicon, and counted. Raises UserError for
    what is no ARPA file, and where a change of case makes two words one.
    """
    path = Path(source)
    if re.match(r"https?://", source):
        mark = hashlib.sha256(source.encode()).hexdigest()[:8]
        path = output.with_name(f"{output.name}.{mark}.download")
        fetch(source, path, None)
    words: list[str] = []
    try:
        with replacing(output) as file:
            for line in _in_case(_lines(path), words, _CASES[case], source):
                file.write(line.encode())
            if len(set(words)) < len(words):
                raise UserError(
                    f"--arpa {source}: in {case} case two of its words are one", "use --case same"
                )
    finally:
        if source != str(path):  # a wrong one must not be continued
            path.unlink(missing_ok=True)
    print(f"{output}: {len(words):,} words")
    if lexicon is not None:
        _write_lexicon(lexicon, words, characters)


def _write_lexicon(lexicon: Path, words: list[str], characters: str | None) -> None:
    spelt = [word for word in words if characters is None or set(word) <= set(characters)]
    if not spelt:
        raise UserError(
            f"--characters '{characters}': none of the model's words can be spelt so",
            "try --case upper or lower",
        )
    with replacing(lexicon) as file:
        file.writelines(f"{word}\n".encode() for word in spelt)
    left_out = len(words) - len(spelt)
    print(
        f"{lexicon}: {len(spelt):,} words"
        + (f", {left_out:,} with other characters left out" if left_out else "")
    )


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise UserError(f"--arpa {path}: no such file", "check the path")
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if is_gzip
            else path.open(encoding="utf-8") as file
        ):
            yield from file
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"--arpa {path}: not readable ({error})", "fetch it again") from None


def _in_case(
    lines: Iterator[str], words: list[str], change: Callable[[str], str], source: str
) -> Iterator[str]:
    """The lines with their words in another case; `words` gets those of the unigrams."""
    order, ended = 0, False
    for number, line in enumerate(lines, start=1):
        order = section_order(line) or order
        bad = no_number(line, order)
        if bad is not None:
            raise UserError(
                f"--arpa {source}, line {number}: {bad} is no weight", "make the model again"
            )
        ended = ended or line.startswith("\\end\\")
        fields = line.rstrip("\n").split("\t")
        if not order or len(fields) < 2:
            yield line
            continue
        grams = [w if w in _SPECIAL else change(w) for w in fields[1].split(" ")]
        if order == 1 and grams[0] not in _SPECIAL:
            words.append(grams[0])
        yield "\t".join([fields[0], " ".join(grams), *fields[2:]]) + "\n"
    if not words or not ended:
        raise UserError(
            f"--arpa {source}: no ARPA file, or cut short (it has no \\1-grams: with words, or no \\end\\)",
            "fetch it again",
        )
