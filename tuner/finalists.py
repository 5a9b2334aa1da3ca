"""The finalists of a search: its best configurations, which run again under new seeds.

The best of many single scores is best by luck as well; under other seeds the luck is another one.
Knows a run's history and what was asked for; nothing of slots, Optuna or ASHA.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tuner.history import Direction, History, Session
from tuner.hyperparameters import SEED, Configuration
from tuner.ranking import owed, repeats

_SEEDS = 10_000
"""Seeds are drawn below this: short enough to be read."""


@dataclass(frozen=True)
class Finals:
    """The best `finalists` configurations run again under `reseeds` new seeds each, on their full
    schedules, once all trials that the search draws are done. `seed` is the run's."""

    finalists: int = 0
    reseeds: int = 0
    seed: int = 0

    @property
    def trials(self) -> int:
        """How many trials that are."""
        return self.finalists * self.reseeds


def searched(history: History) -> int:
    """How many trials the search has drawn, without those that ran a configuration again."""
    return sum(record.reseed_of is None for record in list(history.records.values()))


def open_trials(history: History, planned: int) -> int:
    """How many of the `planned` trials that the search draws are not done."""
    records = list(history.records.values())
    return planned - sum(record.done and record.reseed_of is None for record in records)


def due(history: History, direction: Direction, finals: Finals) -> list[str]:
    """Which trials are to run again, in this order, a name for each run that is to come.

    The finalists are the best by their own score, whatever their repeats have scored: they are the
    same in the middle of the finals. One that has run again before, whatever came of it, has so
    many runs less to come. Every finalist gets its next seed before one gets the one after that.
    """
    return owed(history, direction, finals.finalists, finals.reseeds)


def again(history: History, name: str, finals: Finals) -> Configuration:
    """The configuration of the trial `name` under its next seed, which none of its runs had.

    The seed follows from the run's, the trial and how often it has run again.
    """
    original = history.records[name]
    runs = repeats(list(history.records.values())).get(name, [])
    used = {original.configuration.get(SEED), *(run.configuration.get(SEED) for run in runs)}
    draws = random.Random(f"{finals.seed}:{name}:{len(runs) + 1}:reseed")
    seed = draws.randrange(_SEEDS)
    while seed in used:
        seed = draws.randrange(_SEEDS)
    return {**original.configuration, SEED: seed}


def in_all(history: History, direction: Direction) -> int:
    """How many trials the newest session is to have in the end, as far as that is known: until the
    search is over, every finalist that is asked for counts."""
    session = history.sessions[-1] if history.sessions else None
    if session is None:
        return len(history.records)
    drawn = searched(history)
    done = session.planned - open_trials(history, session.planned)
    known = foreseen(session, drawn, len(history.records) - drawn, done)
    finals = Finals(session.finalists, session.reseeds)
    return len(history.records) + len(due(history, direction, finals)) if known is None else known


def foreseen(session: Session, drawn: int, repeats: int, done: int) -> int | None:
    """What `in_all` says, from counts alone: of the trials that the search has `drawn` so many are
    `done`, and so many `repeats` ran one again. None once it depends on which finalists have run.
    """
    finals = Finals(session.finalists, session.reseeds)
    if not finals.trials:
        return max(session.planned, drawn) + repeats
    return session.planned + max(repeats, finals.trials) if done < session.planned else None
