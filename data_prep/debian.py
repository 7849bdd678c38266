"""Packages of Debian as data: fetched with `apt-get download`, unpacked with `dpkg-deb -x`.

No root is needed, and nothing is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from asr.errors import UserError


@dataclass(frozen=True)
class Package:
    """A package by its name, and how much is fetched, in words."""

    name: str
    size: str

    def find_source(self, source: Path | None, download_dir: Path) -> Path:
        """`source` itself where it is no package; else the folder into which the package was unpacked.

        Without `source` the package is fetched. Raises UserError when it cannot be had.
        """
        if source is not None and not source.exists():
            raise UserError(f"--source {source}: no such file or folder", "check the path")
        if source is not None and (source.is_dir() or source.suffix != ".deb"):
            return source
        return self._unpack(source or self._download(download_dir), download_dir)

    def _download(self, download_dir: Path) -> Path:
        """Fetch the package with apt-get, unless it is there. A partial file never has its name."""
        present = sorted(download_dir.glob(f"{self.name}_*.deb"))
        if present:
            return present[-1]
        print(f"fetching {self.name} ({self.size}) to {download_dir}")
        partial = download_dir / f".{self.name}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        self._call(["apt-get", "download", self.name], partial)
        fetched = sorted(partial.glob(f"{self.name}_*.deb"))
        if not fetched:
            raise UserError(
                f"'apt-get download {self.name}' brought no file", "use --source FILE.deb"
            )
        target = download_dir / fetched[-1].name
        os.replace(fetched[-1], target)
        shutil.rmtree(partial)
        return target

    def _unpack(self, package: Path, download_dir: Path) -> Path:
        """Unpack in user space, unless done; the folder has its name only when it is whole."""
        # Two packages of one name are told apart, so that the second is not taken for the first.
        status = package.stat()
        mark = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:8]
        target = download_dir / f"{package.stem}-{mark}"
        if target.is_dir():
            return target
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._call(["dpkg-deb", "-x", str(package.resolve()), str(partial.resolve())], download_dir)
        os.replace(partial, target)
        return target

    def _call(self, command: list[str], folder: Path) -> None:
        elsewhere = f"a {self.name} .deb fetched elsewhere can be given with --source"
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, errors="replace", check=False
            )
        except FileNotFoundError:
            raise UserError(
                f"{command[0]} is not on this machine (not Debian?)", elsewhere
            ) from None
        if done.returncode == 0:
            return
        words = " ".join((done.stderr or done.stdout).split())
        remedy = elsewhere
        if command[0] == "apt-get":
            remedy = (
                f"bring the package lists with 'sudo apt-get update' and try again, or: {elsewhere}"
            )
        raise UserError(f"'{' '.join(command)}' failed: {words}", remedy)
