"""Manifests over the audio of prepared sets: all transcripts of training, and texts as they are written.

labelled_all        labelled and untranscribed with their transcripts: what an oracle trains on
NAME_written        the set NAME with cased, punctuated text, as Whisper and its kin are trained on
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...contents import set_files
from ...manifests import WRITTEN, read_cuts, write_cuts

if TYPE_CHECKING:
    from lhotse import MonoCut

_WRITTEN_OF = ("test", "dev", "labelled", "labelled_all")
DERIVED = ("labelled_all", *(f"{name}_written" for name in _WRITTEN_OF))
"""Names of the sets that `write_derived` makes."""


def write_derived(output: Path) -> None:
    """Write those of DERIVED that OUT has not yet; prepared anew, it has none. Equal sets give equal files."""
    both = [name for name in ("labelled", "untranscribed") if _manifest(output, name).is_file()]
    if both and not _manifest(output, "labelled_all").is_file():
        cuts = [cut for name in both for cut in _transcribed(output, name)]
        write_cuts(_manifest(output, "labelled_all"), cuts)
    for name in _WRITTEN_OF:
        target = _manifest(output, f"{name}_written")
        if _manifest(output, name).is_file() and not target.is_file():
            write_cuts(target, map(_as_written, read_cuts(_manifest(output, name))))


def _transcribed(output: Path, name: str) -> Iterator[MonoCut]:
    """The cuts of a set, with the transcripts that its manifest withholds."""
    _, plain, written = set_files(name)
    texts, written_texts = _read(output / plain), _read(output / written)
    for cut in read_cuts(_manifest(output, name)):
        supervision = cut.supervisions[0]
        if cut.id in texts:
            supervision.text = texts[cut.id]
            supervision.custom = {WRITTEN: written_texts[cut.id]}
        yield cut


def _as_written(cut: MonoCut) -> MonoCut:
    supervision = cut.supervisions[0]
    supervision.text = (supervision.custom or {})[WRITTEN]
    return cut


def _read(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name: text for name, _, text in (line.partition("\t") for line in lines)}


def _manifest(output: Path, name: str) -> Path:
    return output / set_files(name)[0]
