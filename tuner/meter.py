"""How far a count has come: a bar on a terminal, a plain line now and then elsewhere.

Writes to the stream it is given; knows nothing of what is counted.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from tuner.headings import duration, time_left

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 10.0
"""Seconds between two plain lines."""

_SOONEST = 0.5
"""Seconds before a rate is worth showing."""


class Meter:
    """Stages of a command, and counts of rows with rows a second and the time left.

    A stream that is gone raises nothing. To be used with `with`; the bar vanishes at the end.
    """

    def __init__(self, stream: IO[str], *, every: float = EVERY) -> None:
        self._stream = stream
        self._every = every
        self._bar: Progress | None = None

    def stage(self, text: str) -> None:
        """Say what is being done from now on."""
        if self._bar is None:
            self._say(text)
            return
        with contextlib.suppress(OSError, ValueError):
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(text, total=None, told="")

    def counting(self, text: str, total: int) -> Callable[[int], None]:
        """A function to be told of every so many rows that are done; `total` rows in all."""
        self.stage(text)
        began = said = time.monotonic()
        done = 0

        def advance(rows: int) -> None:
            nonlocal done, said
            done += rows
            now = time.monotonic()
            if self._bar is not None:
                with contextlib.suppress(OSError, ValueError, IndexError):
                    told = progress(done, total, now - began)
                    self._bar.update(self._bar.task_ids[-1], total=total, completed=done, told=told)
            elif now - said >= self._every:
                said = now
                self._say(f"{text}: {progress(done, total, now - began)}")

        return advance

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            coding = getattr(self._stream, "encoding", None) or "utf-8"
            self._stream.write(f"{text}\n".encode(coding, "replace").decode(coding))
            self._stream.flush()

    def __enter__(self) -> Self:
        if self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

            columns = (
                SpinnerColumn("line"),
                TextColumn("{task.description}", markup=False),
                BarColumn(30),
                TextColumn("{task.fields[told]}", markup=False),
            )
            console = Console(file=self._stream, highlight=False)
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._bar.stop()
            self._bar = None


def progress(done: int, total: int, seconds: float) -> str:
    """`1,200 of 50,000 rows, 400 rows/s, about 2 min left`."""
    parts = [f"{done:,} of {total:,} rows"]
    if done and seconds >= _SOONEST:
        parts.append(rate(done, seconds))
        if done < total:
            parts.append(time_left(seconds / done * (total - done)))
    return ", ".join(parts)


def rate(rows: int, seconds: float) -> str:
    """`1,234 rows/s`, `0.4 rows/s`."""
    a_second = rows / max(seconds, 1e-9)
    return f"{a_second:,.0f} rows/s" if a_second >= 10 else f"{a_second:.2g} rows/s"


def took(rows: int, seconds: float) -> str:
    """`50,000 rows in 2 min, 400 rows/s`."""
    return f"{rows:,} row{'s' * (rows != 1)} in {duration(seconds)}, {rate(rows, seconds)}"
