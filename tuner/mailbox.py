"""The mailbox between a slot and its warm train loop: orders in, reports out, words back.

Knows nothing of how a trial trains, and nothing of Tune.
"""

from __future__ import annotations

import asyncio
import queue
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from tuner.errors import CrewLost
from tuner.hyperparameters import Configuration

Word = Literal["go", "stop", "leave"]
"""The answer to a rung's report: go on, end here for good, or end here and keep the checkpoint."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Order:
    """One trial to run.

    `rungs` is the number of rungs (1: only the end; 0: one at the end of every epoch). At each,
    `training_rows` of the training rows are scored beside the selection rows. `checkpoints` is a
    folder of the trial's own for its newest checkpoint (None: keep none); when one lies there, the
    trial goes on from it. `ticks` > 0 asks for a report without scores every so many seconds.
    `save_to` is a folder into which rank 0 writes the trained model (config and safetensors) at the
    end. `predictions` is a Parquet file into which rank 0 writes the selection rows' logits at the
    end. `log` is the trial's log, a file or a URI, to which rank 0 appends (None: keep none); other
    ranks have files of their own beside it.
    """

    trial: str
    configuration: Configuration
    rungs: int = 3
    training_rows: int = 0
    checkpoints: str | None = None
    checkpoint_every: float = 600.0
    ticks: float = 0.0
    save_to: str | None = None
    predictions: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class Report:
    """What a trial says at a rung, at a tick or at its end.

    `kind`: "rung" waits for a word; "end" is the last rung, "failed" the end by an error, "unsaved"
    the end of a training whose model the disk did not take (its checkpoint stays), "tick" a sign of
    life; none of these four waits for a word. `metrics` are the task's, under their plain
    names, `train_metrics` the same on training rows, where the order asks for them; `loss` is the
    mean loss on the selection rows. Seconds count over restarts. `halvings` tells how often the
    micro-batch was halved because it did not fit the device. `warning` is what
    went wrong without ending the trial, such as a checkpoint that could not be written.
    """

    trial: str
    kind: Literal["rung", "end", "failed", "unsaved", "tick"]
    level: int = 0
    step: int = 0
    total_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    train_metrics: dict[str, float] = field(default_factory=dict)
    loss: float = float("nan")
    train_loss: float = float("nan")
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    total_seconds: float = 0.0
    effective_batch_size: int = 0
    micro_batch_size: int = 0
    gradient_accumulation_steps: int = 0
    workers: int = 1
    halvings: int = 0
    error: str | None = None
    warning: str | None = None

    @property
    def progress(self) -> float:
        """The share of the trial's own schedule that is done, 0 to 1."""
        return self.step / self.total_steps if self.total_steps else 0.0


class LoopSide(Protocol):
    """What rank 0 of the train loop holds. `home` is the slot's Ray node (None: the slot is in this
    very process)."""

    @property
    def home(self) -> str | None: ...

    def next_order(self, timeout: float) -> Order | Literal["exit"] | None:
        """The next order; "exit" to end; None when nothing came within `timeout` seconds."""

    def send(self, report: Report) -> None:
        """Hand a report over."""

    def next_word(self, timeout: float) -> Word | None:
        """The word on the last rung report; None when none came within `timeout` seconds."""


class CrewSide(Protocol):
    """What the slot holds."""

    def give(self, order: Order) -> None: ...

    def say(self, word: Word) -> None: ...

    def next_report(self, timeout: float) -> Report | None:
        """The next report; None when none came within `timeout` seconds."""

    def close(self) -> None:
        """Tell the loop to exit."""


