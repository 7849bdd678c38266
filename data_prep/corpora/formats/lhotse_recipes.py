"""Corpora that Lhotse has a recipe for: its own command is called, and what it wrote is taken."""

from __future__ import annotations

import difflib
import gzip
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asr.data.manifest.admission import by_content
from asr.errors import UserError

from ...pipeline import Settings
from .lhotse_manifests import add_cuts, add_recordings
from .listing import Found, prepare_found, set_names

MANIFESTS = "lhotse"
"""Folder in OUT of what Lhotse wrote."""
LOG = "recipe.log"
"""What its recipe said, there."""
_NAME = re.compile(
    r"(?P<corpus>.*?)_?(?P<kind>recordings|supervisions|cuts)_?(?P<part>.*)\.jsonl(\.gz)?"
)


def prepare_recipe(
    name: str,
    arguments: Sequence[str],
    settings: Settings,
    set_name: str | None = None,
    reject_overlapping: bool = False,
) -> None:
    """Call `lhotse prepare NAME ARGUMENTS`, whose output folder is OUT/lhotse; each part becomes a set.

    Raises UserError for a recipe that there is not, and with the recipe's own words where it fails.
    """
    set_names(set_name)
    folder = settings.output / MANIFESTS
    command = _command(name)
    if "--help" in arguments:
        _call(command, name, ["--help"])
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json*"):  # of another call
        old.unlink()
    # SPHERE by libsndfile: Lhotse asks for another program.
    with _heard(folder / LOG) as count, by_content():
        _call(command, name, [*arguments, str(folder)])
    parts = _parts(folder)
    if not parts:
        there = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise UserError(
            f"lhotse prepare {name}: wrote no manifest to {folder} ({there})",
            "see what it says above, and give it the corpus's folder as it asks for it: "
            f"asr prepare lhotse {name} --output OUT -- --help",
        )
    found, sets = Found(), list[str]()
    if count():
        found.notes.append(
            f"the recipe said {count()} things, of what it left out too: {folder / LOG}"
        )
    for part, (recordings, supervisions, cuts) in sorted(parts.items()):
        wanted = part if set_name is None else f"{set_name}-{part}" if len(parts) > 1 else set_name
        pair = set_names(wanted)
        sets += pair
        if recordings is not None:
            add_recordings(found, recordings, supervisions, pair)
        elif cuts is not None:
            add_cuts(found, cuts, pair)
    prepare_found(found, folder, sets, settings, reject_overlapping)


@contextmanager
def _heard(log: Path) -> Iterator[Callable[[], int]]:
    """Keep what a recipe says of what it leaves out, which it does in passing; counts the lines so far."""
    root = logging.getLogger()
    handler = logging.FileHandler(log, "w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield lambda: len(log.read_text(encoding="utf-8").splitlines())
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


def _command(name: str) -> Any:
    from lhotse.bin.modes import prepare

    known = prepare.commands
    found = known.get(name) or known.get(name.replace("_", "-"))
    if found is None:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"did you mean '{nearest[0]}'?" if nearest else f"name one of {' '.join(sorted(known))}"
        )
        raise UserError(f"Lhotse has no recipe '{name}'", hint)
    return found


def _call(command: Any, name: str, arguments: Sequence[str]) -> None:
    import click

    usage = f"asr prepare lhotse {name} --output OUT -- ARGUMENTS (as lhotse prepare {name}, less its last one)"
    try:
        command.main(list(arguments), prog_name=f"lhotse prepare {name}", standalone_mode=False)
    except click.ClickException as error:
        raise UserError(f"lhotse prepare {name}: {error.format_message()}", usage) from None
    except (SystemExit, KeyboardInterrupt):
        raise
    except Exception as error:  # a hundred recipes, each with its own
        what = " ".join(str(error).split()) or "it failed"
        raise UserError(
            f"lhotse prepare {name}: {type(error).__name__}: {what[:300]}",
            "check the corpus's folder, whose layout is in Lhotse's recipe of that name",
        ) from None


def _parts(folder: Path) -> dict[str, tuple[Path | None, Path | None, Path | None]]:
    """By the name of each part: its recordings, supervisions and cuts."""
    files: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(folder.glob("*.jsonl*")):
        match = _NAME.fullmatch(path.name)
        if match is not None and not _is_empty(path):
            files.setdefault((match["corpus"], match["part"]), {})[match["kind"]] = path
    parts = [part for _, part in files]
    named = {}
    for (corpus, part), kinds in files.items():
        is_own = part and parts.count(part) == 1
        name = part if is_own else "-".join(filter(None, (corpus, part)))
        named[name] = (kinds.get("recordings"), kinds.get("supervisions"), kinds.get("cuts"))
    return {name: kinds for name, kinds in named.items() if kinds[0] or kinds[2]}


def _is_empty(path: Path) -> bool:
    """Of a part that the corpus has not."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        return not file.read(1)
