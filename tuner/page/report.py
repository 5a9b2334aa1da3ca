"""All that stands on a run's page, as plain data: the verdict, the table, what the charts draw.

Assembled from the run's journal, run.yaml and scores; knows nothing of HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tuner.cells import one_line, searched, status
from tuner.documents import finite
from tuner.headings import Heading, heading_lines
from tuner.history import History, Record
from tuner.hyperparameters import EPOCHS, LEARNING_RATE, REDUCTION, SHORT
from tuner.leaderboard import Row
from tuner.page.final import FinalModel
from tuner.page.grid import Grid, grid
from tuner.page.importance import Importance
from tuner.page.verdict import Final, verdict

CURVES = 500
POINTS = 2_000
STINTS = 3_000
"""The most trials, and the most pieces of work, that a chart draws: more would be slow to look at,
and nobody could tell them apart."""


UNKNOWN = "not known"
"""The slot of work that ended before its slot was heard of."""


@dataclass(frozen=True)
class Curve:
    """A trial's scores on its way. `shares` are those of its own schedule (0 to 1), `epochs` may be
    None; a score that is not a number is None."""

    trial: str
    status: str
    rank: int | None
    shares: list[float]
    epochs: list[float | None]
    steps: list[int]
    scores: list[float | None]
    losses: list[float | None]


@dataclass(frozen=True)
class Axis:
    """A hyperparameter over the trials of `Points`: its values, and whether they span decades."""

    name: str
    label: str
    log: bool
    values: list[Any]


@dataclass(frozen=True)
class Points:
    """The trials that have a score, best first, and what they were made of."""

    trials: list[str]
    statuses: list[str]
    scores: list[float]
    shares: list[float]
    axes: list[Axis]


@dataclass(frozen=True)
class Best:
    """The finished trials in the order of their ends: seconds, trial, score, and the best until
    then."""

    seconds: list[float]
    trials: list[str]
    scores: list[float]
    best: list[float]


@dataclass(frozen=True)
class Work:
    """A piece of a slot's time: the trial it ran from `start` to `end` seconds, and how it ended
    ("running" where it has not)."""

    slot: str
    trial: str
    start: float
    end: float
    ended: str


@dataclass(frozen=True)
class Report:
    """A run's page. `written` is in ISO 8601; `live` tells whether a driver was at the run then.
    `counts` says of what the charts leave out; `rungs` are shares of a schedule."""

    run: str
    task: str
    objective: str
    direction: str
    written: str
    live: bool
    plain: bool
    regression: bool
    verdict: list[str]
    heading: list[str]
    grid: Grid
    trials: int
    winner: str | None
    curves: list[Curve]
    rungs: list[float]
    points: Points
    importance: Importance
    labels: dict[str, str]
    best: Best
    work: list[Work]
    slots: list[str]
    seconds: float
    final: FinalModel | None

    def plain_data(self) -> dict[str, Any]:
        """As dicts, lists and scalars that JSON has words for."""
        found: dict[str, Any] = finite(asdict(self))
        return found


def report(
    about: Heading,
    rows: Sequence[Row],
    history: History,
    *,
    importance: Importance,
    score: Final | None = None,
    final: FinalModel | None = None,
    rungs: int = 3,
    now: float,
) -> Report:
    """The page of the run whose leaderboard is `rows`; `now` is in unix seconds."""
    ranked = next((row for row in rows if row.rank == 1), None)
    points = _points(rows, about)
    work = _work(history, about.live)
    return Report(
        run=about.run,
        task=about.task,
        objective=about.objective,
        direction=about.direction,
        written=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        live=about.live,
        plain=about.plain,
        regression=about.regression,
        verdict=verdict(rows, about, history, score),
        heading=heading_lines(rows, replace(about, shortfall="", final="")),
        grid=grid(rows, about),
        trials=len(rows),
        winner=ranked.trial if ranked else None,
        curves=_curves(rows, history, about),
        rungs=[] if about.plain else [1 / REDUCTION**k for k in range(rungs - 1, -1, -1)],
        points=points,
        importance=importance,
        labels={name: SHORT.get(name, one_line(name, 40)) for name in importance.shares},
        best=_best(history, about),
        work=work,
        slots=list(dict.fromkeys(piece.slot for piece in work)),
        seconds=round(history.seconds, 2),
        final=final,
    )


def _curves(rows: Sequence[Row], history: History, about: Heading) -> list[Curve]:
    shown = [row for row in rows if row.progress > 0][:CURVES]
    return [_curve(history.records[row.trial], row, about) for row in shown]


def _curve(record: Record, row: Row, about: Heading) -> Curve:
    scores = [score for score in list(record.scores) if score.level or score.step]
    epochs = record.configuration.get(EPOCHS)
    whole = float(epochs) if isinstance(epochs, int | float) else None
    return Curve(
        trial=row.trial,
        status=status(row, about),
        rank=row.rank,
        shares=[round(score.progress, 4) for score in scores],
        epochs=[None if whole is None else round(score.progress * whole, 3) for score in scores],
        steps=[score.step for score in scores],
        scores=[_known(score.objective) for score in scores],
        losses=[_known(score.loss) for score in scores],
    )


def _known(number: float) -> float | None:
    return round(number, 6) if math.isfinite(number) else None


def _points(rows: Sequence[Row], about: Heading) -> Points:
    scored = [row for row in rows if row.objective is not None][:POINTS]
    names = searched(rows) if not about.plain else []
    axes = []
    for name in names:
        values = [row.hyperparameters.get(name) for row in scored]
        axes.append(Axis(name, SHORT.get(name, one_line(name, 40)), _decades(name, values), values))
    return Points(
        trials=[row.trial for row in scored],
        statuses=[status(row, about) for row in scored],
        scores=[round(row.objective, 6) for row in scored if row.objective is not None],
        shares=[round(row.progress, 4) for row in scored],
        axes=axes,
    )


def _decades(name: str, values: Sequence[Any]) -> bool:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    positive = bool(numbers) and len(numbers) == len(values) and min(numbers) > 0
    return positive and (name == LEARNING_RATE or max(numbers) / min(numbers) >= 100)


def _best(history: History, about: Heading) -> Best:
    pick = max if about.direction == "max" else min
    found = Best([], [], [], [])
    for stint in list(history.stints):
        last = history.records[stint.trial].last
        if stint.ended == "finished" and last is not None and math.isfinite(last.objective):
            found.seconds.append(round(stint.end, 2))
            found.trials.append(stint.trial)
            found.scores.append(round(last.objective, 6))
    order = sorted(range(len(found.seconds)), key=found.seconds.__getitem__)
    for name in ("seconds", "trials", "scores"):
        values = getattr(found, name)
        values[:] = [values[place] for place in order]
    for score in found.scores:
        found.best.append(pick(found.best[-1], score) if found.best else score)
    return found


def _work(history: History, live: bool) -> list[Work]:
    """What slots did, the newest pieces where there are too many; slots in the order of their
    first work."""
    pieces = []
    for stint in list(history.stints)[-STINTS:]:
        going_on = stint.ended is None and live and history.reason is None
        end = history.seconds if going_on else stint.end
        ended = stint.ended or ("running" if going_on else "cut")
        slot = stint.slot or UNKNOWN
        pieces.append(Work(slot, stint.trial, round(stint.start, 2), round(end, 2), ended))
    return pieces
