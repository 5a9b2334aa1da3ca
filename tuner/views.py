"""A run as its readers see it: all that is whole of it, and in words what is not.

Reads run.yaml and the journal; a file that is missing or broken ends nothing. Prints nothing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tuner.comparer import comparisons_of
from tuner.comparisons import Comparisons
from tuner.errors import TunerError, UserError
from tuner.headings import Heading, bounds, decimals, heading
from tuner.journal import Direction, History, read_part
from tuner.leaderboard import Row, best, rows
from tuner.leases import is_held
from tuner.ranking import settled
from tuner.runs import SCORES, Run, bring
from tuner.scores import MOST, whole
from tuner.settings import TRAINING, RunFile, Settings, read_run_file
from tuner.shortfall import runner_up, told_of
from tuner.tasks import ACCURACY, direction, find_task


@dataclass(frozen=True)
class Final:
    """What metrics.json says of a run's final model, None where that is not known; `trouble` where
    the file cannot be read, `earlier` where it is of another configuration than the run's best."""

    scores: dict[str, Any] | None = None
    trouble: str | None = None
    earlier: str | None = None


@dataclass(frozen=True)
class View:
    """A run: its settings and facts (None and empty where run.yaml cannot be read), its history,
    what it is judged by, and in `troubles` what of it is not whole."""

    run: Run
    settings: Settings | None
    facts: Mapping[str, Any]
    history: History
    task: str
    objective: str
    direction: Direction
    live: bool
    troubles: tuple[str, ...] = ()
    unknown: str | None = None
    """Why nobody knows how it ended: "missing" or "broken", of the journal of a run without a
    driver."""

    @cached_property
    def rows(self) -> list[Row]:
        """The run's leaderboard, best first."""
        return rows(self.history, self.direction, self.comparisons)

    @cached_property
    def comparisons(self) -> Comparisons:
        """How sure its scores are, and who is tied."""
        return comparisons_of(self.run, self.history, self.objective, self.direction)

    @cached_property
    def by_means(self) -> bool:
        """Whether what ran under several seeds is ranked by its means: its finals are settled."""
        return settled(self.history, self.direction)

    @property
    def scores(self) -> dict[str, Any] | None:
        """The final model's scores; None where there is none, or it is an earlier winner's."""
        return self.final.scores

    @cached_property
    def final(self) -> Final:
        """What is known of the run's final model."""
        winner, place = best(self.rows), f"{self.run.best_folder.name}/{SCORES}"
        if winner is None:
            return Final()
        try:
            if not bring(self.run, place):
                return Final()
        except (UserError, OSError):  # a store that cannot be reached
            return Final()
        try:
            scores = scores_of(self.run.best_folder)
        except UserError:
            return Final(trouble=f"{place} cannot be read: the final model's scores are not known")
        if scores.get("hyperparameters", winner.hyperparameters) != winner.hyperparameters:
            return Final(earlier=f"{place} is of an earlier winner: its scores are left out")
        return Final(scores)

    @property
    def shortfall(self) -> str:
        """That the final model falls short of its trial, in words; empty where it does not."""
        if self.facts.get("kind") == TRAINING or self.scores is None:
            return ""
        settings = self.settings
        same = settings is not None and settings.select_on == "validation"
        found = told_of(self.scores, self.rows, self.objective, self.direction, same_rows=same)
        where = shlex.quote(self.run.where)
        return "" if found is None else found.sentence(where, runner_up(self.rows))

    @property
    def planned(self) -> int:
        """How many trials there are to be."""
        planned = self.history.planned or (self.settings.trials if self.settings else 0)
        return max(planned, len(self.history.records))

    @property
    def heading(self) -> Heading:
        """What must stand above the rows."""
        troubles = (*self.troubles, self.comparisons.trouble, self.final.trouble)
        return heading(
            self.run.name,
            self.task,
            self.objective,
            self.direction,
            self.facts,
            self.history,
            live=self.live,
            resume=shlex.quote(self.run.where),
            planned=self.planned,
            unknown=self.unknown,
            troubles=tuple(filter(None, troubles)),
            shortfall=self.shortfall,
            final=final_score(self.objective, self.scores or {}),
        )


