"""Every run of a storage in short: its best trial, its final score, what it cost, how it ended.

Reads what little that takes; of a run that is damaged it tells what is wrong. Prints nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tuner.cells import one_line
from tuner.connections import at_once
from tuner.errors import TunerError, UserError, suggestion
from tuner.hyperparameters import EPOCHS
from tuner.leaderboard import Row, best
from tuner.runs import Run, list_runs
from tuner.standing import standing
from tuner.tasks import DIRECTIONS
from tuner.views import View, view


@dataclass(frozen=True)
class Entry:
    """A run in short. `score` is the best trial's `objective` on the selection rows, with its 95 %
    interval `low` to `high` where that is known; once the finals are settled, it is the mean over
    the `seeds` that the best configuration ran under, with their standard deviation `sd` instead of
    the interval, which is a single score's. `final` is the exported model's score on the validation
    rows, within `final_low` to `final_high`. `done` of `planned` trials have ended; they spent
    `schedules` whole schedules and `epochs` epochs in `seconds` of search. `created` are Unix
    seconds. `troubles` are what is not whole."""

    run: str
    where: str
    task: str
    model: str | None
    status: str
    objective: str
    trial: str | None
    score: float | None
    low: float | None
    high: float | None
    sd: float | None
    seeds: int
    final: float | None
    done: int
    planned: int
    schedules: float
    epochs: float
    seconds: float
    device: str | None
    created: float
    troubles: tuple[str, ...] = ()
    final_low: float | None = None
    final_high: float | None = None


def entries(storage: str, task: str | None = None) -> list[Entry]:
    """The runs of a storage, by task, and those of a task the best first.

    Of the runs of one `task` only, and of those whose task cannot be told. Raises UserError where
    there is none.
    """
    runs = list_runs(storage)
    if not runs:
        raise UserError(f"there is no run in {storage}; start one: tuner tune")
    found = at_once(_entry, runs)
    if task is not None:
        tasks = sorted({entry.task for entry in found if entry.task})
        if task not in tasks:
            near = suggestion(task, tasks) or f"; there are runs of {', '.join(tasks)}"
            raise UserError(f"--task {task}: no run in {storage} is of this task{near}")
        found = [entry for entry in found if entry.task in (task, "")]
    return sorted(found, key=_place)


def _place(entry: Entry) -> tuple[Any, ...]:
    sign = 1 if DIRECTIONS.get(entry.objective) == "min" else -1
    score = math.inf if entry.score is None else sign * entry.score
    return (not entry.task, entry.task, entry.objective, score, entry.created, entry.run)


def _entry(run: Run) -> Entry:
    try:
        return entry_of(view(run))
    except (TunerError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # A listing must not end with the one run that nobody can read.
        why = f"cannot be read: {one_line(str(error), 200) or type(error).__name__}"
        nothing = (None, None, None, None, None, 1, None, 0, 0, 0.0, 0.0, 0.0, None)
        return Entry(
            run.name, run.where, "", None, "damaged", "", *nothing, run.created, troubles=(why,)
        )


def entry_of(seen: View) -> Entry:
    """A run in short, as far as it can be read."""
    first = leader(seen)
    scores = seen.scores or {}
    final = (scores.get("metrics") or {}).get(seen.objective)
    within = (scores.get("intervals") or {}).get(seen.objective) or (None, None)
    records = list(seen.history.records.values())
    spent = [
        (record.last.progress, record.configuration.get(EPOCHS))
        for record in records
        if record.last is not None
    ]
    schedules = sum(progress for progress, _ in spent)
    epochs = sum(share * float(many) for share, many in spent if isinstance(many, int | float))
    mean = first is not None and first.seeds > 1 and seen.by_means
    if first is None:
        score = low = high = None
    elif mean:
        score, low, high = first.objective_mean, None, None
    else:
        score, low, high = first.objective, first.objective_low, first.objective_high
    return Entry(
        run=seen.run.name,
        where=seen.run.where,
        task=seen.task,
        model=_model(seen),
        status=_status(seen),
        objective=seen.objective if seen.task or first else "",
        trial=first.trial if first else None,
        score=score,
        low=low,
        high=high,
        sd=first.objective_sd if first and mean else None,
        seeds=first.seeds if first and mean else 1,
        final=None if final is None else float(final),
        done=seen.history.done,
        planned=seen.planned,
        schedules=schedules,
        epochs=epochs,
        seconds=seen.history.seconds,
        device=_device(seen.facts),
        created=seen.run.created,
        troubles=(*seen.troubles, *filter(None, [seen.final.trouble, seen.final.earlier])),
        final_low=within[0],
        final_high=within[1],
    )


def leader(seen: View) -> Row | None:
    """The winner; while no trial has finished, the one that is ahead."""
    if (winner := best(seen.rows)) is not None:
        return winner
    ahead = standing(seen.history, seen.direction).best
    return next((row for row in seen.rows if row.trial == ahead), None)


def _status(seen: View) -> str:
    if seen.live:
        return "running"
    if seen.unknown is not None:
        return f"{seen.unknown} journal"
    if seen.settings is None:
        return "damaged"
    if not seen.history.sessions:
        return "not begun"
    return seen.history.reason or "killed"


_NAMELESS = ("best", "model")
"""Folders whose names say nothing of the model in them: the folder above says more."""


def _model(seen: View) -> str | None:
    named = (seen.facts.get("model") or {}).get("name")
    given = seen.settings.model if seen.settings else None
    if given and PurePath(given).name in _NAMELESS:
        return "/".join(PurePath(given).parts[-2:])
    return named or (given.rstrip("/").rpartition("/")[2] if given else None)


def _device(facts: Mapping[str, Any]) -> str | None:
    layout = facts.get("layout") or {}
    if not layout.get("slots"):
        return None
    workers = layout.get("workers_per_trial") or 1
    share = layout.get("gpus_per_worker") or 0
    each = f"{share * workers:g} GPU" if share else f"{workers} CPU"
    return f"{layout['slots']} x {each}"
