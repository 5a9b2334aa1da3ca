"""A crew whose trials sleep: the same slots and the same search, with nothing to train.

Imports no torch, so that hundreds of slots fit on one machine.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tuner.hyperparameters import rungs
from tuner.mailbox import Order, Report, Word

LEADING = 1.0
"""Seconds between the last slot's coming up and the first trial."""

_STEPS = 900


@dataclass(frozen=True)
class Gate:
    """Holds the first trial of every slot back until `slots` of them are up: all of them then begin
    in the same moment. `folder` is seen by every slot."""

    folder: Path
    slots: int

    @property
    def opened(self) -> float | None:
        """When the trials begin, unix seconds; None while a slot is missing."""
        try:
            return float((self.folder / "open").read_text())
        except (OSError, ValueError):
            return None

    def enter(self) -> None:
        """One more slot is up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"slot-{uuid.uuid4().hex}").touch()
        if len(list(self.folder.glob("slot-*"))) >= self.slots:
            mine = self.folder / f"opening-{uuid.uuid4().hex}"
            mine.write_text(str(time.time() + LEADING))
            with contextlib.suppress(FileExistsError):
                os.link(mine, self.folder / "open")

    def wait(self) -> None:
        """Return when the trials may begin."""
        while (opened := self.opened) is None:
            time.sleep(0.2)
        time.sleep(max(0.0, opened - time.time()))


@dataclass(frozen=True)
class SleepingPlan:
    """Trials of `seconds` each. `notes` is a folder for what each slot has seen (`read_notes`)."""

    seconds: float
    gate: Gate | None = None
    notes: Path | None = None

    def open(self) -> SleepingCrew:
        return SleepingCrew(self)


@dataclass
class SleepingCrew:
    """Reports at the rungs of a trial's schedule, and sleeps in between.

    A trial's score is its learning rate, so that there is something to compare.
    """

    plan: SleepingPlan
    idle: list[float] = field(default_factory=list)
    ended: float | None = None

    def __post_init__(self) -> None:
        if self.plan.gate is not None:
            self.plan.gate.enter()

    def give(self, order: Order) -> None:
        if self.ended is None and self.plan.gate is not None:
            self.plan.gate.wait()
        self.began = time.time()
        if self.ended is not None:
            self.idle.append(self.began - self.ended)
        self.order = order
        self.left = list(rungs(_STEPS, order.rungs))

    def say(self, word: Word) -> None:
        if word != "go":
            self.left = []

    def next_report(self) -> Report:
        rung = self.left.pop(0)
        until = self.began + self.plan.seconds * rung.step / _STEPS
        time.sleep(max(0.0, until - time.time()))
        self.ended = time.time()
        rate = float(self.order.configuration["learning_rate"])
        return Report(
            self.order.trial,
            "rung" if self.left else "end",
            level=rung.level,
            step=rung.step,
            total_steps=_STEPS,
            metrics={"accuracy": rate, "f1": rate / 2},
            loss=1.0 - rate,
            train_loss=1.0 - rate,
            train_seconds=self.ended - self.began,
            total_seconds=self.ended - self.began,
            effective_batch_size=16,
            micro_batch_size=16,
            gradient_accumulation_steps=1,
        )

    def close(self) -> None:
        if self.plan.notes is None:
            return
        self.plan.notes.mkdir(parents=True, exist_ok=True)
        status = Path("/proc/self/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
        heavy = [name for name in ("torch", "transformers") if name in sys.modules]
        lines = [f"{resident:.0f} {','.join(heavy)}", *(f"{gap:.6f}" for gap in self.idle)]
        (self.plan.notes / str(os.getpid())).write_text("\n".join(lines))


@dataclass(frozen=True)
class Note:
    """What a slot has seen: its resident MiB, which of torch and transformers it has imported, and
    the seconds from each trial's end to the next one's beginning."""

    resident: float
    heavy: tuple[str, ...]
    idle: tuple[float, ...]


def read_notes(folder: Path) -> list[Note]:
    """A note for each slot that closed its crew."""
    notes = []
    for file in folder.iterdir():
        first, *gaps = file.read_text().splitlines()
        resident, _, heavy = first.partition(" ")
        imported = tuple(name for name in heavy.split(",") if name)
        notes.append(Note(float(resident), imported, tuple(map(float, gaps))))
    return notes