def view(run: Run, heard: Callable[[Mapping[str, Any]], None] | None = None) -> View:
    """Read a run. Of what cannot be read, `troubles` tell; the rest is there. Every event of its
    journal that can be taken in is `heard`."""
    file, why = _settings(run)
    place = run.place(run.journal_file.name)
    part, live = read_part(run.journal_file, place, heard), is_held(run)
    broken, unknown = part.broken, "broken" if part.broken and not live else None
    if part.torn and not live:  # a driver may be writing it just now
        broken = f"{place}: its last line is torn, and passed over"
    if part.missing and not live:  # a driver may be about to begin it
        broken, unknown = _missing(run, place), "missing"
    history = part.history
    task, objective, better = _judged(file, history)
    return View(
        run=run,
        settings=file.settings if file else None,
        facts=file.facts if file else {},
        history=history,
        task=task,
        objective=objective,
        direction=better,
        live=live,
        troubles=tuple(trouble for trouble in (why, broken) if trouble),
        unknown=unknown,
    )


def _missing(run: Run, place: str) -> str:
    """What is to be done about a run without a journal."""
    resume = f"tuner resume {shlex.quote(run.where)}"
    rows = run.leaderboard_file("csv").name
    try:
        kept = bring(run, rows)
    except (TunerError, OSError):  # a store that cannot be reached
        kept = False
    if kept:
        return (
            f"{place} is missing: what its trials did is not known; restore it. {run.place(rows)} "
            f"holds their rows as they were; `{resume}` would search all over again"
        )
    return f"{place} is missing: restore it, or, if no search had begun, begin it: `{resume}`"


def final_score(metric: str, scores: Mapping[str, Any]) -> str:
    """`accuracy 0.8340 (0.8120 to 0.8570) on 1,000 rows of the validation split`, from what
    metrics.json holds; empty where it lacks this score."""
    value = (scores.get("metrics") or {}).get(metric)
    if not isinstance(value, int | float):
        return ""
    within = bounds(*((scores.get("intervals") or {}).get(metric) or (None, None)))
    said = f"{metric} {decimals(value)}" + (f" ({within})" if within else "")
    many = f"{scores['rows']:,} " if scores.get("rows") else ""
    return f"{said} on {many}rows of the {scores.get('split') or 'validation'} split"


def scores_of(folder: Path) -> dict[str, Any]:
    """What metrics.json says of the exported model in `folder`. Raises UserError without one."""
    try:
        scores: dict[str, Any] = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        _check(scores)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{folder}: has no scores ({SCORES}); pass a run, or the best/ that tuner wrote"
        ) from error
    return scores


def _check(scores: Mapping[str, Any]) -> None:
    """Raises where scores, their intervals or the count of rows are not of their types."""
    for name, value in scores["metrics"].items():
        if value is not None and not _is_score(value):
            raise TypeError(f"{name} is no score")
        if name == ACCURACY and value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is no share of rows")
    for low, high in filter(None, (scores.get("intervals") or {}).values()):
        if not (_is_score(low) and _is_score(high)):
            raise TypeError("an interval's bounds are no scores")
    if whole(scores.get("rows") or 0, "rows") < 0:
        raise ValueError("rows is no count")


def _is_score(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and -MOST < value < MOST)


def _settings(run: Run) -> tuple[RunFile | None, str | None]:
    if not run.settings_file.exists():
        return None, f"{run.place('run.yaml')} is missing: task and rows are not known"
    try:
        return read_run_file(run), None
    except UserError as error:
        return None, f"run.yaml cannot be used: {error}"


def _judged(file: RunFile | None, history: History) -> tuple[str, str, Direction]:
    """The task's name, the objective and its direction; of a run without run.yaml, what the reports
    tell."""
    if file is None:
        name, told = "", next(_objectives(history), None)
    else:
        facts = file.facts.get("task") or {}
        name = str(facts.get("name") or file.settings.task or "")
        told = file.settings.objective or facts.get("objective")
    try:
        objective = str(told or find_task(name).objective)
        return name, objective, direction(objective)
    except UserError:  # of a newer version, which knows more
        return name, str(told or "objective"), "max"


def _objectives(history: History) -> Iterator[str]:
    for record in history.records.values():
        for score in record.scores:
            for name, value in score.metrics.items():
                if value == score.objective:
                    yield name
