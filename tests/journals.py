"""Small journals for tests: a search told in a few lines, written by the real `Journal`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.journal import History, Journal

STEPS = 90
RUNGS = ((1, 10), (3, 30), (9, 90))
"""Level and step of each rung of a schedule of `STEPS` steps."""


@dataclass(frozen=True)
class Told:
    """A trial for a journal: its objective at each rung that it reached, and how it ended.

    `status` "running" leaves it begun, "drawn" not even that; then `values` may be empty.
    """

    status: str = "finished"
    values: tuple[float, ...] = (0.5, 0.6, 0.7)
    loss: float = 0.6
    error: str | None = None
    seconds: float = 10.0
    configuration: Mapping[str, Any] = field(
        default_factory=lambda: {
            "learning_rate": 3.14e-5,
            "num_train_epochs": 3,
            "seed": 7,
            "per_device_train_batch_size": 16,
        }
    )


def drawn(journal: Journal, number: int, told: Told | None = None) -> str:
    """Draw a trial, and return its name."""
    name = f"t{number:03d}"
    configuration = (told or Told()).configuration
    start = number == 0
    journal.append(
        "drawn", trial=name, number=number, configuration=configuration, start_point=start
    )
    return name


def said(name: str, rung: int, value: float, told: Told | None = None) -> dict[str, Any]:
    """The fields of a report of trial `name` at a rung (0, 1 or 2)."""
    told = told or Told()
    level, step = RUNGS[rung]
    return {
        "trial": name,
        "slot": "host:100",
        "level": level,
        "step": step,
        "total_steps": STEPS,
        "progress": step / STEPS,
        "objective": value,
        "loss": told.loss,
        "metrics": {"accuracy": value, "f1": value / 2},
        "train_loss": 0.5,
        "train_seconds": told.seconds * step / STEPS,
        "eval_seconds": 0.5,
        "total_seconds": told.seconds * step / STEPS + 0.5,
        "effective_batch_size": 16,
        "micro_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "workers": 1,
    }


def run_trial(journal: Journal, name: str, told: Told) -> None:
    """Take a drawn trial and let it report and end as told."""
    if told.status == "drawn":
        return
    journal.append("taken", trial=name)
    for rung, value in enumerate(told.values):
        last = rung == len(told.values) - 1
        ends = last and told.status in ("finished", "stopped")
        event = told.status if ends else "report"
        journal.append(event, **said(name, rung, value, told), **({"error": None} if ends else {}))
    if told.status == "failed":
        journal.append("failed", trial=name, error=told.error or "out of memory")


def journal_of(
    path: Path,
    trials: Sequence[Told],
    *,
    order: Iterable[int] | None = None,
    planned: int | None = None,
    slots: int = 2,
    reason: str | None = "complete",
) -> History:
    """Write a journal of one session: all trials drawn first, then run in `order`.

    `reason` None leaves the session without an end, as a killed driver does. Returns the history.
    """
    with Journal.open(path) as journal:
        journal.append("session", planned=planned or len(trials), slots=slots)
        names = [drawn(journal, number, told) for number, told in enumerate(trials)]
        for number in range(len(trials)) if order is None else order:
            run_trial(journal, names[number], trials[number])
        if reason is not None:
            journal.append("ended", reason=reason)
        return journal.history
