"""A retrained model that scores worse than the trial it comes from, by more than the rows explain.

Knows scores and their errors; nothing of files, models or rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from tuner.journal import Direction
from tuner.leaderboard import Row
from tuner.tasks import ACCURACY, LEVEL


@dataclass(frozen=True)
class Shortfall:
    """A final model's `score` in `metric` beside what its trial `expected`, its own score or its
    mean over seeds. `bound` is how far apart the two may be by the choice of rows alone."""

    metric: str
    trial: str
    expected: float
    score: float
    bound: float
    seeds: int = 1

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Shortfall:
        """What `plain` wrote. Raises TypeError or ValueError for anything else."""
        found = cls(**given)
        texts = (found.metric, found.trial)
        numbers = (found.expected, found.score, found.bound, found.seeds)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name is no text")
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError("a score is no number")
        return found

    def sentence(self, run: str, runner_up: str | None) -> str:
        """What came out, what it may mean and what to do, for the run that commands find as `run`
        and its second-best trial."""
        others = f"train the runner-up (tuner show {run} {runner_up} has the command), or "
        return (
            f"Retrained, {self.trial} scores {self.metric} {self.score:.4f} where its trial had "
            f"{self.expected:.4f}: {abs(self.score - self.expected):.4f} worse, and rows alone "
            f"explain {self.bound:.4f}; its configuration may not suit more rows, or its seed be a "
            f"bad one: {others if runner_up else ''}run the best again under other seeds: "
            f"tuner resume {run} --finalists 3 --reseeds {self.seeds + 1}"
        )


def shortfall(
    rows: Sequence[Row],
    metric: str,
    direction: Direction,
    metrics: Mapping[str, Any],
    intervals: Mapping[str, Sequence[float]],
    count: int = 0,
    *,
    same_rows: bool = False,
) -> Shortfall | None:
    """How far the model of the first of `rows` falls short, from its final `metrics` on `count`
    rows and their 95 % `intervals`; None where it does not, where how sure either score is is not
    known, and where trials were scored on the `same_rows`: nothing here knows how alike two models
    answer these. Of an accuracy the count tells how sure it is as well.

    The two scores are of different rows: the error of their difference is the root of the sum of
    their squared errors and, of a mean over seeds, of the spread between seeds, since the final
    model has one. The trial is the best of many by luck as well, so that the level is Bonferroni's
    over the finished ones: that of the luckiest of equals.
    """
    winner = rows[0] if rows else None
    value = metrics.get(metric)
    own = None if winner is None else _own_error(winner)
    if same_rows or winner is None or own is None or value is None:
        return None
    final = _error(metric, value, intervals.get(metric), count)
    if final is None:
        return None
    seeded = winner.seeds > 1 and winner.objective_mean is not None
    expected = winner.objective_mean if seeded else winner.objective
    if expected is None:
        return None
    normal, finished = NormalDist(), sum(row.rank is not None for row in rows)
    spread = (winner.objective_sd or 0.0) if seeded else 0.0
    chance = (1 - LEVEL) / 2 / max(1, finished)
    bound = normal.inv_cdf(1 - chance) * math.hypot(own, final, spread)
    sign = 1.0 if direction == "max" else -1.0
    if not sign * (expected - value) > bound:
        return None
    seeds = max(1, winner.seeds)
    return Shortfall(metric, winner.trial, float(expected), float(value), bound, seeds)


def told_of(
    scores: Mapping[str, Any],
    rows: Sequence[Row],
    metric: str,
    direction: Direction,
    *,
    same_rows: bool = False,
) -> Shortfall | None:
    """What a final model's `scores`, of its metrics.json, say of its shortfall; where an older
    tuner wrote them, or they say nothing that can be read, it is reckoned by `shortfall`."""
    if "shortfall" in scores:
        try:
            given = scores["shortfall"]
            return None if given is None else Shortfall.read(given)
        except (TypeError, ValueError, OverflowError):
            pass
    intervals, count = scores.get("intervals") or {}, int(scores.get("rows") or 0)
    return shortfall(
        rows, metric, direction, scores["metrics"], intervals, count, same_rows=same_rows
    )


def _own_error(winner: Row) -> float | None:
    """A trial's standard error; of an accuracy without an exception, which no resample moves, the
    one for which its exact interval stands."""
    bounds = (winner.objective_low, winner.objective_high)
    if winner.objective_se != 0.0 or winner.objective is None or None in bounds:
        return winner.objective_se
    reach = max(abs(bound - winner.objective) for bound in bounds if bound is not None)
    return reach / NormalDist().inv_cdf((1 + LEVEL) / 2)


def _error(metric: str, value: float, bounds: Sequence[float] | None, count: int) -> float | None:
    """A final score's standard error."""
    if bounds is not None:
        return (bounds[1] - bounds[0]) / 2 / NormalDist().inv_cdf((1 + LEVEL) / 2)
    return math.sqrt(value * (1 - value) / count) if metric == ACCURACY and count else None


def runner_up(rows: Sequence[Row]) -> str | None:
    """The name of the next best of the configurations, which may have been stopped; None where
    there is no other with a score."""
    scored = (row for row in rows[1:] if row.status in ("finished", "stopped"))
    return next((row.trial for row in scored if row.reseed_of is None), None)
