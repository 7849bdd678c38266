"""Every recording under a folder: links are followed once, and what cannot be listed or is none is named."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from asr.errors import UserError

from ..manifests import Reject
from ..recordings import CONVERTED, CONVERTED_NAME, MADE_HERE

# What soundfile cannot read (m4a and the like) is listed too: it is then rejected and counted.
EXTENSIONS = {
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf"),
    *(".sph", ".w64", ".rf64", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".mkv", ".mov"),
    ".avi",
}
_APPLE_DOUBLE = b"\x00\x05\x16\x07"


@dataclass
class Walk:
    """What a folder holds."""

    files: list[Path] = field(default_factory=list)
    """Sorted; all that may be audio, but for what preparation itself has written."""
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """Folders that cannot be listed, and why."""
    companions: list[Path] = field(default_factory=list)
    """Files ._NAME that macOS writes beside each file on foreign disks."""
    own: int = 0
    """Recordings that preparation has converted."""

    def rejects(self, root: Path, set_name: str) -> tuple[list[Reject], list[Reject]]:
        """Folders that cannot be listed; and what is left out without being a fault."""

        def reject(path: Path, reason: str, detail: str) -> Reject:
            name = path.relative_to(root).as_posix()
            return Reject(name, os.path.abspath(path), set_name, reason, detail)

        closed = [
            reject(path, "unreadable_folder", f"{why}: nothing in it is known; make it readable")
            for path, why in self.unreadable
        ]
        beside = [
            reject(path, "no_recording", "macOS keeps attributes of a file there")
            for path in self.companions
        ]
        return closed, beside

    def notes(self) -> list[str]:
        """For people."""
        if not self.own:
            return []
        return [f"{self.own} files that preparation has converted are no recordings: not listed"]


def walk(root: Path, output: Path) -> Walk:
    """List a folder to any depth. What lies under `output`, unless that holds `root`, is not input.

    Raises UserError where there is no audio.
    """
    found, real_output = Walk(), output.resolve()
    seen, links = set[tuple[int, int]](), list[Path]()
    _list(root, found, seen, links, real_output)
    # Folders first, so that what can be reached without a link has its own name.
    while links:
        links.sort()
        _list(links.pop(0), found, seen, links, real_output)
    if not found.files and not found.unreadable:
        known = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
        own = f" but the {found.own} files that preparation has converted" if found.own else ""
        raise UserError(
            f"--root {root}: no audio found{own}", f"name a folder of files that end in {known}"
        )
    found.files.sort()
    return found


def closed_folders(root: Path) -> Walk:
    """Of a folder only what cannot be listed."""
    found = Walk()
    _list(root, found, set(), [], root / CONVERTED)
    return Walk(unreadable=found.unreadable)


def _list(
    folder: Path, found: Walk, seen: set[tuple[int, int]], links: list[Path], output: Path
) -> None:
    todo = [folder]
    while todo:
        here = todo.pop()
        try:
            state = here.stat()
            if (state.st_dev, state.st_ino) in seen or here.resolve() == output:
                continue
            seen.add((state.st_dev, state.st_ino))
            entries = list(os.scandir(here))
        except OSError as error:
            found.unreadable.append((here, error.strerror or str(error)))
            continue
        for entry in entries:
            path = here / entry.name
            if os.path.isdir(path):
                (links if entry.is_symlink() else todo).append(path)
            elif path.suffix.lower() in EXTENSIONS:
                _add(path, found, output)


def _add(path: Path, found: Walk, output: Path) -> None:
    if path.name.startswith("._") and _begins_with(path, _APPLE_DOUBLE):
        found.companions.append(path)
    elif CONVERTED_NAME.search(path.name) and _is_own(path, output):
        found.own += 1
    else:
        found.files.append(path)


def _begins_with(path: Path, head: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(head)) == head
    except OSError:
        return False


def _is_own(path: Path, output: Path) -> bool:
    """Whether preparation has written a file: into this output, or into any."""
    if path.resolve().is_relative_to(output / CONVERTED):
        return True
    try:
        with soundfile.SoundFile(os.fsencode(path)) as sound:
            return bool(sound.comment == MADE_HERE)
    except (OSError, soundfile.SoundFileError):
        return False
