"""The recipes that come with the package, and the scripts of `tools/` that theirs call.

A checkout has both folders beside the package; a wheel carries them in it, as `asr/recipes` and `asr/tools`.
"""

from __future__ import annotations

import difflib
import filecmp
import shutil
from pathlib import Path

from asr.errors import UserError
from asr.utils.yaml_text import parse_yaml


def recipes_on_the_shelf() -> dict[str, str]:
    """What each recipe is, by its name: the heading of its README without that name.

    Raises UserError where this installation has no recipes.
    """
    found = {}
    for readme in sorted((_root() / "recipes").glob("*/README.md")):
        name = readme.parent.name
        with readme.open(encoding="utf-8") as lines:
            found[name] = lines.readline().removeprefix("# ").removeprefix(f"{name}: ").strip()
    return found


def copy_recipe(name: str, target: Path) -> list[Path]:
    """Lay a recipe out as its scripts want it: `target/recipes/NAME`, its bases beside it, and `target/tools`.

    Returns what was written. What is there already and the same is left as it is. Raises UserError, and writes
    nothing, for a name that is no recipe's and where a file is there that differs.
    """
    names = recipes_on_the_shelf()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        meant = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(f"{name}: no such recipe", f"{meant}there are {', '.join(names)}")
    root = _root()
    folders = [*(f"recipes/{folder}" for folder in _with_bases(name)), "tools"]
    files = [file for folder in folders for file in sorted((root / folder).rglob("*"))]
    wanted = {
        target / file.relative_to(root): file
        for file in files
        if file.is_file() and not {"__pycache__", "__init__.py"} & set(file.parts)
    }
    for place, file in wanted.items():
        if place.exists() and not (place.is_file() and filecmp.cmp(file, place, shallow=False)):
            raise UserError(
                f"{place}: is there already, and differs from what comes with asr; nothing was copied",
                "give another TARGET, or move it away",
            )
    new = {place: file for place, file in wanted.items() if not place.exists()}
    for place, file in new.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.partial")
        try:
            shutil.copyfile(file, partial)
        except OSError as error:
            error.filename = str(place)  # the library names what is copied
            raise
        partial.chmod(0o755 if place.suffix == ".sh" else 0o644)
        partial.replace(place)
    return list(new)


def _root() -> Path:
    package = Path(__file__).parents[1]
    for root in (package, package.parent):
        if (root / "recipes").is_dir() and (root / "tools").is_dir():
            return root
    raise UserError(f"{package / 'recipes'}: is not there", "install asr-ema again")


def _with_bases(name: str) -> list[str]:
    """The folder of a recipe, and those of the recipes that it is put on top of."""
    shelf, found, ahead = (_root() / "recipes").resolve(), [], [name]
    while ahead:
        folder = ahead.pop()
        if folder in found:
            continue
        found.append(folder)
        for file in sorted((shelf / folder).rglob("*.yaml")):
            bases = parse_yaml(file.read_text(encoding="utf-8")).get("base") or []
            for base in bases if isinstance(bases, list) else [bases]:
                ahead.append((file.parent / base).resolve().relative_to(shelf).parts[0])
    return found
