"""`asr schema`: what an editor needs to complete and check recipes."""

from __future__ import annotations

import json

from asr.cli.arguments.common import make_parser
from asr.config.json_schema import recipe_schema

_DESCRIPTION = """\
Print the JSON Schema of recipes: every setting with its type, its default and what it means.

  asr schema > recipe.schema.json

An editor with a YAML language server uses it where a recipe's first line is
  # yaml-language-server: $schema=recipe.schema.json
"""


def main(argv: list[str]) -> int:
    """`asr schema`."""
    make_parser("schema", _DESCRIPTION).parse_args(argv)
    print(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))
    return 0
