"""What a failed request to a store means, and when it is made again."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, TypeVar

from asr.data.store.addresses import SCHEMES, without_secrets
from asr.errors import StoreAwayError, UserError
from asr.utils.faults import first_line

_FIRST_WAIT_SECONDS, _MOST_WAIT_SECONDS = 0.5, 30.0
_ASK_AGAIN = {408, 425, 429}
_GONE = {404, 410, 416}
_REFUSALS = ("NoCredentialsError", "DefaultCredentialsError", "RefreshError", "PermissionError")
"""Errors by which libraries say that there are no credentials, or no good ones."""
# Of its own, since nothing that is computed hangs on when a store is asked again.
_random = random.Random()


class GoneError(OSError):
    """The store answers, and does not have it."""


class Fault(StrEnum):
    """What a failed request means."""

    GONE = "gone"
    REFUSED = "refused"
    PASSING = "passing"


def fault_of(error: BaseException) -> tuple[Fault, float]:
    """What an error of a request means, and for how many seconds the store asks to be left alone."""
    fault, alone_seconds = Fault.PASSING, 0.0
    for one in _chain(error):
        status, headers, code = _answer(one)
        alone_seconds = max(alone_seconds, _retry_after_seconds(headers))
        if code == "NoSuchBucket" or type(one).__name__ in _REFUSALS:
            return Fault.REFUSED, 0.0
        if status in _GONE or isinstance(one, (GoneError, FileNotFoundError)):
            fault = Fault.GONE
        elif 400 <= status < 500 and status not in _ASK_AGAIN:
            fault = Fault.REFUSED
    return fault, alone_seconds


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    seen = set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _answer(error: BaseException) -> tuple[int, Mapping[str, Any], str]:
    """HTTP status (0: none), headers and code, as botocore, aiohttp, httpx, requests and gcsfs keep them."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping):
        about = response.get("ResponseMetadata") or {}
        code = (response.get("Error") or {}).get("Code", "")
        return int(about.get("HTTPStatusCode") or 0), about.get("HTTPHeaders") or {}, str(code)
    holder = error if response is None else response
    # aiohttp says `code` 400 of an answer that was cut short, too.
    names = ("status_code", "status", *(["code"] if type(error).__name__ == "HttpError" else []))
    numbers = [getattr(holder, name, None) for name in names]
    status = next((n for n in numbers if isinstance(n, int)), 0)
    headers = getattr(holder, "headers", None)
    return status, headers if isinstance(headers, Mapping) else {}, ""


def _retry_after_seconds(headers: Mapping[str, Any]) -> float:
    """RFC 9110, section 10.2.3: seconds, or a date."""
    said = next((str(headers[name]) for name in headers if name.lower() == "retry-after"), "")
    if re.fullmatch(r"\d{1,9}", said.strip()):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


T = TypeVar("T")


def patiently(address: str, seconds: float, request: Callable[[], T]) -> T:
    """What a request gives, made again as `Patience` says. Raises as its `wait`, and UserError."""
    patience = Patience(seconds)
    while True:
        try:
            return request()
        except UserError:
            raise
        except Exception as error:  # each library has its own
            patience.wait(address, error)


@dataclass
class Patience:
    """With one request, which may be made again for so long after its first failure."""

    seconds: float
    refetched: int = 0
    """How often it was."""
    _until: float | None = field(default=None, init=False)

    def wait(self, address: str, error: BaseException) -> None:
        """Until the request may be made again. Raises GoneError, or StoreAwayError where that makes no sense.

        Exponential backoff with full jitter, and never sooner than the store asks for.
        """
        fault, alone_seconds = fault_of(error)
        reason = without_secrets(first_line(error))[:300]
        if fault is Fault.GONE:
            raise GoneError(reason) from None
        if fault is Fault.REFUSED:
            scheme = SCHEMES[address.partition("://")[0]]
            raise StoreAwayError(
                f"{address}: the store refuses ({reason})",
                f"see to its name and credentials ({scheme.credentials}), and run the same command again",
            ) from None
        now = time.monotonic()
        if self._until is None:
            self._until = now + self.seconds
        most = min(_MOST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0**self.refetched)
        pause = max(_random.uniform(0.0, most), alone_seconds)
        if now + pause >= self._until:
            raise StoreAwayError(
                f"{address}: the store is away ({reason}; asked {self.refetched + 1} times)",
                "run the same command again when it is back (corpus.store.patience_seconds: how long to wait)",
            ) from None
        self.refetched += 1
        time.sleep(pause)
