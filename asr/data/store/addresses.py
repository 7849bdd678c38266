"""Addresses of object stores: which there are, what each needs, and no secret in any of them."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import urlsplit

from asr.errors import UserError


class Scheme(NamedTuple):
    """A kind of store."""

    package: str | None
    """What it needs; None for nothing more."""
    extra: str
    credentials: str
    """Where its own tools look for them."""


SCHEMES = {
    "http": Scheme(None, "", "~/.netrc"),
    "https": Scheme(None, "", "~/.netrc"),
    "s3": Scheme("s3fs", "s3", "~/.aws/credentials, AWS_PROFILE or the machine's role"),
    "gs": Scheme("gcsfs", "gs", "`gcloud auth application-default login` or the machine's account"),
    "hf": Scheme("huggingface_hub", "hf", "`hf auth login` or HF_TOKEN"),
}
WRITABLE = tuple(name for name, scheme in SCHEMES.items() if scheme.package)
_SECRET = re.compile(r"(?<=://)[^/@\s'\"]*@|\?[^\s'\"<>)]+")


def is_address(text: str) -> bool:
    """Whether a text is an address, and no path."""
    return "://" in text


def without_secrets(text: str) -> str:
    """A text, such as a library's error, without what its addresses have of passwords and signatures."""
    return _SECRET.sub("", text)


def checked(address: str, where: str) -> str:
    """The address of a folder or a file, without a slash at its end; `where` says who gives it.

    Raises UserError for one of no store that we know, one that holds a password, a signature or another
    query, and where the store's package is not installed. The message has no secret.
    """
    shown = without_secrets(address)
    try:
        parts = urlsplit(address)
        is_secret = "@" in parts.netloc or bool(parts.query)
    except ValueError:
        parts, is_secret = urlsplit(""), False
    if is_secret or shown != address:
        kind = SCHEMES.get(parts.scheme)
        raise UserError(
            f"{where}: {shown} is given with a user, a password, a signature or another query, which would "
            "be written into manifests and logs",
            "leave that out"
            + (f": credentials are looked for in {kind.credentials}" if kind else ""),
        )
    if parts.scheme not in SCHEMES or not parts.netloc or not address.isprintable():
        raise UserError(
            f"{where}: '{shown[:200]}' is no address of an object store",
            f"it must begin with {', '.join(f'{name}://' for name in SCHEMES)}, and name a bucket or a host",
        )
    scheme = SCHEMES[parts.scheme]
    if scheme.package is not None and find_spec(scheme.package) is None:
        raise UserError(
            f"{where}: {shown} needs {scheme.package}, which is not installed",
            f"pip install 'asr-ema[{scheme.extra}]'",
        )
    return address.rstrip("/")
