"""The typed tree of everything that a recipe can say.

A recipe is YAML; `base:` names another recipe to start from, or a list of them, each over the one before it;
`key.path=value` on the command line overrides all. The tree is strict: an unknown key fails and the nearest
name is suggested. The string under a field is its documentation, and `asr train RECIPE --print-config`
shows all in force.

Units stand in the names. Paths are relative to the working directory.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from asr.config.fields import Section
from asr.config.model import MODEL_KINDS
from asr.config.pseudo_label import with_start_in_full
from asr.config.schema import Config
from asr.config.tracking import with_loggers_in_place
from asr.errors import UserError
from asr.utils.text_files import decoded, refuse_pipe
from asr.utils.yaml_text import parse_yaml

_KIND_TAGS = {(1, kind) for kind in MODEL_KINDS}
_MOST_VALUES = 1_000_000
_SETTINGS_SHOWN = "`asr train RECIPE --print-config` shows and documents every setting"


def load_config(
    recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] | None = None
) -> Config:
    """Read a recipe, and put overrides over it.

    They are `key.path=value` texts, whose values are YAML, or values by their key paths; a mapping is put over
    the section that is there. Raises UserError, naming the file, the field, the value and the remedy.

    >>> import asr
    >>> config = asr.load_config("recipe.yaml", {"model.layers": 1, "output": "exp/short"})
    >>> config.model.layers
    1
    """
    return parse_config(_tree_of(recipe, overrides), source=str(recipe))


def config_to_show(recipe: str | Path, overrides: Sequence[str] | None = None) -> Config:
    """Of a recipe that is at fault: what can be read of it, and defaults for the rest."""
    try:
        tree = _tree_of(recipe, overrides)
    except UserError:
        return Config()
    while True:
        try:
            return Config.model_validate(tree)
        except ValidationError as error:
            if not any(_dropped(tree, fault["loc"]) for fault in error.errors()):
                return Config()


def _tree_of(
    recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] | None
) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for part in _read_recipe(Path(recipe)):
        tree = _merge(tree, _in_full(part, str(recipe)))
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            _put(tree, key, value, merges=True)
    else:
        for override in [overrides] if isinstance(overrides, str) else overrides or []:
            _apply_override(tree, override)
    home: dict[str, Any] = _at_home(tree)
    return home


def _dropped(tree: dict[str, Any], location: tuple[Any, ...]) -> bool:
    """Whether something was there at that place, or around it: it is not any more."""
    node, place = tree, None
    for name in location:
        if isinstance(node, dict) and name in node:
            place, node = (node, name), node[name]
    if place is not None:
        del place[0][place[1]]
    return place is not None


def parse_config(tree: dict[str, Any], source: str) -> Config:
    """Validate a plain tree. Raises UserError with every fault in one message."""
    if _values_in(tree) > _MOST_VALUES:
        raise UserError(
            f"{source}: its YAML aliases (&name, *name) stand for more than {_MOST_VALUES:,} values",
            "write out what is meant",
        )
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        *others, (what, remedy) = [_explain(dict(fault)) for fault in error.errors()]
        before = "".join(f"{one}; {do}; " if do else f"{one}; " for one, do in others)
        raise UserError(f"{source}: {before}{what}", remedy or _SETTINGS_SHOWN) from None


def dump_config(config: Config, comments: bool = False) -> str:
    """The whole tree as YAML, defaults included; with each field's documentation if `comments`."""
    if not comments:
        return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return "\n".join(_commented(config, indent=0)) + "\n"


def _read_recipe(
    path: Path, above: tuple[Path, ...] = (), read: set[Path] | None = None
) -> Iterator[dict[str, Any]]:
    """The trees of its bases and then its own; of a base that several share once, where it comes first."""
    read = set() if read is None else read
    here = Path(os.path.realpath(path))  # resolve() raises where a link leads in a circle
    if here in above:
        raise UserError(f"{path}: 'base' leads in a circle", "remove one of the 'base' lines")
    if here in read:
        return
    read.add(here)
    try:
        refuse_pipe(path)
        tree = parse_yaml(decoded(path.read_bytes(), str(path)))
    except FileNotFoundError:
        named = f"fix the line 'base' of {above[-1]}" if above else "check the path"
        raise UserError(f"{path}: no such recipe", named) from None
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML: {_reason(error)}", "fix it there") from None
    if not isinstance(tree, dict):
        raise UserError(
            f"{path}: a recipe is a mapping of sections, this is not",
            "write sections with their settings below, as in trainer: {total_hours: 10}",
        )
    bases = tree.pop("base", None) or []
    for base in bases if isinstance(bases, list) else [bases]:
        yield from _read_recipe(path.parent / str(base), (*above, here), read)
    yield tree


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).replace(' in "<unicode string>",', ",").replace(",,", ",")
    is_of_signs = "cannot start any token" in text or "tab character" in text
    return f"{text} (indent with spaces, not with tabs; quote @, ` and %)" if is_of_signs else text


def _values_in(tree: Any) -> float:
    """Values of a tree, those that several places share counted in each; infinite where it is in itself."""
    counts: dict[int, float] = {}

    def count(node: Any) -> float:
        children = node.values() if isinstance(node, dict) else node
        if not isinstance(node, (dict, list, tuple)):
            return 1
        if id(node) not in counts:
            counts[id(node)] = math.inf  # until it is known
            counts[id(node)] = 1 + sum(map(count, children))
        return counts[id(node)]

    return count(tree)


