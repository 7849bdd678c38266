"""What a check finds: a problem with its remedy, or a note."""

from __future__ import annotations

from dataclasses import dataclass

from asr.errors import UserError


@dataclass(frozen=True)
class Finding:
    """Something that a user should know before an hour is spent."""

    what: str
    remedy: str = ""
    """Empty where `what` says it."""
    is_problem: bool = True
    """Or else a note: the run works, but perhaps not as it is meant."""

    @classmethod
    def of(cls, error: UserError, where: str = "") -> Finding:
        """An error of ours as a problem."""
        return cls(where + error.what, error.remedy)


def note(what: str, remedy: str = "") -> Finding:
    """A finding that does not stop anybody."""
    return Finding(what, remedy, is_problem=False)
