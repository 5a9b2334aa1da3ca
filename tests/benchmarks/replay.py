"""What a search's defaults are worth: policies played many times over the pool of real trials.

    python tests/benchmarks/replay.py [--resamplings 1000] [--budget 8] [--pool FILE]
        [--task stsb] [finalists] [axis] [told]

`pool.py` trained every configuration of the pool to its end under several seeds, and wrote down
what a search would have seen on the way. A resampling sets one seed of every configuration aside,
which no search sees, and draws the order in which configurations come, and the seed of each; every
policy of a table then gets the same draws, two slots and the same budget. A trial costs the rows
that it is trained on, and the budget is counted in *schedules*: the mean cost of a trial of the
pool that is never stopped. A trial that the budget does not reach is not begun; those that run then
run on.

- **final**: the chosen configuration's score on the validation rows, which no policy sees, under
  the seed that was set aside; median, and 10th and 90th percentile over the resamplings.
- **regret**: by how much the pool's best configuration, in the mean of all its seeds, does better;
  in the mean.
- **promised**: the score that the choice was made by, less the final one, in the mean: the winner's
  curse, and what the two sets of rows differ by.
- **against**: final less that of the table's first policy in the same resampling: the mean, and in
  which share of the resamplings it was better and worse.

`axis` compares ASHA's rungs on the share of a trial's own schedule, from a third or from a ninth of
it, with rungs at whole epochs, and with no stopping. The others play searches with the default
rungs: `finalists` compares K finalists under R new seeds each with more trials instead; `told` what
Optuna hears of a stopped trial: that it was pruned, with its values at the rungs, or, as Ray's
OptunaSearch has it, that it is complete with its last score. There the nearest configuration of the
pool answers for what TPE draws.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pyarrow.parquet as pq

from tuner.history import Direction, Score
from tuner.hyperparameters import BATCH, EPOCHS, LEARNING_RATE, rungs
from tuner.scheduler import Judge
from tuner.spaces import load_space
from tuner.tasks import direction, find_task

POOL = Path(__file__).with_name("pool.parquet")
SPACE = "small-models"
RUNGS = 3

Axis = Literal["fraction", "thirds", "epochs", "none"]
"""Rungs at 1/9, 1/3 and all of a trial's own schedule; at 1/3 and all; at whole epochs; at the end.
"""
AXIS: Axis = "thirds"
"""The product's default: `--rungs 2`."""

SLOTS = 2
STARTUP = 10


@dataclass(frozen=True)
class Point:
    """Where a trial is judged: after `cost` rows, at `level`."""

    cost: float
    level: int
    objective: float
    loss: float


