"""The one exception that means: the user can fix it."""

from __future__ import annotations


class UserError(ValueError):
    """What is wrong and where, and the remedy: one message. The command line exits with status 2."""

    def __init__(self, what: str, remedy: str) -> None:
        """`what` names the file or setting and the value; `remedy` says what to do."""
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy
        self.is_said_elsewhere = False
        """Whether another rank of the same run tells people of it."""
        self.is_of_all_ranks = False
        """Whether all of them raise it, and so can save together."""

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"

    def of_all(self, is_first: bool) -> UserError:
        """The same error, which all ranks raise and the first one says; `is_first`: this rank is that one."""
        self.is_of_all_ranks, self.is_said_elsewhere = True, not is_first
        return self

    def at(self, place: str) -> UserError:
        """The same error, said of a place: a file, a setting, an utterance."""
        return UserError(f"{place}: {self.what}", self.remedy)


class LostAudioError(UserError):
    """Audio of one utterance, or its stored features, that was there when it was prepared.

    What reads many goes on without it, counts it and says so.
    """


class CollapseError(UserError):
    """Of the representations that a run trains: it ends, and saves nothing of them."""


class StoreAwayError(UserError):
    """An object store that does not answer, or refuses: its audio is not lost.

    What trains on it saves and ends.
    """
