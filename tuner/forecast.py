"""What a search will spend, told before it runs: its trials drawn ahead, ASHA's stops simulated.

Optuna's first draws depend on the run's seed alone, so the plan knows them; later ones follow the
scores, and are drawn at random here. Knows nothing of processes or files.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.history import History, Score
from tuner.hyperparameters import BATCH, DEFAULTS, EPOCHS, Configuration, Rung, rungs, total_steps
from tuner.spaces import Space

FORESEEN = 10
"""So many trials Optuna draws before it goes by scores."""

_TRIALS = 2000
"""Trials that are simulated in all: many times a small search, the beginning of a large one."""

_LONGEST = 400
"""Trials of a search that are simulated one by one; the rest go on at the pace of these."""

_LIKENESS = 0.7
"""Correlation between a trial's scores at its rungs, in simulations."""

_AHEAD = 1.0
"""By how many standard deviations start points score better than drawn ones, in simulations. Good
trials that come first are what lets ASHA stop the rest early: of 12, 12 and 16 trials on CoLA, RTE
and the demo it let 3.3, 4.0 and 4.9 whole schedules run; simulations come to 3.9, 3.9 and 4.9, and
without this and with scores that never change places to 5.2, 5.2 and 6.4."""


@dataclass(frozen=True)
class Schedule:
    """A trial that runs to its end: `steps` optimizer steps of `batch` rows, reports at `rungs`."""

    epochs: float
    batch: int
    steps: int
    rungs: tuple[Rung, ...]

    @classmethod
    def of(cls, configuration: Configuration, rows: int, count: int) -> Schedule:
        """The schedule of a configuration on `rows` training rows, with `count` rungs."""
        whole = {**DEFAULTS, **configuration}
        epochs, batch = float(whole[EPOCHS]), int(whole[BATCH])
        steps = total_steps(rows, batch, epochs)
        return cls(epochs, batch, steps, rungs(steps, count))


@dataclass(frozen=True)
class Pace:
    """Seconds: until the slots take their first trials, for each trial, for each evaluation of the
    selection rows, for each step, and for each of the `tokens` that a batch of a size has.

    The default has no seconds: an evaluation and a step cost as their rows do.
    """

    start: float = 0.0
    trial: float = 0.0
    evaluation: float = 0.0
    step: float = 0.0
    token: float = 1.0
    tokens: Callable[[int], float] = field(default=float)

    def step_seconds(self, batch: int) -> float:
        """Seconds of one optimizer step."""
        return self.step + self.token * self.tokens(batch)

    def lengths(self, schedule: Schedule) -> Iterator[float]:
        """Seconds from each report of a trial to its next."""
        step, before = self.step_seconds(schedule.batch), 0
        for rung in schedule.rungs:
            yield (rung.step - before) * step + self.evaluation + (0 if before else self.trial)
            before = rung.step


@dataclass
class Spent:
    """What a search spent, or would have: sums over its trials, `seconds` of wall-clock time.

    `done` trials reached their end or were stopped.
    """

    epochs: float = 0.0
    steps: float = 0.0
    evaluations: float = 0.0
    seconds: float = 0.0
    done: float = 0.0


@dataclass(frozen=True)
class Search:
    """What decides how much a search spends. `rows` are its training rows, `limit` its seconds;
    `finalists` of its trials run again under `reseeds` seeds."""

    space: Space
    seed: int
    trials: int
    rows: int
    rungs: int
    asha: bool
    slots: int
    limit: float = math.inf
    finalists: int = 0
    reseeds: int = 0

    @property
    def repeats(self) -> int:
        """How many trials the finalists add."""
        return min(self.finalists, self.trials) * self.reseeds


