"""Libri-Light's limited sets (Kahn et al. 2020, arXiv 1912.07875) over prepared LibriSpeech.

Its archive librispeech_finetuning.tgz holds 1h/{0..5}/{clean,other} and 9h/{clean,other} with LibriSpeech's own
files below: 10 min is 1h/0, 1 h is 1h, 10 h is both. Only their names are used. A folder that holds the ids in
10h.txt, 1h.txt or 10min.txt, one a line, does as well.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from asr.errors import UserError
from asr.utils.files import replacing_gzip
from asr.utils.text_files import read_text

FOLDERS = {"10min": ("1h/0",), "1h": ("1h",), "10h": ("1h", "9h")}
"""Sizes, and the folders of the archive that make them up."""
TRAINING_PARTS = ("train-clean-100", "train-clean-360", "train-other-500")


def prepare_librilight(lists: Path, data: Path, sizes: Sequence[str]) -> None:
    """For each size write DATA/train-SIZE.jsonl.gz, and each training part of DATA without its utterances.

    The latter are named PART-without-SIZE: what is left to pseudo-label. Equal input gives equal files. Raises
    UserError for a list that is missing, or that names utterances which no training part of DATA holds.
    """
    parts = [part for part in TRAINING_PARTS if (data / f"{part}.jsonl.gz").is_file()]
    if not parts:
        raise UserError(
            f"--data {data}: holds none of {', '.join(TRAINING_PARTS)}",
            "run `asr prepare librispeech` first",
        )
    for size in dict.fromkeys(sizes):
        _split(data, parts, size, read_list(lists, size))


def read_list(lists: Path, size: str) -> set[str]:
    """Ids of a limited set. Raises UserError where there is neither list nor folder, or it is empty."""
    plain = lists / f"{size}.txt"
    if plain.is_file():
        names = read_text(plain, "--lists").split()
        found = {name.removesuffix(".flac") for name in names}
    else:
        found = {p.stem for folder in FOLDERS[size] for p in (lists / folder).rglob("*.flac")}
        lacking = [folder for folder in FOLDERS[size] if not (lists / folder).is_dir()]
        if lacking:
            raise UserError(
                f"--lists {lists}: has neither {size}.txt nor the folder {lacking[0]}",
                "give the unpacked "
                "librispeech_finetuning of Libri-Light, or a file of ids, one a line",
            )
    if not found:
        raise UserError(
            f"--lists {lists}: names no utterance for {size}", "unpack the archive again"
        )
    return found


def _split(data: Path, parts: Sequence[str], size: str, wanted: set[str]) -> None:
    missing = set(wanted)
    for part in parts:
        missing -= {name for name, _ in _lines(data / f"{part}.jsonl.gz")}
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(wanted)} utterances of {size} are in none of {', '.join(parts)} of "
            f"{data}, the first '{min(missing)}'",
            "prepare the parts that hold them, and look at rejects.jsonl",
        )
    counts = {}
    with ExitStack() as stack:
        chosen = stack.enter_context(replacing_gzip(data / f"train-{size}.jsonl.gz"))
        for part in parts:
            name, left = f"{part}-without-{size}", 0
            others = stack.enter_context(replacing_gzip(data / f"{name}.jsonl.gz"))
            for utterance, line in _lines(data / f"{part}.jsonl.gz"):
                is_chosen = utterance in wanted
                (chosen if is_chosen else others).write(line)
                left += not is_chosen
            counts[name] = left
    rest = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"{data}: train-{size} {len(wanted)} utterances; {rest}")


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Id and line of each utterance."""
    try:
        with gzip.open(path) as file:
            for line in file:
                yield str(json.loads(line)["id"]), line
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: not readable ({error})", "prepare the part again") from None
