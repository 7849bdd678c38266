"""Large files from a server: continued where they stopped, and checked against its list of checksums."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from pathlib import Path

from asr.errors import UserError


def checksums(url: str) -> dict[str, str]:
    """MD5 by file name, of a list as md5sum writes it. Raises UserError where it cannot be had."""
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


def fetch(url: str, target: Path, md5: str | None) -> None:
    """Download to `target`, from where an earlier call was stopped.

    Raises UserError when the server cannot be reached, or the file is not that of the checksum: it is then
    removed.
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
    if md5 is None:
        print(f"{target}: the server has no checksum of it; not checked")
        return
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        target.unlink()
        raise UserError(
            f"{target}: is not what {url} should be (MD5 {found}, expected {md5}), and was removed",
            "run the same command again",
        )
