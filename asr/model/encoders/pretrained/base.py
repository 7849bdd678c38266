"""Beside whose weights a checkpoint's adapters stand: it names the model, and does not hold it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asr.errors import UserError
from asr.utils.files import read_json

_FILE = "base.json"


@dataclass(frozen=True)
class Base:
    """A pretrained model."""

    source: str
    """A folder or a hub id."""
    sha256: str
    """Of its weights (constants.weights_sha256)."""

    def save(self, description: Path) -> None:
        """Into what describes a pretrained model in a checkpoint."""
        saved = {"source": self.source, "sha256": self.sha256}
        (description / _FILE).write_text(json.dumps(saved) + "\n", encoding="utf-8")


def has_base(description: Path) -> bool:
    """Whether a description is of adapters beside another model's weights."""
    return (description / _FILE).is_file()


@contextmanager
def base_of(description: Path) -> Iterator[Base | None]:
    """Whom the adapters of a description need; None where it has no adapters.

    What is loaded inside says its errors as the description's. Raises UserError where that is not readable.
    """
    if not has_base(description):
        yield None
        return
    file = description / _FILE
    try:
        saved = read_json(file)
        base = Base(str(saved["source"]), str(saved["sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not readable ({error})", "copy the checkpoint again") from None
    try:
        yield base
    except UserError as error:
        raise UserError(
            f"{file}: its adapters need the weights of '{base.source}': {error.what}",
            f"put that model back, or write where it is now into {file.name}",
        ) from None


def check_base(description: Path, base: Base, sha256: str) -> None:
    """Raises UserError where what was loaded, of this hash, has other weights."""
    if sha256 != base.sha256:
        file = description / _FILE
        raise UserError(
            f"{file}: '{base.source}' has other weights than those beside which the adapters were trained",
            f"write where those are into {file.name}",
        )
