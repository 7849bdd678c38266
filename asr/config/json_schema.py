"""Recipes as JSON Schema (draft 2020-12), by which editors complete settings and underline faults.

What spans several settings, as a schedule that must ascend, is left to `asr check`.
"""

from __future__ import annotations

from typing import Any

from asr.config.schema import Config


def recipe_schema() -> dict[str, Any]:
    """Of a recipe's file: all of `Config`, and what is short for a setting or stands in files alone."""
    found = Config.model_json_schema()
    one = {"type": "string"}
    base = {
        "anyOf": [one, {"type": "array", "items": one}],
        "description": "Recipes whose settings come first, by their paths from this one.",
    }
    found["properties"] = {"base": base, **found["properties"]}
    start = {
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}],
        "description": "Short for start.hours.",
    }
    found["$defs"]["PseudoLabelConfig"]["properties"]["start_hours"] = start
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "Recipe"}
