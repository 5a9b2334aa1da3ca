"""The leaderboard: a row a trial, ranked.

Derives everything from the run's history; knows nothing of Ray or torch, nor of how rows look on a
screen or in a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.comparisons import Comparison, Comparisons
from tuner.hyperparameters import REDUCTION, Value
from tuner.journal import Direction, History, Record, Score
from tuner.ranking import merit, ranked

if TYPE_CHECKING:
    pass

ORDER = ("finished", "stopped", "failed", "running")
"""The statuses of a row, as they stand in a leaderboard."""


@dataclass(frozen=True)
class Row:
    """A trial's line. What is not known is None; floats are finite.

    `objective`, `metrics` and `loss` are those of the trial's last report: for a finished trial,
    of the end of its schedule. `best_objective` is the best seen on the way. `rank` (from 1)
    belongs to finished trials only. `progress` is the share (0 to 1) of the trial's own schedule.
    `restarts` counts how often the trial was begun again, `preemptions` how often because its host
    was taken away after a notice, `halvings` how often the micro-batch was halved because it did
    not fit the device. `total_seconds` run from the slot taking the trial to its last report. A
    trial that was drawn and is not done counts as `running`; `begun` tells whether a slot ever took
    it. `warning` is what went wrong without ending it, such as a checkpoint that was not kept.

    Of finished trials, from their predictions for the selection rows: `objective_se` is the
    objective's standard error, `objective_low` and `objective_high` bound its 95 % interval.
    `worse` is the probability (0 to 1) that the trial really is worse than the leader, of the two
    by themselves. `tied` tells that the rows cannot tell it from the leader, with 95 % for all
    trials together, as the leader is the best of many (`tuner.ties`): a trial may be tied with a
    `worse` of 0.98. They are None and False for the leader itself. A configuration that ran under
    several seeds has one ranked row, that of its first trial: `objective_mean` and `objective_sd`
    are over its `seeds` seeds. The trials that ran it again
    name that trial in `reseed_of`, and have no rank.
    """

    rank: int | None
    trial: str
    status: str
    objective: float | None
    objective_se: float | None
    tied: bool | None
    metrics: Mapping[str, float | None]
    hyperparameters: Mapping[str, Value]
    progress: float
    train_seconds: float | None
    eval_seconds: float | None
    total_seconds: float | None
    restarts: int
    slot: str | None
    error: str | None
    preemptions: int
    best_objective: float | None
    loss: float | None
    effective_batch_size: int | None
    micro_batch_size: int | None
    gradient_accumulation_steps: int | None
    halvings: int
    start_point: bool
    begun: bool
    warning: str | None = None
    objective_low: float | None = None
    objective_high: float | None = None
    worse: float | None = None
    objective_mean: float | None = None
    objective_sd: float | None = None
    seeds: int = 1
    reseed_of: str | None = None


def rows(
    history: History, direction: Direction, comparisons: Comparisons | None = None
) -> list[Row]:
    """The rows of a run, best first: finished, then stopped, failed and running trials.

    Finished trials are ranked as `ranking.ranked` says, never by the order in which they ended;
    those that ran a configuration again follow the trial that drew it, without a rank. Stopped
    trials follow by rung, then objective; the others in the order in which they were drawn.
    `comparisons` fill in what the scores' errors tell.
    """
    sign = -1.0 if direction == "max" else 1.0
    entrants = ranked(history, direction)
    told = comparisons or Comparisons("")
    if not told.holds(entrants):
        told = told.alone
    found: list[Row] = []
    for rank, entrant in enumerate(entrants, start=1):
        row = _row(entrant.record, rank, direction, told.of.get(entrant.record.name))
        if rank == 1 and entrant.seeds:
            row = replace(row, tied=False)
        if entrant.seeds > 1:
            row = replace(
                row, objective_mean=entrant.mean, objective_sd=entrant.sd, seeds=entrant.seeds
            )
        found.append(row)
        found += [_row(r, None, direction, told.of.get(r.name)) for r in entrant.repeats]
    listed = {row.trial for row in found}
    # A list first: another thread may add a trial meanwhile.
    rest = [record for record in list(history.records.values()) if record.name not in listed]
    rest.sort(key=lambda record: unranked_place(record, sign))
    return found + [_row(record, None, direction) for record in rest]


def best(rows: Sequence[Row]) -> Row | None:
    """The winner, which is retrained; None while no trial has finished.

    Of a configuration that ran under several seeds it is the trial that drew it, with that trial's
    own seed: the mean chose the configuration. To choose the best of its seeds, too, would bring
    back the luck that the mean takes out, and on other rows, all of them, a seed is another draw.
    """
    return rows[0] if rows and rows[0].rank == 1 else None


def unranked_place(record: Record, sign: float) -> tuple[float, ...]:
    """What puts a trial without a rank in its place; `sign` is -1 where more is better."""
    group = float(ORDER.index(_status(record)))
    score = record.last
    if score is None or record.status not in ("finished", "stopped"):
        return (group, record.number)
    ahead = 0.0 if record.status == "finished" else -rung_of(score.progress)
    return (group, ahead, *merit(sign * score.objective, score.loss), record.number)


def rung_of(progress: float) -> float:
    """The share of a schedule at which the rung lies that `progress` (0 to 1) reached. A rung's
    step is rounded up, so that of two trials at the same rung one is a step further."""
    if not 0.0 < progress <= 1.0:
        return 0.0
    return float(REDUCTION) ** -math.ceil(-math.log(progress, REDUCTION) - 1e-9)


def _status(record: Record) -> str:
    return record.status if record.done else "running"


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _row(
    record: Record, rank: int | None, direction: Direction, told: Comparison | None = None
) -> Row:
    score = record.last
    heard = score if score is not None else Score()
    top = record.best(direction)
    return Row(
        rank=rank,
        trial=record.name,
        status=_status(record),
        objective=_known(heard.objective),
        objective_se=told.se if told else None,
        tied=told.tied if told else None,
        metrics={name: _known(value) for name, value in heard.metrics.items()},
        hyperparameters=record.configuration,
        progress=heard.progress,
        train_seconds=_known(heard.train_seconds) if score else None,
        eval_seconds=_known(heard.eval_seconds) if score else None,
        total_seconds=_known(heard.total_seconds) if score else None,
        restarts=record.restarts,
        slot=record.slot,
        error=record.error,
        preemptions=record.preemptions,
        best_objective=top.objective if top else None,
        loss=_known(heard.loss),
        effective_batch_size=heard.effective_batch_size or None,
        micro_batch_size=heard.micro_batch_size or None,
        gradient_accumulation_steps=heard.gradient_accumulation_steps or None,
        halvings=heard.halvings,
        start_point=record.start_point,
        begun=record.takes > 0,
        warning=record.warning,
        objective_low=told.low if told else None,
        objective_high=told.high if told else None,
        worse=told.worse if told else None,
        reseed_of=record.reseed_of,
    )
