"""A run's page from what lies in its folder, or in its store: read here, assembled in `report`.

Knows the run's files; nothing of HTML.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuner.errors import UserError
from tuner.history import Direction, History
from tuner.page.final import final_model, read_evaluation
from tuner.page.importance import Importance, importance
from tuner.page.report import Report, report
from tuner.page.verdict import final_of
from tuner.runs import EVALUATION, Run, bring
from tuner.spaces import space_from
from tuner.views import view

_RUNGS = 3
"""Of a run whose settings cannot be read."""


def read_report(run: Run, live: bool | None = None) -> Report:
    """The page of a run as it stands now, as far as it can be read. Its driver says whether it goes
    on (`live`); others leave that to be found out."""
    seen = view(run)
    if live is not None:
        seen = replace(seen, live=live)
    scores = seen.scores
    evaluation = None
    if scores is not None and bring(run, f"{run.best_folder.name}/{EVALUATION}"):
        evaluation = read_evaluation(run.best_folder)
    columns = tuple((seen.facts.get("task") or {}).get("text_columns") or ())
    return report(
        seen.heading,
        seen.rows,
        seen.history,
        importance=_importance(seen.history, seen.facts, seen.direction),
        score=final_of(scores, seen.heading, seen.facts),
        final=final_model(evaluation, columns),
        rungs=seen.settings.rungs if seen.settings else _RUNGS,
        now=time.time(),
    )


def _importance(history: History, facts: Mapping[str, Any], better: Direction) -> Importance:
    finished = sum(record.status == "finished" for record in history.records.values())
    try:
        return importance(history, space_from(facts["space"]), better)
    except (KeyError, TypeError, UserError):
        return Importance(finished, note="the search space is not in run.yaml")
