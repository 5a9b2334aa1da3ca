"""Which configurations are ahead: by their scores alone, never by the order in which they ended.

Knows a run's history; nothing of files, nor of how a ranking is shown.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tuner.history import Direction, History, Record


@dataclass(frozen=True)
class Entrant:
    """A finished configuration: the trial that drew it, and the trials that ran it again under
    other seeds, in drawn order, whatever became of them."""

    record: Record
    repeats: tuple[Record, ...] = ()

    @property
    def scored(self) -> list[Record]:
        """The trials that count: those that finished with a score. Failed ones take no part."""
        trials = (self.record, *self.repeats)
        return [r for r in trials if r.status == "finished" and not math.isnan(_objective(r))]

    @property
    def seeds(self) -> int:
        """How many seeds its scores are from."""
        return len(self.scored)

    @property
    def mean(self) -> float:
        """The mean objective over its seeds; NaN without any score."""
        objectives = [_objective(record) for record in self.scored]
        return fmean(objectives) if objectives else math.nan

    @property
    def sd(self) -> float | None:
        """The standard deviation over seeds (n - 1 below the line); None of a single one."""
        objectives = [_objective(record) for record in self.scored]
        return stdev(objectives) if len(objectives) > 1 else None

    @property
    def loss(self) -> float:
        """The mean loss on the selection rows over its seeds; NaN where one is not known."""
        losses = [record.last.loss for record in self.scored if record.last is not None]
        return fmean(losses) if losses else math.nan


def ranked(history: History, direction: Direction) -> list[Entrant]:
    """The finished configurations, best first.

    Once the finals are settled (`settled`), those that ran again under other seeds come first: they
    are ranked by the mean objective over their seeds (the first trial's own included), equal ones
    by the mean loss, then by the order of drawing. The others follow by their own objective and
    loss: the best of many single scores owes a part of its lead to its seed, which a mean does not.
    Until then all are ranked by their own, whichever of the runs under other seeds ended first.
    """
    return [entrant for _, entrant in _placed(history, direction)]


def ranked_together(
    histories: Sequence[History], direction: Direction
) -> list[tuple[int, Entrant]]:
    """The finished configurations of several runs that were scored on the same rows, best first,
    each with its run's place in `histories`.

    Each run's own order stays (`ranked`). Of those that come next in their runs the better one goes
    first, by what its run ranks it by: a mean over seeds, or a score of its own. Equal ones go in
    the order of the runs.
    """
    found = [
        [(place[1:3], number, entrant) for place, entrant in _placed(history, direction)]
        for number, history in enumerate(histories)
    ]
    return [(number, entrant) for _, number, entrant in heapq.merge(*found, key=lambda it: it[0])]


def _placed(history: History, direction: Direction) -> list[tuple[tuple[float, ...], Entrant]]:
    """The finished configurations, best first, each after what puts it there."""
    # A list first: another thread may add a trial meanwhile.
    records = list(history.records.values())
    again = repeats(records)
    entrants = [
        Entrant(record, tuple(again.get(record.name, ())))
        for record in records
        if record.status == "finished" and not is_repeat(record, history)
    ]
    sign = -1.0 if direction == "max" else 1.0

    over = settled(history, direction)

    def place(entrant: Entrant) -> tuple[float, ...]:
        if over and entrant.repeats:
            first, objective, loss = 0.0, entrant.mean, entrant.loss
        else:
            first, objective, loss = 1.0, _objective(entrant.record), _loss(entrant.record)
        return (first, *merit(sign * objective, loss), entrant.record.number)

    return sorted(((place(entrant), entrant) for entrant in entrants), key=lambda it: it[0])


def settled(history: History, direction: Direction) -> bool:
    """Whether the finalists can be compared by their means: all that the newest session with finals
    was to run again have begun all of their runs, and each run under another seed has ended, also
    by a failure."""
    again = repeats(list(history.records.values()))
    if not all(record.done for runs in again.values() for record in runs):
        return False
    asked = [session for session in history.sessions if session.finalists and session.reseeds]
    if not asked:
        return True
    best = by_own_score(history, direction)[: asked[-1].finalists]
    return not _owed(best, again, asked[-1].reseeds)


def owed(history: History, direction: Direction, finalists: int, reseeds: int) -> list[str]:
    """The names of the best `finalists` by their own score, once for each of their `reseeds` runs
    that has not begun: every finalist's next run before any one's run after that."""
    best = by_own_score(history, direction)[:finalists]
    return _owed(best, repeats(list(history.records.values())), reseeds)


def _owed(best: Sequence[Record], had: Mapping[str, Sequence[Record]], reseeds: int) -> list[str]:
    return [
        record.name
        for repeat in range(reseeds)
        for record in best
        if len(had.get(record.name, ())) <= repeat
    ]


def by_own_score(history: History, direction: Direction) -> list[Record]:
    """The finished trials that the search drew, best first, by their own objective, equal ones by
    the lower loss, then by the order of drawing; one without a score is left out.

    What the trials that ran them again have scored changes nothing.
    """
    sign = -1.0 if direction == "max" else 1.0
    found = [
        record
        for record in list(history.records.values())
        if record.status == "finished"
        and record.reseed_of is None
        and not math.isnan(_objective(record))
    ]
    return sorted(found, key=lambda r: (*merit(sign * _objective(r), _loss(r)), r.number))


def merit(objective: float, loss: float) -> tuple[float, float]:
    """What puts the better of two first: the lower `objective` (signed so), then the lower loss;
    what is not known comes last."""
    return (
        math.inf if math.isnan(objective) else objective,
        math.inf if math.isnan(loss) else loss,
    )


def is_repeat(record: Record, history: History) -> bool:
    """Whether a trial ran the configuration of another one again, which the history knows."""
    return record.reseed_of is not None and record.reseed_of in history.records


def repeats(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The trials that ran another one's configuration again, by that one's name."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.reseed_of is not None:
            found.setdefault(record.reseed_of, []).append(record)
    return found


def seed_variance(entrants: Sequence[Entrant]) -> float:
    """The variance of the objective between seeds, pooled over all configurations that ran under
    several; 0 where none did."""
    spreads = [(entrant.seeds - 1, entrant.sd) for entrant in entrants]
    freedom = sum(degrees for degrees, sd in spreads if sd is not None)
    total = sum(degrees * sd**2 for degrees, sd in spreads if sd is not None)
    return total / freedom if freedom else 0.0


def _objective(record: Record) -> float:
    return math.nan if record.last is None else record.last.objective


def _loss(record: Record) -> float:
    return math.nan if record.last is None else record.last.loss
