"""The one exception that means: the user can mend it."""

from __future__ import annotations


class UserError(ValueError):
    """What is wrong, where, and the remedy, in one line. The command line exits with status 2."""
