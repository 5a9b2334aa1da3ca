"""The errors that tuner raises on purpose, each one line: the value, the rule, the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TunerError(Exception):
    """The root of every error raised on purpose. The command line exits with 1."""


class UserError(TunerError):
    """What the user gave cannot be used. The command line prints the line and exits with 2."""


class Unwritable(TunerError):
    """A disk does not take what is to be kept: it is full, read-only, or not this user's."""


class Absent(UserError):
    """What was asked for is not there, and may be done without; `what` says so, without the rest
    of the message."""

    def __init__(self, what: str, way_out: str) -> None:
        super().__init__(f"{what}; {way_out}")
        self.what = what


class SearchError(TunerError):
    """A search ended without a single finished trial, or could not go on."""


class CrewLost(TunerError):
    """A worker group's process died or cannot be trusted any more; the slot must be replaced."""


class Preempted(CrewLost):
    """A worker group left its trial because its host is about to be taken away."""


class NoRoom(Preempted):
    """A worker group was never placed: no host had room for it. Nothing happened to its trial."""


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `names`, or an empty string."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
