"""What mkdocs does not do by itself: pages that lie outside of docs/, or are made of something else.

The front page, the recipes' pages, CONTRIBUTING and CHANGELOG are written for whoever reads the repository;
the site shows the same files. The recipe reference is made of the schema that checks recipes, the notebook's
page of the notebook.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
NOTEBOOK = "docs/python.ipynb"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^()\s]+)\)")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in docs/."""
    for path in (*ROOT.glob("*.md"), *ROOT.glob("recipes/*/*.md"), *ROOT.glob("recipes/*/*.svg")):
        uri = _uri(path.relative_to(ROOT).as_posix())
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    notebook = json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))
    files.remove(files.src_uris[NOTEBOOK.removeprefix("docs/")])
    files.append(File.generated(config, _uri(NOTEBOOK), content=_notebook_page(notebook)))
    from asr.config.json_schema import recipe_schema

    page = "\n".join(recipe_reference(recipe_schema()))
    files.append(File.generated(config, "recipe_reference.md", content=page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead from page to page, and leave those to code as text: the site has no code."""
    here = page.file.src_uri
    source = {_uri(path): path for path in ("README.md", NOTEBOOK)}.get(here)
    source = source or (f"docs/{here}" if (ROOT / "docs" / here).exists() else here)

    def placed(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        path, _, anchor = target.partition("#")
        if not path or ":" in path:
            return link.group()
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        uri = _uri(there)
        if uri in files.src_uris:
            place = posixpath.relpath(uri, posixpath.dirname(here) or ".")
            return f"{mark}[{text}]({place}{'#' + anchor if anchor else ''})"
        return text if (ROOT / there).exists() else link.group()  # mkdocs complains of the latter

    parts = _FENCED.split(markdown)
    return "".join(p if p.startswith("```") else _LINK.sub(placed, p) for p in parts)


def _uri(path: str) -> str:
    """Where a file of the repository stands on the site."""
    path = {"README.md": "index.md", NOTEBOOK: "docs/python.md"}.get(path, path)
    return path.removeprefix("docs/")


def recipe_reference(schema: dict[str, Any]) -> Iterator[str]:
    """The page of all settings, as Markdown."""
    yield "# Every setting of a recipe\n"
    yield (
        "A recipe is YAML: sections with settings below them. This page is made of the schema that checks "
        "them; `asr schema` prints it for editors, and `asr train RECIPE --print-config` shows what is in "
        "force. `base` names recipes whose settings come first. How they act together: "
        "[how it works](how_it_works.md).\n"
    )
    yield from _section(schema, "", schema["$defs"])


def _section(node: dict[str, Any], path: str, kinds: dict[str, Any]) -> Iterator[str]:
    """A table of a section's settings, and then the sections below it."""
    below = []
    rows = []
    for name, setting in node["properties"].items():
        sections = _sections_of(setting)
        if sections:
            below += [(f"{path}{name}", setting.get("description"), kinds[one]) for one in sections]
        else:
            rows.append(
                f"| `{name}` | {_values(setting, kinds)} | {_default(setting)} "
                f"| {_cell(setting.get('description', ''))} |"
            )
    if rows:
        yield "| setting | values | default | |\n|---|---|---|---|"
        yield from rows
        yield ""
    for section, description, one in below:
        kind = one["properties"].get("kind", {}).get("const")
        level = 2 + section.count(".")
        yield f"{'#' * level} {section}{f', kind {kind}' if kind else ''}\n"
        said = description or one.get("description")
        if said:
            yield f"{' '.join(said.split())}\n"
        yield from _section(one, f"{section}.", kinds)


def _sections_of(setting: dict[str, Any]) -> list[str]:
    """The kinds of section that stand here; a setting has none."""
    found = [one["$ref"] for one in (setting, *setting.get("oneOf", ())) if "$ref" in one]
    found += [one["$ref"] for one in setting.get("anyOf", ()) if "$ref" in one]
    names = [ref.rpartition("/")[2] for ref in found]
    return [name for name in names if name.endswith("Config")]


def _values(setting: dict[str, Any], kinds: dict[str, Any]) -> str:
    if "$ref" in setting:
        return _values(kinds[setting["$ref"].rpartition("/")[2]], kinds)
    if "enum" in setting or "const" in setting:
        values = setting.get("enum", [setting.get("const")])
        return ", ".join(f"`{json.dumps(v).strip(chr(34))}`" for v in values)
    several = setting.get("anyOf") or setting.get("oneOf")
    if several:
        return " or ".join(dict.fromkeys(_values(one, kinds) for one in several))
    if setting.get("type") == "array":
        items = setting.get("items") or (setting.get("prefixItems") or [{}])[0]
        return f"list of {_values(items, kinds)}"
    kind = {"null": "`null`", "object": "mapping", "string": "text", "integer": "whole number"}
    return kind.get(setting.get("type", ""), setting.get("type", "any")) + _limits(setting)


def _limits(setting: dict[str, Any]) -> str:
    """Of a number, but for those that only keep infinity out."""
    said = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [
        f"{mark} {setting[key]:g}"
        for key, mark in said.items()
        if abs(setting.get(key, 1e15)) < 1e15
    ]
    return f" {', '.join(found)}" if found else ""


def _default(setting: dict[str, Any]) -> str:
    return f"`{json.dumps(setting['default'], ensure_ascii=False)}`" if "default" in setting else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _notebook_page(notebook: dict[str, Any]) -> str:
    """Its cells as Markdown, with the text that they printed."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        printed = "".join("".join(one.get("text", "")) for one in cell["outputs"]).strip()
        if printed:
            parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"
