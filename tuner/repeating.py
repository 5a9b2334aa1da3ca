"""The command that runs a trial's configuration again, from its run's settings, and how exactly.

Words only: nothing is started.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.documents import read_scalar
from tuner.history import Record
from tuner.hyperparameters import Value
from tuner.options import FLAGS, Flag
from tuner.provenance import versions
from tuner.settings import OF_A_SEARCH, TRAINING, Settings


@dataclass(frozen=True)
class Command:
    """A command as its words, and what must be known of what it does."""

    words: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return shlex.join(self.words)

    def lines(self, width: int) -> list[str]:
        """For a shell, an option to a piece, in lines of about `width` characters."""
        pieces: list[str] = []
        for word in self.words:
            if word.startswith("--") or len(pieces) < 2:
                pieces.append(shlex.quote(word))
            else:
                pieces[-1] += f" {shlex.quote(word)}"
        lines = [f"{pieces[0]} {pieces[1]}"]
        for piece in pieces[2:]:
            if len(lines[-1]) + len(piece) + 3 <= width:
                lines[-1] += f" {piece}"
            else:
                lines[-1] += " \\"
                lines.append(f"  {piece}")
        return lines


def again(settings: Settings, facts: Mapping[str, Any], record: Record) -> Command:
    """The command that runs the trial's configuration on the rows that the trial had."""
    if facts.get("kind") == TRAINING:
        return Command(_words("train", _for_training(settings, record)), _notes(facts, record))
    slots = (facts.get("layout") or {}).get("slots") or settings.slots
    alone: dict[str, Any] = {
        "name": None,
        "set": dict(record.configuration),
        "trials": 1,
        "budget": None,
        "scheduler": "none",
        "finalists": 0,
        "reseeds": 0,
        "slots": slots,  # which decides about the threads of each
        "retrain": False,
    }
    notes = _notes(facts, record)
    if record.status == "stopped":
        notes = ("the trial was stopped early; this runs its schedule to the end", *notes)
    return Command(_words("tune", settings.model_copy(update=alone)), notes)


def in_full(settings: Settings, facts: Mapping[str, Any], record: Record) -> Command | None:
    """The command that trains it on all training rows and exports it; None where `again` does."""
    if facts.get("kind") == TRAINING:
        return None
    data = facts.get("data") or {}
    mine, full = data.get("training_rows"), data.get("full_training_rows")
    how = f"trains on all {full:,} training rows, the trial on {mine:,}" if mine and full else ""
    notes = (f"{how}: its scores are others, on the validation rows",) if how else ()
    return Command(_words("train", _for_training(settings, record)), notes)


def _for_training(settings: Settings, record: Record) -> Settings:
    return settings.model_copy(update={"name": None, "set": dict(record.configuration)})


def _words(command: str, settings: Settings) -> tuple[str, ...]:
    words = ["tuner", command]
    for flag in FLAGS:
        if command == "train" and flag.field in OF_A_SEARCH:
            continue
        given = getattr(settings, flag.field)
        usual = Settings.model_fields[flag.field].get_default(call_default_factory=True)
        if given != usual:
            words += _option(flag, given)
    return tuple(words)


def _option(flag: Flag, given: Any) -> list[str]:
    if isinstance(given, bool):
        return [flag.name if given else f"--no-{flag.name[2:]}"]
    if flag.field == "set":
        return [word for name, it in given.items() for word in (flag.name, f"{name}={_scalar(it)}")]
    if isinstance(given, Mapping):
        return [word for name, it in given.items() for word in (flag.name, f"{name}={it}")]
    if isinstance(given, tuple):
        return [word for it in given for word in (flag.name, it)]
    return [flag.name, repr(given) if isinstance(given, float) else str(given)]


def _scalar(value: Value) -> str:
    """`value` as `--set` reads it back."""
    if isinstance(value, str):
        same = read_scalar(value.strip()) == value
        return value if same else json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _notes(facts: Mapping[str, Any], record: Record) -> tuple[str, ...]:
    """Why what it gives may differ from the trial; that it does not, where there is no reason."""
    layout, last = facts.get("layout") or {}, record.last
    now, then = versions(), facts.get("versions") or {}
    changed = [f"{name} {then[name]}" for name in then if now.get(name) != then[name]]
    reasons = []
    if record.restarts:
        reasons.append("the trial was begun more than once")
    if last is not None and last.halvings:
        reasons.append("its batches were cut anew when they did not fit the device")
    if layout.get("gpus_per_worker"):
        reasons.append("it ran on GPUs, which repeat nothing to the last bit")
    if (layout.get("workers_per_trial") or 1) > 1:
        reasons.append("it ran on several workers")
    if changed:
        reasons.append(f"it ran with {', '.join(changed)}")
    if reasons:
        return (f"may differ in the last digits: {'; '.join(reasons)}",)
    threads, cores = layout.get("threads_per_worker"), os.cpu_count()
    many = f"{threads} thread{'s' * (threads != 1)}" if threads else "as many threads"
    return (f"the same to the last bit where it gets {many} again (this machine: {cores} cores)",)
