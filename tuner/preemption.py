"""Whether a host is about to be taken away, and what Ray says of a slot that is gone.

The one place that reads Ray's drain notices, for slots of one and of several workers alike: Train's
own watcher takes a process for every worker group, looks every five seconds, tells a train loop
only through a barrier of all workers, and does not exist in its local mode.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tuner.errors import CrewLost, Preempted

EVERY = 1.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Notice:
    """The host `host` will be taken away, at `deadline` (unix seconds; None: nobody said when)."""

    host: str
    deadline: float | None = None

    def __str__(self) -> str:
        when = ""
        if self.deadline is not None:
            when = time.strftime(" at %H:%M:%S", time.localtime(self.deadline))
        return f"{self.host} is to be taken away{when}"


def draining() -> dict[str, float | None]:
    """The Ray nodes that are to be taken away, and when (unix seconds; None: nobody said).

    Public calls do not tell; Train's watcher asks the same. Takes a millisecond.
    """
    import ray

    told: dict[str, int] = ray._private.state.state.get_draining_nodes()
    return {node: milliseconds / 1000 or None for node, milliseconds in told.items()}


def notice(nodes: Collection[str] = ()) -> Notice | None:
    """The notice for this process's host or for one of the Ray nodes `nodes`, None without one.
    None also where this process belongs to no cluster."""
    import ray

    if not ray.is_initialized():
        return None
    here = ray.get_runtime_context().get_node_id()
    told = draining()
    for node in (here, *nodes):
        if node in told:
            host = socket.gethostname() if node == here else "the slot's own host"
            return Notice(host, told[node])
    return None


class Watch:
    """Looks for a notice once a second in a thread of its own: training never waits for a look."""

    def __init__(self, nodes: Collection[str] = ()) -> None:
        self.notice: Notice | None = None
        self._nodes = tuple(nodes)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="preemption-watch", daemon=True)

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            # A head that does not answer gives no notice; the next look may.
            with contextlib.suppress(Exception):
                self.notice = notice(self._nodes)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(EVERY)


@dataclass(frozen=True)
class Loss:
    """Why a slot is gone, in one line; whether its host was taken away after a notice."""

    why: str
    preempted: bool = False


def loss_of(error: BaseException) -> Loss:
    """The most telling of an error's causes: Ray and Train wrap them several times over, and a
    worker group names one for every worker."""
    told = [(_rank(cause), cause) for cause in _causes(error)]
    rank, cause = min(told, key=lambda pair: pair[0])
    return Loss(_line(cause), preempted=rank < _PREEMPTED)


_PREEMPTED = 3


def _rank(error: BaseException) -> int:
    """The lower, the more telling; below `_PREEMPTED` where the host was taken away."""
    from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError
    from ray.train.v2.api.exceptions import PreemptionError

    if isinstance(error, Preempted):
        return 0
    if isinstance(error, RayActorError) and (error.preempted or _OURS.search(str(error))):
        return 1
    if isinstance(error, PreemptionError):
        return 2
    if isinstance(error, RayActorError | WorkerCrashedError | OutOfMemoryError):
        return 3  # before the workers that noticed it and gave up
    return 4 if isinstance(error, CrewLost) else 5


_OURS = re.compile(r"tuner\.errors\.(?:NoRoom|Preempted): (.+)")
"""What a slot that never came up had to say: of an actor's start Ray keeps the text alone."""

_WRAPPING = ("cause", "controller_failure", "health_check_failure", "_base_exc")
"""Where Ray's and Train's errors keep the one that they tell of."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and whatever is wrapped in it, from the inside out."""
    wrapped: list[Any] = [error.__cause__, *getattr(error, "worker_failures", {}).values()]
    wrapped += [getattr(error, name, None) for name in _WRAPPING]
    for inner in wrapped:
        if isinstance(inner, BaseException) and inner is not error:
            yield from _causes(inner)
    yield error


def _line(error: BaseException) -> str:
    """An error in one line. Of Ray's own long ones: who died where, and what Ray knows of it."""
    from ray.exceptions import RayActorError

    text = str(error).strip()
    if isinstance(error, RayActorError) and (ours := _OURS.search(text)):
        return ours[1].strip()[:_LONGEST]
    if isinstance(error, RayActorError):
        return _obituary(text, error.preempted)[:_LONGEST]
    if isinstance(error, CrewLost):
        return " ".join(text.split())[:_LONGEST]
    lines = text.splitlines()
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no message'}"[:_LONGEST]


_LONGEST = 300


def _obituary(text: str, preempted: bool) -> str:
    said = dict(re.findall(r"^\s*(pid|ip): (\S+)$", text, re.MULTILINE))
    at = f" {said['ip']}" if "ip" in said else ""
    if preempted:
        return f"its host{at} was taken away"
    if node := re.search(r"its node has died.*\n?\s*(?:the actor's node was )?(.*)", text):
        why = node[1].strip()
        return f"its host{at} is gone" + (f": {why}" if why else "")
    process = f" (pid {said['pid']} on{at})" if "pid" in said and at else ""
    detail = re.search(r"Worker exit detail: (.*?)(?: Some common| There are some|$)", text)
    why = detail[1].strip() if detail else text.splitlines()[-1].strip() if text else ""
    if "connection error code" in why:  # all that Ray knows: nobody answers any more
        why = "killed, by hand or for want of memory, or crashed"
    return f"its process died{process}" + (f": {why}" if why else "")