def _in_full(part: dict[str, Any], source: str) -> dict[str, Any]:
    """With what is short for another setting as that: what is put over it must find it."""
    try:
        policy = with_start_in_full(part.get("pseudo_label"))
    except ValueError as error:
        raise UserError(f"{source}: 'pseudo_label': {error}", _SETTINGS_SHOWN) from None
    part = with_loggers_in_place(part)
    if isinstance(part.get("objective"), str):
        part = {**part, "objective": {"kind": part["objective"]}}
    return part if policy is None else {**part, "pseudo_label": policy}


def _at_home(value: Any) -> Any:
    """With the home folder in place of a leading ~, which no shell has seen."""
    if isinstance(value, dict):
        return {key: _at_home(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_at_home(one) for one in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") else value


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"override '{override}' has no '='", "write it as key.path=value")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        reason = _reason(error).removeprefix("line 1: ")
        raise UserError(
            f"override '{override}': the value is not valid YAML ({reason})",
            "close its brackets and quotes; and quote a text with signs, as in \"KEY='a: b'\"",
        ) from None
    _put(tree, key, value)


def _put(tree: dict[str, Any], key: str, value: Any, merges: bool = False) -> None:
    """Put a value in its place; a mapping over the section there if it `merges`, else instead of it."""
    if not isinstance(key, str):
        raise UserError(f"override {key!r} is no key", "write a key path, as in 'model.layers'")
    if key.strip() == "pseudo_label.start_hours":
        _put(tree, "pseudo_label.start.passes", None)
        key = "pseudo_label.start.hours"
    if key.strip() == "trainer.loggers":
        key = "tracking.loggers"
    if key.strip() == "objective" and isinstance(value, str):
        key = "objective.kind"
    if isinstance(value, Mapping):
        value = _in_full({key.strip(): dict(value)}, f"override of '{key}'")[key.strip()]
    *parents, leaf = key.strip().split(".")
    node = tree
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        child = node[parent]
        if not isinstance(child, dict):
            raise UserError(
                f"override of '{key}': '{parent}' is a value, not a section", _SETTINGS_SHOWN
            )
        node = child
    if merges and isinstance(value, Mapping) and isinstance(node.get(leaf), dict):
        node[leaf] = _merge(node[leaf], dict(value))
    else:
        node[leaf] = str(value) if isinstance(value, Path) else value


def _section_at(location: tuple[Any, ...]) -> type[Section] | None:
    section: Any = Config
    for name in location:
        if name in MODEL_KINDS and section is not Config:
            section = MODEL_KINDS[name]
            continue
        field = section.model_fields.get(name) if isinstance(name, str) else None
        if field is None:
            return None
        section = field.annotation
    return section if isinstance(section, type) and issubclass(section, Section) else None


def _explain(fault: dict[str, Any]) -> tuple[str, str]:
    """What is wrong, and the remedy where there is one of its own."""
    location = fault["loc"]
    # Pydantic says of which kind the model is, behind its name.
    shown_parts = [part for place, part in enumerate(location) if (place, part) not in _KIND_TAGS]
    name = ".".join(map(str, shown_parts)) or "recipe"
    if fault["type"] == "union_tag_invalid":
        kind = str(fault["ctx"]["tag"])
        nearest = difflib.get_close_matches(kind, MODEL_KINDS, n=1)
        hint = f"did you mean '{nearest[0]}'? " if nearest else ""
        return f"unknown '{name}.kind' {kind!r}", f"{hint}known: {', '.join(MODEL_KINDS)}"
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{name}'", _known_instead(shown_parts, _section_at(location[:-1]))
    message = fault["msg"].removeprefix("Value error, ")
    received = fault.get("input")
    if fault["type"] == "list_type" and isinstance(received, (str, int, float)):
        return f"'{name}' (received {received!r}) is a list", f"write {name}=[{received}]"
    if fault["type"] in ("model_type", "model_attributes_type"):
        one = next(iter(getattr(_section_at(location), "model_fields", ())), "KEY")
        return f"'{name}' (received {received!r}) is a section", f"set its keys, as {name}.{one}"
    if not location and message.partition(" ")[0] in _paths(Config()):
        return message, ""  # of several settings: it begins with the one to change
    shown = "" if isinstance(received, (dict, Section)) else f" (received {received!r})"
    return f"'{name}'{shown}: {message[0].lower()}{message[1:]}", ""


def _known_instead(parts: Sequence[Any], section: type[Section] | None) -> str:
    """What an unknown key may have been meant for, as an override names it."""
    before, last = ".".join(map(str, parts[:-1])), str(parts[-1])
    elsewhere = [path for path in _paths(Config()) if path.rpartition(".")[2] == last]
    if f"{before}.{last}" in elsewhere:
        return f"it is of another {before}.kind: leave it out"
    if elsewhere:
        return f"did you mean '{elsewhere[0]}'?"
    names = list(section.model_fields) if section else []
    nearest = difflib.get_close_matches(last, names, n=1, cutoff=0.5)
    if nearest:
        return (
            f"did you mean '{before}.{nearest[0]}'?" if before else f"did you mean '{nearest[0]}'?"
        )
    return f"known: {', '.join(names)}"


def _paths(section: Section, before: str = "") -> Iterator[str]:
    for name, value in section:
        yield before + name
        if isinstance(value, Section):
            yield from _paths(value, f"{before}{name}.")


def _commented(section: Section, indent: int) -> Iterator[str]:
    for name, value in section:
        pad = "  " * indent
        if isinstance(value, Section):
            yield f"{pad}{name}:"
            yield from _commented(value, indent + 1)
            continue
        plain = section.model_dump(mode="json", include={name})[name]
        text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=1000)
        comment = " ".join((type(section).model_fields[name].description or "").split())
        shown = text.removesuffix("\n").removesuffix("\n...")
        yield f"{pad}{name}: {shown}" + (f"  # {comment}" if comment else "")