class LocalMailbox:
    """A mailbox between two threads of one process; the one object is both sides."""

    home: str | None = None

    def __init__(self) -> None:
        self._orders: queue.Queue[Order | Literal["exit"]] = queue.Queue()
        self._reports: queue.Queue[Report] = queue.Queue()
        self._words: queue.Queue[Word] = queue.Queue()
        self._closed = False

    def next_order(self, timeout: float) -> Order | Literal["exit"] | None:
        return _next(self._orders, timeout)

    def send(self, report: Report) -> None:
        if self._closed:
            raise CrewLost("nobody waits for this trial any more")
        self._reports.put(report)

    def next_word(self, timeout: float) -> Word | None:
        return _next(self._words, timeout)

    def give(self, order: Order) -> None:
        self._orders.put(order)

    def say(self, word: Word) -> None:
        self._words.put(word)

    def next_report(self, timeout: float) -> Report | None:
        return _next(self._reports, timeout)

    def close(self) -> None:
        """A loop that waits for a word is told to stop its trial; then it finds "exit". One that is
        in the midst of a trial ends when it next has something to say."""
        self._closed = True
        self._words.put("stop")
        self._orders.put("exit")


def _next(waiting: queue.Queue[Item], timeout: float) -> Item | None:
    try:
        return waiting.get(timeout=timeout)
    except queue.Empty:
        return None


class _Office:
    """The Ray actor behind a `PostOffice`: three queues that wait without blocking one another."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[Any]] = {
            name: asyncio.Queue() for name in ("orders", "reports", "words")
        }
        self.asked = asyncio.Event()

    async def put(self, name: str, item: Any) -> None:
        await self.queues[name].put(item)

    async def met(self, name: str, timeout: float) -> bool:
        """Whether the loop has asked for an order yet."""
        try:
            await asyncio.wait_for(self.asked.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def next(self, name: str, timeout: float) -> Any:
        if name == "orders":
            self.asked.set()
        if not self.queues[name].empty():
            return self.queues[name].get_nowait()
        try:
            return await asyncio.wait_for(self.queues[name].get(), timeout)
        except TimeoutError:
            return None


class PostOffice:
    """A mailbox between processes, kept by a Ray actor; the one object is both sides.

    It can be passed to other processes of the same Ray cluster. The actor runs on the node that
    opened it and ends with the process that did, so that a loop whose slot has died finds out:
    every call raises CrewLost when the actor does not answer.
    """

    GRACE = 60.0
    """Seconds the actor may take beyond a call's own timeout."""

    def __init__(self) -> None:
        """Start the actor on this node. It takes no CPU of the cluster's count."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.home: str | None = ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(self.home, soft=False)
        options = {"num_cpus": 0, "max_concurrency": 16, "scheduling_strategy": here}
        self._office: Any = ray.remote(_Office).options(**options).remote()

    def remove(self) -> None:
        """End the actor; whoever still asks gets CrewLost."""
        import ray

        ray.kill(self._office)

    def met(self, timeout: float) -> bool:
        """Whether the loop has come for its first order; waits so many seconds for it."""
        return bool(self._ask("met", "orders", timeout, wait=timeout))

    def next_order(self, timeout: float) -> Order | Literal["exit"] | None:
        order: Order | Literal["exit"] | None = self._ask("next", "orders", timeout, wait=timeout)
        return order

    def send(self, report: Report) -> None:
        self._ask("put", "reports", report)

    def next_word(self, timeout: float) -> Word | None:
        word: Word | None = self._ask("next", "words", timeout, wait=timeout)
        return word

    def give(self, order: Order) -> None:
        self._ask("put", "orders", order)

    def say(self, word: Word) -> None:
        self._ask("put", "words", word)

    def next_report(self, timeout: float) -> Report | None:
        report: Report | None = self._ask("next", "reports", timeout, wait=timeout)
        return report

    def close(self) -> None:
        """A loop that waits for a word is told to stop its trial; then it finds "exit"."""
        self._ask("put", "words", "stop")
        self._ask("put", "orders", "exit")

    def _ask(self, method: str, name: str, item: Any, wait: float = 0.0) -> Any:
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError

        try:
            call = getattr(self._office, method).remote(name, item)
            return ray.get(call, timeout=wait + self.GRACE)
        except (RayActorError, GetTimeoutError) as error:
            raise CrewLost(f"the mailbox of a slot is gone: {type(error).__name__}") from error