@dataclass(frozen=True)
class PoolTrial:
    """A trial of the pool. `points` by axis, the last at its end; `cost` in trained rows."""

    configuration: int
    repeat: int
    hyperparameters: dict[str, Any]
    points: dict[Axis, tuple[Point, ...]]
    objective: float
    final: float

    @property
    def cost(self) -> float:
        return self.points["none"][-1].cost

    @classmethod
    def of(cls, row: dict[str, Any]) -> PoolTrial:
        at = {
            step: (objective, loss)
            for step, objective, loss in zip(
                row["step"], row["objective"], row["loss"], strict=True
            )
        }
        total, epoch = row["total_steps"], row["epoch_steps"]
        rows_a_step = row["rows"] / epoch

        def point(level: int, step: int) -> Point:
            return Point(step * rows_a_step, level, *at[step])

        whole = [point(step // epoch, step) for step in at if step % epoch == 0]
        end = point(3 ** (RUNGS - 1), total)
        return cls(
            row["configuration"],
            row["repeat"],
            {name: row[name] for name in (LEARNING_RATE, EPOCHS, BATCH)},
            {
                "fraction": tuple(point(r.level, r.step) for r in rungs(total, RUNGS)),
                "thirds": tuple(point(r.level, r.step) for r in rungs(total, RUNGS - 1)),
                "epochs": tuple(whole),
                "none": (end,),
            },
            at[total][0],
            row["final"],
        )


@dataclass(frozen=True)
class Pool:
    """A task's trials, by configuration and seed. `finals`: what each configuration scores on the
    validation rows; `best`: the pool's best of them; `schedule`: what a trial costs in the mean, in
    rows."""

    task: str
    direction: Direction
    majority: float
    trials: tuple[tuple[PoolTrial, ...], ...]
    finals: tuple[float, ...]
    best: float
    schedule: float

    @classmethod
    def of(
        cls,
        task: str,
        direction: Direction,
        majority: float,
        trials: tuple[tuple[PoolTrial, ...], ...],
    ) -> Pool:
        """A pool whose configurations score the mean over their seeds."""
        finals = tuple(float(np.mean([trial.final for trial in seeds])) for seeds in trials)
        best = max(finals) if direction == "max" else min(finals)
        schedule = float(np.mean([trial.cost for seeds in trials for trial in seeds]))
        return cls(task, direction, majority, trials, finals, best, schedule)

    def without_one_seed(self, rng: random.Random) -> Pool:
        """A search's view: one seed of each configuration is set aside, and is its final score."""
        aside = [rng.choice(seeds) for seeds in self.trials]
        seen = tuple(
            tuple(trial for trial in seeds if trial is not one)
            for seeds, one in zip(self.trials, aside, strict=True)
        )
        return replace(self, trials=seen, finals=tuple(one.final for one in aside))

    @property
    def seeds(self) -> int:
        """How many seeds every configuration has."""
        return min(len(seeds) for seeds in self.trials)

    @functools.cached_property
    def places(self) -> Any:
        """Where each configuration lies, in shares of the space's widths."""
        return np.array([_place(seeds[0].hyperparameters) for seeds in self.trials])

    @property
    def sign(self) -> float:
        return 1.0 if self.direction == "max" else -1.0


def read_pools(file: Path) -> list[Pool]:
    rows = pq.read_table(file).drop_columns(["logits", "labels"]).to_pylist()
    pools = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        numbers = sorted({row["configuration"] for row in mine})
        trials = tuple(
            tuple(
                PoolTrial.of(row)
                for row in sorted(mine, key=lambda row: int(row["repeat"]))
                if row["configuration"] == number
            )
            for number in numbers
        )
        better = "max" if task == "imdb" else direction(find_task(task).objective)
        pools.append(Pool.of(task, better, mine[0]["majority"], trials))
    return pools


@dataclass
class Played:
    """A search's end: the trials that finished, all that were begun, and what they cost in rows."""

    finished: list[PoolTrial] = field(default_factory=list)
    begun: int = 0
    spent: float = 0.0


Source = Callable[[], PoolTrial | None]
"""The next trial; None when there is none."""


def play(
    pool: Pool,
    source: Source,
    axis: Axis,
    budget: float,
    told: Callable[[PoolTrial, list[Point], bool], None] = lambda *_: None,
) -> Played:
    """Run trials from `source` on two slots until `budget` rows are spent; `told` hears of each
    that ends: its points so far, and whether it finished."""
    count = RUNGS - 1 if axis == "thirds" else RUNGS
    judge = Judge(count, pool.direction, asha=axis != "none")
    played = Played()
    running: list[tuple[float, int, int, PoolTrial]] = []
    planned = 0.0

    def begin(now: float) -> None:
        nonlocal planned
        if planned >= budget or (trial := source()) is None:
            return
        number = played.begun
        played.begun += 1
        first = trial.points[axis][0].cost
        planned += first
        heapq.heappush(running, (now + first, number, 0, trial))

    for _ in range(SLOTS):
        begin(0.0)
    while running:
        now, number, reached, trial = heapq.heappop(running)
        points = trial.points[axis]
        point = points[reached]
        score = Score(level=point.level, objective=point.objective, loss=point.loss)
        goes_on = judge.goes_on(str(number), score)
        last = reached == len(points) - 1
        if not last and goes_on:
            more = points[reached + 1].cost - point.cost
            planned += more
            heapq.heappush(running, (now + more, number, reached + 1, trial))
            continue
        if last:
            played.finished.append(trial)
        told(trial, list(points[: reached + 1]), last)
        begin(now)
    played.spent = planned
    return played


def stream(pool: Pool, rng: random.Random) -> Iterator[PoolTrial]:
    """The configurations in a random order, each with a random seed, again and again."""
    while True:
        for number in rng.sample(range(len(pool.trials)), len(pool.trials)):
            yield rng.choice(pool.trials[number])


@dataclass(frozen=True)
class Outcome:
    """What one search came to."""

    final: float
    regret: float
    promised: float
    trials: int
    spent: float


def concluded(pool: Pool, played: Played, chosen: int, promised: float, more: float) -> Outcome:
    final = pool.finals[chosen]
    return Outcome(
        final,
        pool.sign * (pool.best - final),
        pool.sign * (promised - final),
        played.begun,
        (played.spent + more) / pool.schedule,
    )


def best_of(pool: Pool, trials: list[PoolTrial]) -> list[PoolTrial]:
    """Finished trials, best first; a configuration once."""
    best: dict[int, PoolTrial] = {}
    for trial in sorted(trials, key=lambda trial: -pool.sign * trial.objective):
        best.setdefault(trial.configuration, trial)
    return list(best.values())


def with_finalists(
    pool: Pool, rng: random.Random, budget: float, keep: int, seeds: int, *, own: bool = True
) -> Outcome:
    """A search by ASHA, whose `keep` best then run under `seeds` new seeds; all for `budget`.
    `own`: the first score counts in the mean."""
    reserved = keep * seeds * pool.schedule
    played = play(pool, stream(pool, rng).__next__, AXIS, budget - reserved)
    finalists = best_of(pool, played.finished)
    if not keep:
        first = finalists[0]
        return concluded(pool, played, first.configuration, first.objective, 0.0)
    more, means = 0.0, {}
    for trial in finalists[:keep]:
        others = [t for t in pool.trials[trial.configuration] if t.repeat != trial.repeat]
        again = rng.sample(others, seeds)
        more += sum(t.cost for t in again)
        scores = [t.objective for t in (*again, *([trial] if own else []))]
        means[trial.configuration] = float(np.mean(scores))
    chosen = max(means, key=lambda number: pool.sign * means[number])
    return concluded(pool, played, chosen, means[chosen], more)


def on_axis(pool: Pool, rng: random.Random, budget: float, axis: Axis) -> Outcome:
    played = play(pool, stream(pool, rng).__next__, axis, budget)
    first = best_of(pool, played.finished)[0]
    return concluded(pool, played, first.configuration, first.objective, 0.0)


@functools.cache
def _distributions() -> dict[str, Any]:
    return load_space(SPACE).distributions()


def told_optuna(
    pool: Pool, rng: random.Random, budget: float, how: Literal["pruned", "complete", "random"]
) -> Outcome:
    """A search whose configurations Optuna draws and the nearest of the pool answers for."""
    sampler: optuna.samplers.BaseSampler = (
        optuna.samplers.RandomSampler(seed=rng.randrange(2**32))
        if how == "random"
        else optuna.samplers.TPESampler(
            seed=rng.randrange(2**32), n_startup_trials=STARTUP, constant_liar=True
        )
    )
    study = optuna.create_study(
        sampler=sampler,
        direction="maximize" if pool.direction == "max" else "minimize",
    )
    asked: dict[int, optuna.trial.Trial] = {}

    def source() -> PoolTrial:
        drawn = study.ask(_distributions())
        trial = rng.choice(pool.trials[nearest(pool, drawn.params)])
        # Its own object: the same trial of the pool may run twice at once.
        trial = PoolTrial(**vars(trial))
        asked[id(trial)] = drawn
        return trial

    def told(trial: PoolTrial, points: list[Point], finished: bool) -> None:
        drawn = asked.pop(id(trial))
        if finished or how == "complete":
            study.tell(drawn, points[-1].objective)
            return
        for point in points:
            drawn.report(point.objective, point.level)
        study.tell(drawn, state=optuna.trial.TrialState.PRUNED)

    played = play(pool, source, AXIS, budget, told)
    first = best_of(pool, played.finished)[0]
    return concluded(pool, played, first.configuration, first.objective, 0.0)


def nearest(pool: Pool, drawn: dict[str, Any]) -> int:
    """The configuration of the pool next to what was drawn, in shares of the space's widths."""
    return int(np.abs(pool.places - _place(drawn)).sum(axis=1).argmin())


def _place(hyperparameters: dict[str, Any]) -> list[float]:
    spread = {LEARNING_RATE: (1e-5, 1e-3), EPOCHS: (1, 6), BATCH: (8, 128)}
    place = []
    for name, (low, high) in spread.items():
        value = float(hyperparameters[name])
        if name != EPOCHS:
            low, high, value = math.log(low), math.log(high), math.log(value)
        place.append((value - low) / (high - low))
    return place


Policy = Callable[[Pool, random.Random, float], Outcome]


def _finalists(keep: int, seeds: int, *, own: bool = True) -> Policy:
    return functools.partial(with_finalists, keep=keep, seeds=seeds, own=own)


TABLES: dict[str, dict[str, Policy]] = {
    "finalists": {
        "no finalists": _finalists(0, 0),
        "2 finalists, 1 new seed": _finalists(2, 1),
        "3 finalists, 1 new seed": _finalists(3, 1),
        "2 finalists, 2 new seeds": _finalists(2, 2),
        "3 finalists, 2 new seeds": _finalists(3, 2),
        "3 finalists, 1 new seed, which alone counts": _finalists(3, 1, own=False),
    },
    "axis": {
        "ASHA, share, from a third": lambda *given: on_axis(*given, "thirds"),
        "ASHA, share, from a ninth": lambda *given: on_axis(*given, "fraction"),
        "ASHA, epochs": lambda *given: on_axis(*given, "epochs"),
        "no stopping": lambda *given: on_axis(*given, "none"),
    },
    "told": {
        "TPE, stopped trials pruned": lambda *given: told_optuna(*given, "pruned"),
        "TPE, stopped trials complete": lambda *given: told_optuna(*given, "complete"),
        "random draws": lambda *given: told_optuna(*given, "random"),
    },
}


def new_seeds(policy: Policy) -> int:
    """How many seeds a policy runs a configuration under, besides its first."""
    return policy.keywords["seeds"] if isinstance(policy, functools.partial) else 0


def table(pool: Pool, name: str, resamplings: int, budget: float) -> str:
    views = [
        pool.without_one_seed(random.Random(f"{pool.task}:{number}"))
        for number in range(resamplings)
    ]
    outcomes = {
        policy: [
            run(view, random.Random(f"{pool.task}:{name}:{number}"), budget * pool.schedule)
            for number, view in enumerate(views)
        ]
        for policy, run in TABLES[name].items()
        if new_seeds(run) <= pool.seeds - 2  # one is aside, and one was the trial's own
    }
    first = np.array([outcome.final for outcome in next(iter(outcomes.values()))])
    lines = [
        f"| {pool.task}, {name} | final | regret | promised | against: mean, better, worse "
        "| trials | schedules |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for policy, found in outcomes.items():
        final = np.array([outcome.final for outcome in found])
        ahead = pool.sign * (final - first)
        low, middle, high = np.quantile(final, [0.1, 0.5, 0.9])
        against = (
            f"{ahead.mean():+.4f}, {np.mean(ahead > 0):.0%}, {np.mean(ahead < 0):.0%}"
            if policy != next(iter(outcomes))
            else ""
        )
        mean = {
            key: np.mean([getattr(outcome, key) for outcome in found])
            for key in ("regret", "promised", "trials", "spent")
        }
        lines.append(
            f"| {policy} | {middle:.4f} ({low:.4f} to {high:.4f}) | {mean['regret']:.4f} "
            f"| {mean['promised']:+.4f} | {against} | {mean['trials']:.1f} | {mean['spent']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--resamplings", type=int, default=1000)
    parser.add_argument("--budget", type=float, default=8, help="in schedules")
    parser.add_argument("--pool", type=Path, default=POOL)
    parser.add_argument("--task", help="one of the pool's; all, if left out")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for pool in read_pools(args.pool):
        if args.task not in (None, pool.task):
            continue
        best, worst = max(pool.finals), min(pool.finals)
        print(
            f"{pool.task}: {len(pool.trials)} configurations, "
            f"{sum(map(len, pool.trials))} trials; final scores of the configurations "
            f"{worst:.4f} to {best:.4f}, the constant answer {pool.majority:.4f}\n"
        )
        for name in args.tables or TABLES:
            began = time.monotonic()
            print(table(pool, name, args.resamplings, args.budget))
            print(f"\n{args.resamplings} resamplings in {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
