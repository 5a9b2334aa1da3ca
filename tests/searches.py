"""What tests of slots and of the search stand on: plans, and a study that is a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

from tuner.bench import Materials
from tuner.crews import CrewPlan
from tuner.history import History, Record
from tuner.hyperparameters import Configuration
from tuner.journal import Journal, read_history
from tuner.ledger import Ledger
from tuner.resources import Layout
from tuner.scheduler import Judge
from tuner.search import run_search
from tuner.slots import SlotPlan


class Listed:
    """A study that draws the listed configurations."""

    def __init__(self, configurations: list[dict[str, Any]], drawn: int) -> None:
        self._configurations = configurations
        self._drawn = drawn

    def draw(self) -> tuple[str, Configuration, bool]:
        number = self._drawn
        self._drawn += 1
        return f"t{number:03d}", self._configurations[number], False

    def tell(self, record: Record) -> None:
        pass


class Acting:
    """A watcher that calls `act(event, record)` on every event."""

    def __init__(self, act: Callable[[str, Record], None]) -> None:
        self._act = act

    def note(self, text: str) -> None:
        pass

    def search_started(self, planned: int, slots: int) -> None:
        pass

    def event(self, name: str, record: Record, history: History) -> None:
        self._act(name, record)

    def search_ended(self, reason: str) -> None:
        pass


def configuration(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A small trial's hyperparameters; `number` varies the learning rate and the seed."""
    return {
        "learning_rate": 1e-3 / (1 + number % 7),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "seed": number,
        **changes,
    }


def parent(process: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def rank_processes(raylet: int, name: str = "RayTrainWorker") -> Iterator[int]:
    """The processes of worker groups under a raylet; `name` begins another kind of Ray actor's."""
    kind = f"ray::{name}".encode()
    for folder in Path("/proc").iterdir():
        try:
            called = (folder / "cmdline").read_bytes()
            ours = parent(int(folder.name)) == raylet
        except (OSError, ValueError):  # no process, or one that has just ended
            continue
        if called.startswith(kind) and ours:
            yield int(folder.name)


def crew_plan(materials: Materials, folder: Path, workers: int = 1, local: bool = True) -> CrewPlan:
    return CrewPlan((ray.put(materials),), workers, 1.0, 0.0, str(folder / "train"), local)


def search(
    folder: Path,
    materials: Materials,
    configurations: list[dict[str, Any]],
    layout: Layout,
    *,
    act: Callable[[str, Record], None] = lambda event, record: None,
    attempts: int = 3,
    asha: bool = True,
    checkpoint_every: float = 600.0,
) -> History:
    """A whole search over the listed configurations; what the journal says afterwards."""
    journal_file = folder / "journal.jsonl"
    with Journal.open(journal_file) as journal:
        ledger = Ledger(
            journal,
            Listed(configurations, len(journal.history.records)),  # type: ignore[arg-type]
            Judge(3, "max", asha=asha),
            [Acting(act)],
            objective=materials.metrics[0],
            direction="max",
            planned=len(configurations),
            slots=layout.slots,
            seconds=None,
            attempts=attempts,
        )
        plan = SlotPlan(
            crew_plan(materials, folder, layout.workers),
            rungs=3,
            checkpoints=str(folder / "checkpoints"),
            checkpoint_every=checkpoint_every,
            predictions=str(folder / "predictions"),
        )
        run_search(ledger, plan, layout, folder / "search")
    return read_history(journal_file)
