"""The processes that train one trial together, and what they tell each other outside the gradients.

One process alone is a group of one. Knows nothing of trials.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from tuner.errors import CrewLost, TunerError

Value = TypeVar("Value")

PATIENCE = timedelta(minutes=30)
"""The longest that one rank waits for the others, for example while one of them writes a file."""

SHORT = timedelta(seconds=60)
"""How long a rank that failed waits to hear whether the others failed with it."""


class TrialFailed(TunerError):
    """The trial is over and every rank knows it; the ranks themselves are well."""


class Ranks:
    """This process's place among the ranks, and the one way in which they talk: `exchange`.

    Gradients go through the default process group. Everything else goes through a gloo group of its
    own, and always as the same kind of message with a tag: ranks that have lost step see it in the
    tag, instead of waiting for each other or reading each other's numbers.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.size = dist.get_world_size() if together else 1
        self.index = dist.get_rank() if together else 0
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE) if together else None

    def exchange(self, tag: str, value: Value, patience: timedelta = PATIENCE) -> list[Value]:
        """Every rank's value, in the order of the ranks. Values must be picklable.

        Raises CrewLost when another rank came with another tag, or none came within `patience`.
        """
        if self._group is None:
            return [value]
        try:
            told = [
                pickle.loads(data) for data in self._gather(pickle.dumps((tag, value)), patience)
            ]
        except RuntimeError as error:
            raise CrewLost(f"a rank no longer answers at {tag!r}: {error}") from error
        tags = [other for other, _ in told]
        if set(tags) != {tag}:
            raise CrewLost(f"the ranks have lost step: they came with {', '.join(tags)}")
        return [value for _, value in told]

    def share(self, tag: str, value: Value) -> Value:
        """Rank 0's value, on every rank."""
        return self.exchange(tag, value if self.index == 0 else None)[0]  # type: ignore[return-value]

    def first(self, tag: str, act: Callable[[], Value]) -> Value:
        """What `act` returns on rank 0, where alone it is called, on every rank.

        When it raises, every rank raises TrialFailed with its message (CrewLost stays what it is).
        """
        if self._group is None:
            return act()
        value, failure, cause = None, None, None
        if self.index == 0:
            try:
                value = act()
            except CrewLost:
                raise
            except Exception as error:
                failure, cause = one_line(error), error
        value, failure = self.share(tag, (value, failure))
        if failure is not None:
            raise TrialFailed(failure) from cause
        return value  # type: ignore[return-value]

    def _gather(self, data: bytes, patience: timedelta) -> list[bytes]:
        mine = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        self._all_gather(sizes, torch.tensor([len(data)]), patience)
        widest = max(int(size) for size in sizes)
        sent = torch.zeros(widest, dtype=torch.uint8)
        sent[: len(mine)] = mine
        parts = [torch.empty(widest, dtype=torch.uint8) for _ in range(self.size)]
        self._all_gather(parts, sent, patience)
        return [
            part[: int(size)].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)
        ]

    def _all_gather(
        self, into: list[torch.Tensor], mine: torch.Tensor, patience: timedelta
    ) -> None:
        call: Any = dist.all_gather(into, mine, group=self._group, async_op=True)
        call.wait(patience)


def one_line(error: BaseException) -> str:
    """`ValueError: what it says`, on one line of at most 500 characters."""
    said = " ".join(str(error).split())
    name = type(error).__name__
    text = said if isinstance(error, TunerError) else f"{name}: {said}" if said else name
    return text if len(text) <= 500 else text[:499] + "…"
