"""How often what can be made anew at any time is made: not too soon, and for a small share of the
time. Knows nothing of what is made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 0.02
"""So much of the time goes into the work at most."""


class Throttle:
    """Paces a piece of work that is done again and again: `every` seconds at the soonest, and the
    less often the longer it takes."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._next = -math.inf

    @property
    def wait(self) -> float:
        """Seconds until the work may begin again; 0 when it may."""
        return max(0.0, self._next - time.monotonic())

    @contextmanager
    def work(self) -> Iterator[None]:
        """The work, which is timed; also where it raises."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._next = began + self.pause(time.monotonic() - began)

    def pause(self, took: float) -> float:
        """Seconds from the beginning of work that takes `took` seconds to the next one's."""
        return max(self._every, took / SHARE)
