"""Large files from a server: continued where they stopped, checked, and unpacked with no way out."""

from __future__ import annotations

import hashlib
import http.client
import tarfile
import urllib.request
import zlib
from pathlib import Path
from urllib.parse import urlsplit

from asr.errors import UserError


def checksums(url: str) -> dict[str, str]:
    """MD5 by file name, of a list as md5sum writes it. Raises UserError where it cannot be had.

    From the server itself: it shows damage, and no other file that the server gives for the right one.
    """
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            text = response.read().decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{url}: the list of checksums cannot be fetched ({error})", "try again"
        ) from None
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) == 2)
    return {name.strip().lstrip("*").rpartition("/")[2]: digest for digest, name in pairs}


def _bytes_of(url: str) -> int | None:
    """Length of a remote file; None where the server does not tell."""
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=60) as response:
        length = response.headers.get("Content-Length")
    return None if length is None else int(length)


def check_address(url: str) -> None:
    """Raises UserError for an address, not on this machine, that anybody on the way may answer for."""
    parts = urlsplit(url)
    near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and near):
        raise UserError(f"{url}: is no https address", "name one that begins with https://")


def fetch(url: str, target: Path, md5: str | None, sha256: str | None = None) -> None:
    """Download to `target`, from where an earlier call was stopped.

    Raises UserError when the server cannot be reached, or the file is not that of the checksum: it is then
    removed. `sha256` is one that we know, and goes before `md5`, which the server says.
    """
    from lhotse.utils import resumable_download

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        whole = _bytes_of(url)
        resumable_download(url, target)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"{url}: download failed ({error})",
            f"the same command continues, what came is in {target}",
        ) from None
    came = target.stat().st_size
    if whole is not None and came < whole:
        raise UserError(
            f"{url}: the connection ended after {came:,} of {whole:,} bytes",
            "the same command continues",
        )
    if whole is not None and came > whole:  # a server without byte ranges sent all of it once more
        target.unlink()
        raise UserError(
            f"{target}: has {came:,} bytes where {url} has {whole:,}, and was removed",
            "run the same command again",
        )
    kind, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    if expected is None:
        print(f"{target}: the server has no checksum of it; not checked")
        return
    with target.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected:
        target.unlink()
        raise UserError(
            f"{target}: is not what {url} should be ({kind.upper()} {found}, expected {expected}), "
            "and was removed",
            "run the same command again",
        )
    if not sha256:
        print(f"{target}: checked by MD5 of the server's own alone; we know no SHA-256 of it")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar into a folder: files and folders alone, none outside of it.

    Raises UserError for links, devices and paths that lead out, and where the archive is damaged.
    """
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter=_files_alone)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(
            f"{archive}: cannot be unpacked ({error})",
            f"see what it holds (tar tvf), or remove {archive.name} and run the same command again",
        ) from None


def _files_alone(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    if not member.isreg() and not member.isdir():
        raise tarfile.TarError(f"'{member.name}' is a link or a device, and no file")
    return tarfile.data_filter(member, folder)