@dataclass(frozen=True)
class Estimate:
    """What a search of `trials` trials, its finalists' runs under other seeds included, on `slots`
    slots is expected to spend.

    `epochs` lie between `low` and `high` in 8 of 10 simulations; `drawn` is what all schedules have
    together. `exact`: nothing was left to chance. `seconds` are those of the search, None where
    nothing was timed; `retraining_seconds` those of the retraining at the pace of one slot.
    """

    trials: int
    slots: int
    epochs: float
    low: float
    high: float
    drawn: float
    steps: float
    evaluations: float
    exact: bool
    done: float
    seconds: float | None = None
    retraining_seconds: float | None = None

    @property
    def slot_hours(self) -> float | None:
        """Hours of search and retraining, times the slots."""
        if self.seconds is None:
            return None
        return (self.seconds + (self.retraining_seconds or 0.0)) * self.slots / 3600

    def plain(self) -> dict[str, Any]:
        """As it stands in run.yaml."""
        return {f.name: _rounded(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def read(cls, given: Any) -> Estimate | None:
        """What `plain` wrote; None for anything else."""
        if not isinstance(given, Mapping):
            return None
        try:
            found = cls(**given)
        except TypeError:
            return None
        told = (found.epochs, found.low, found.high, found.trials, found.done)
        return found if all(isinstance(number, int | float) for number in told) else None


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, float) else value


def forecast(search: Search, pace: Pace | None = None) -> Estimate:
    """What the search will spend; with a pace that was measured, also how long it takes."""
    known = foreseen(search)
    rng = random.Random(f"{search.seed}:forecast")
    length = min(search.trials, _LONGEST)
    certain = len(known) >= search.trials and not (search.asha and search.rungs > 1)
    certain = certain and search.limit == math.inf
    certain = certain and (not search.repeats or len(set(known)) == 1)
    repeats = 1 if certain else max(10, _TRIALS // length)
    runs, drawn = [], 0.0
    for _ in range(repeats):
        schedules = [*known[:length]]
        while len(schedules) < length:
            schedules.append(Schedule.of(search.space.sample(rng), search.rows, search.rungs))
        drawn += sum(schedule.epochs for schedule in schedules) / repeats
        run = _whole(search, simulate(schedules, search, pace or Pace(), rng))
        runs.append(run_again(schedules, search, pace or Pace(), rng, run))
    epochs = sorted(run.epochs for run in runs)
    return Estimate(
        trials=search.trials + search.repeats,
        slots=min(search.slots, search.trials),
        epochs=_mean(epochs),
        low=epochs[len(epochs) // 10],
        high=epochs[-1 - len(epochs) // 10],
        drawn=drawn * (search.trials + search.repeats) / length,
        steps=_mean([run.steps for run in runs]),
        evaluations=_mean([run.evaluations for run in runs]),
        exact=certain,
        done=_mean([run.done for run in runs]),
        seconds=_mean([run.seconds for run in runs]) if pace else None,
    )


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def foreseen(search: Search) -> list[Schedule]:
    """The schedules that are known before the search: of its first trials, or of all of them where
    epochs and batch are fixed."""
    if all(search.space.parameter(name).fixed for name in (EPOCHS, BATCH)):
        one = Schedule.of(search.space.fixed, search.rows, search.rungs)
        return [one] * search.trials
    count = min(search.trials, FORESEEN)
    return [Schedule.of(c, search.rows, search.rungs) for c in first_draws(search, count)]


def first_draws(search: Search, count: int) -> list[Configuration]:
    """The configurations of the first trials, `FORESEEN` at most, as the run's own study draws
    them."""
    from tuner.study import Study

    with TemporaryDirectory(prefix="tuner-") as folder:
        study = Study(
            Path(folder, "optuna.journal"),
            "plan",
            search.space,
            "max",
            search.seed,
            [],
            search.slots,
        )
        return [study.draw()[1] for _ in range(min(count, FORESEEN))]


def simulate(
    schedules: Sequence[Schedule], search: Search, pace: Pace, rng: random.Random
) -> Spent:
    """Run the schedules on the slots, in their order, with scores at random before the search's own
    judge."""
    from tuner.scheduler import Judge

    judge = Judge(search.rungs, "max", asha=search.asha)
    waiting = iter(enumerate(schedules))
    qualities = [
        rng.gauss(_AHEAD if number < len(search.space.start) else 0.0, 1.0)
        for number in range(len(schedules))
    ]
    spent = Spent()
    # (when the next report comes, trial, its rung, the seconds to its later reports)
    running: list[tuple[float, int, int, list[float]]] = []

    def begin(now: float) -> None:
        following = next(waiting, None) if now < search.limit else None
        if following is not None:
            trial, schedule = following
            first, *rest = pace.lengths(schedule)
            heapq.heappush(running, (now + first, trial, 0, rest))

    for _ in range(search.slots):
        begin(pace.start)
    while running:
        now, trial, rung, rest = heapq.heappop(running)
        schedule = schedules[trial]
        level, step = schedule.rungs[rung].level, schedule.rungs[rung].step
        before = schedule.rungs[rung - 1].step if rung else 0
        spent.evaluations += 1
        spent.steps += step - before
        spent.epochs += schedule.epochs * (step - before) / schedule.steps
        spent.seconds = now
        chance = rng.gauss(0.0, math.sqrt(1 - _LIKENESS**2))
        score = Score(level=level, objective=_LIKENESS * qualities[trial] + chance, loss=0.0)
        goes_on = judge.goes_on(str(trial), score)
        if rest and goes_on:
            if now < search.limit:
                heapq.heappush(running, (now + rest[0], trial, rung + 1, rest[1:]))
            continue
        spent.done += 1
        begin(now)
    return spent


def run_again(
    schedules: Sequence[Schedule], search: Search, pace: Pace, rng: random.Random, part: Spent
) -> Spent:
    """What the search spent in `part`, and then its finalists: whole schedules, which nothing
    stops, of trials drawn at random."""
    if not search.repeats or part.seconds >= search.limit:
        return part
    best = rng.sample(list(schedules), min(search.finalists, len(schedules)))
    total = replace(part)
    ends = [part.seconds] * search.slots
    for schedule in best * search.reseeds:
        begin = heapq.heappop(ends)
        end = begin + sum(pace.lengths(schedule))
        heapq.heappush(ends, end)
        if begin >= search.limit:
            continue
        total.epochs += schedule.epochs
        total.steps += schedule.steps
        total.evaluations += len(schedule.rungs)
        total.done += 1
    total.seconds = max(ends)
    return total


def _whole(search: Search, part: Spent) -> Spent:
    """A search too long to be simulated whole, carried on at the pace of its beginning."""
    share = search.trials / _LONGEST
    if share <= 1 or part.done < _LONGEST:
        return part
    more = Spent(*(getattr(part, f.name) * share for f in fields(part)))
    if more.seconds > search.limit:
        cut = search.limit / more.seconds
        return Spent(*(getattr(more, f.name) * cut for f in fields(more)))
    return more


def spent(history: History) -> Spent:
    """What a run has spent on its trials; what a lost slot had done in vain is left out."""
    total = Spent(seconds=history.seconds)
    for record in history.records.values():
        total.done += record.done
        total.evaluations += sum(score.level > 0 for score in record.scores)
        if record.last is not None:
            total.steps += record.last.step
            whole = {**DEFAULTS, **record.configuration}
            total.epochs += float(whole[EPOCHS]) * record.last.progress
    return total
