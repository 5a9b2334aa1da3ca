"""How far a count of rows has come, for a watcher to show, and how fast they went.

Knows nothing of what is counted, nor of where it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tuner.headings import duration
from tuner.progress import Watcher

_SOONEST = 0.5
"""Seconds before there is something to go by."""


def counting(watcher: Watcher, text: str, total: int) -> Callable[[int], None]:
    """Begin the stage `text`; a function to be told of every so many of its `total` rows that are
    done, from which the watcher hears how far they are and the time left."""
    watcher.stage(text)
    began, done = time.monotonic(), 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        spent = time.monotonic() - began
        left = spent / done * (total - done) if done and spent >= _SOONEST else None
        watcher.tick(done, total, left, "row")

    return advance


def rate(rows: int, seconds: float) -> str:
    """`1,234 rows/s`, `0.4 rows/s`."""
    a_second = rows / max(seconds, 1e-9)
    return f"{a_second:,.0f} rows/s" if a_second >= 10 else f"{a_second:.2g} rows/s"


def took(rows: int, seconds: float) -> str:
    """`50,000 rows in 2 min, 400 rows/s`."""
    return f"{rows:,} row{'s' * (rows != 1)} in {duration(seconds)}, {rate(rows, seconds)}"
