"""What a run is made of, as run.yaml keeps it, and whether a run that goes on is still the same.

Knows nothing of how a search or a training works.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.errors import UserError
from tuner.finalists import searched
from tuner.history import History
from tuner.preparation import Preparation
from tuner.provenance import git_revision, versions
from tuner.resources import Layout
from tuner.runs import Run
from tuner.settings import TRAINING, Settings, write_run_file


def describe(
    run: Run,
    preparation: Preparation,
    layout: Layout,
    estimate: Mapping[str, Any] | None = None,
) -> None:
    """Write run.yaml; `estimate` is what the search is expected to spend."""
    data, choice = preparation.data, preparation.choice
    facts = {
        **({"kind": TRAINING} if preparation.plain else {}),
        "task": preparation.task.plain(),
        "versions": versions(),
        "git": git_revision(Path.cwd()),
        "data": {
            "fingerprints": dict(data.fingerprints),
            "max_length": data.max_length,
            "selected_on": data.selected_on,
            "training_rows": data.train.num_rows,
            "selection_rows": data.selection.num_rows,
            "full_training_rows": data.full_train.num_rows,
            "validation_rows": data.validation.num_rows,
            "majority": {name: dict(value) for name, value in data.majority.items()},
        },
        "model": {
            "name": preparation.base.name,
            "fingerprint": preparation.base.weights.fingerprint,
        },
        "space": preparation.space.document(),
        **({} if choice is None else {"space_chosen_for": choice.why}),
        "layout": plain_layout(layout),
        **({} if estimate is None else {"estimate": dict(estimate)}),
    }
    write_run_file(run, preparation.settings.resolved(), facts)


def plain_layout(layout: Layout) -> dict[str, Any]:
    return {
        "slots": layout.slots,
        "workers_per_trial": layout.workers,
        "gpus_per_worker": layout.gpus,
        "threads_per_worker": layout.threads,
    }


def extended(
    settings: Settings,
    history: History,
    trials: int | None,
    budget: float | None,
    address: str | None,
    slots: int | str | None = None,
    finalists: int | None = None,
    reseeds: int | None = None,
) -> Settings:
    """The settings of a run that goes on. A plan never shrinks below what was drawn.

    Where it began counts for nothing: without an `address` it goes on on this machine. What else is
    None stays as it was. More trials or finalists are a wish beyond the run's limit of time; with
    finalists alone no more trials are drawn before them.
    """
    drawn, finals = searched(history), bool(finalists or reseeds)
    open_ended = max(settings.trials, history.planned)
    planned = trials or (drawn if finals and drawn else open_ended)
    if planned < drawn:
        raise UserError(
            f"--trials {planned}: the run has {drawn} trials already; pass a larger number, or "
            "leave it out"
        )
    # What is written counts over all sessions, so that it can be read again by the next one.
    limit = None if trials or finals else settings.budget
    if budget is not None:
        limit = history.seconds + budget
    changes: dict[str, Any] = {"trials": planned, "budget": limit, "address": address}
    named = {"slots": slots, "finalists": finalists, "reseeds": reseeds}
    changes |= {name: value for name, value in named.items() if value is not None}
    return settings.resolved(**changes)


def time_left(settings: Settings, history: History) -> float | None:
    """Seconds of the budget that the sessions before have left; None: there is no limit."""
    return None if settings.budget is None else max(1e-3, settings.budget - history.seconds)


def check_same(run: Run, preparation: Preparation, facts: Mapping[str, Any]) -> None:
    """Whether a run that goes on still has its task, its data, its model and its space.

    Raises UserError.
    """
    task = preparation.task.plain()
    began = {key: value for key, value in (facts.get("task") or {}).items() if key in task}
    for key, value in began.items():
        # Of what splits are drawn from, the rows themselves are compared below.
        if task[key] != value and key not in ("title", "objective", "drawn_from"):
            raise UserError(
                f"{run.name}: the task's {key} is {_short(task[key])}, but was {_short(value)} "
                "when the run began; restore it, or start a new run with "
                f"`tuner tune --config {run.settings_file}`"
            )
    before = (facts.get("data") or {}).get("fingerprints") or {}
    for split, fingerprint in preparation.data.fingerprints.items():
        if before.get(split, fingerprint) != fingerprint:
            raise UserError(
                f"{run.name}: the {split} rows are not those the run began with; restore them, or "
                "start a new run with `tuner tune --config " + str(run.settings_file) + "`"
            )
    weights = preparation.base.weights.fingerprint
    if (facts.get("model") or {}).get("fingerprint", weights) != weights:
        raise UserError(
            f"{run.name}: the weights of {preparation.base.name} are not those the run began with; "
            f"restore them, or start a new run with `tuner tune --config {run.settings_file}`"
        )
    space = preparation.space.document()
    if facts.get("space", space) != space:
        raise UserError(
            f"{run.name}: the search space {preparation.space.name} changed since the run began; "
            f"restore it, or start a new run with `tuner tune --config {run.settings_file}`"
        )


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
