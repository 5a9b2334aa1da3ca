"""How sure a leaderboard is: each score's error, and which trials cannot be told from the leader.

The selection rows are a sample, and another sample would have ranked close trials otherwise. The
bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993) draws rows with replacement
and scores all trials on the same draws: paired, as Koehn (2004, Statistical Significance Tests for
Machine Translation Evaluation) compares two systems, and Berg-Kirkpatrick et al. (2012, An
Empirical Investigation of Statistical Significance in NLP) look into. That the leader is the best
of many is allowed for as `tuner.ties` says. What is found lies beside the journal in a small file,
so that a reader draws nothing. Knows no row of a leaderboard.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tuner import documents
from tuner.connections import at_once
from tuner.errors import TunerError
from tuner.history import Direction, History
from tuner.ranking import Entrant, ranked, seed_variance
from tuner.runs import Run, bring
from tuner.stores import Store

if TYPE_CHECKING:
    from tuner.draws import Draws


@dataclass(frozen=True)
class Comparison:
    """What a trial's predictions tell: the standard error `se` of its objective, and the 95 %
    interval from `low` to `high`.

    `worse` is the probability that it really is worse than the leader, of these two by themselves:
    it does not allow for the leader's being the best of many. `tied` does: it tells that with 95 %
    for all trials together this one cannot be told from the leader. Both are None of the leader, of
    a run of a configuration under another seed, and of a trial that was not scored on the leader's
    rows.
    """

    se: float
    low: float
    high: float
    worse: float | None = None
    tied: bool | None = None


@dataclass(frozen=True)
class Comparisons:
    """The comparisons `of` trials by their names, None for one whose predictions are missing or
    damaged. `leader` is what `worse` and `tied` are about, and `seeds` names, for each
    configuration that ran under several seeds, the trials that count: where either has changed,
    these two say nothing."""

    objective: str
    leader: str | None = None
    seeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    of: Mapping[str, Comparison | None] = field(default_factory=dict)

    def holds(self, entrants: Sequence[Entrant]) -> bool:
        """Whether `worse` and `tied` are about these configurations, best first."""
        return (self.leader, self.seeds) == (_leader(entrants), _seeds(entrants))


def compare(
    entrants: Sequence[Entrant], draws: Draws, objective: str, direction: Direction
) -> Comparisons:
    """The comparisons of the configurations, best first, with the first of them.

    A trial is worse in a resample in which its objective is behind the leader's, half worse where
    they are equal; `worse` is the share of resamples. Of a configuration that ran under several
    seeds the mean over seeds is compared. Its seeds are a sample, too: with the variance s^2
    between seeds, pooled over all configurations that have several, n seeds of one and m of the
    other move the difference by a normal error of variance s^2 (1/n + 1/m), and a resample counts
    with the probability that it is behind in spite of it. (What of a seed's luck lies in the rows
    that it was scored on is in the resamples, too: `worse` errs towards a tie.) Who is tied,
    `tuner.ties.apart` says, with the same error of each configuration in its draws.
    """
    from tuner.intervals import interval, standard_error

    found: dict[str, Comparison | None] = {}
    verdicts = _verdicts(entrants, draws, direction)
    for entrant in entrants:
        for record in entrant.scored:
            name = record.name
            if name not in draws:
                found[name] = None
                continue
            bounds = interval(draws.of(name))
            sure = standard_error(draws.of(name)), bounds.low, bounds.high
            worse, tied = verdicts.get(name, (None, None))
            found[name] = Comparison(*map(_short, sure), worse, tied)
    return Comparisons(objective, _leader(entrants), _seeds(entrants), found)


def _verdicts(
    entrants: Sequence[Entrant], draws: Draws, direction: Direction
) -> dict[str, tuple[float, bool]]:
    """`worse` and `tied` of all configurations that can be paired with the leader, by the names of
    their first trials."""
    import numpy as np

    from tuner.ties import apart, behind

    leader = entrants[0] if entrants and entrants[0].seeds else None
    best = None if leader is None else draws.mean(_names(leader))
    if leader is None or best is None:
        return {}
    sign = 1.0 if direction == "max" else -1.0
    variance = seed_variance(entrants)
    means, compared, worse = [best], [leader], [0.5]
    for entrant in entrants[1:]:
        values = draws.mean(_names(entrant))
        if values is not None and draws.paired(*_names(leader), *_names(entrant)):
            noise = math.sqrt(variance * (1 / leader.seeds + 1 / entrant.seeds))
            worse.append(_short(behind(sign * (best - values), noise)))
            means.append(values)
            compared.append(entrant)
    stacked = np.stack([sign * values for values in means], dtype=np.float32)
    if variance > 0.0:
        for line, entrant in zip(stacked, compared, strict=True):
            line += draws.noise(entrant.record.number) * math.sqrt(variance / entrant.seeds)
    told = apart(stacked, np.array([sign * entrant.mean for entrant in compared]))
    names = [entrant.record.name for entrant in compared]
    return {n: (p, not t) for n, p, t in list(zip(names, worse, told.tolist(), strict=True))[1:]}


def _short(number: float) -> float:
    """A number in six digits: draws are of single precision, and resamples tell fewer."""
    return float(f"{number:.6g}")


def _names(entrant: Entrant) -> list[str]:
    return [record.name for record in entrant.scored]


def _leader(entrants: Sequence[Entrant]) -> str | None:
    return entrants[0].record.name if entrants and entrants[0].seeds else None


def _seeds(entrants: Sequence[Entrant]) -> dict[str, tuple[str, ...]]:
    return {e.record.name: tuple(_names(e)) for e in entrants if e.seeds > 1}


# Where comparisons are kept


def write_comparisons(run: Run, found: Comparisons) -> None:
    """Write comparisons.json, whole or not at all. Raises OSError."""
    trials = {name: None if one is None else asdict(one) for name, one in found.of.items()}
    lines = ",\n  ".join(f"{json.dumps(n)}: {json.dumps(t)}" for n, t in trials.items())
    head = json.dumps(
        {"objective": found.objective, "leader": found.leader, "seeds": found.seeds}
    ).removesuffix("}")
    documents.write_text(run.comparisons_file, f'{head},\n "trials": {{\n  {lines}\n }}}}\n')


def kept_comparisons(run: Run, objective: str) -> Comparisons:
    """What the run's comparisons.json holds; nothing where it is missing, damaged or of another
    objective. Of a run in a store the file is brought down first."""
    empty = Comparisons(objective)
    try:
        bring(run, run.comparisons_file.name)
        said = json.loads(run.comparisons_file.read_bytes())
        if said["objective"] != objective:
            return empty
        seeds = {name: tuple(trials) for name, trials in said["seeds"].items()}
        of = {n: None if one is None else Comparison(**one) for n, one in said["trials"].items()}
        return Comparisons(objective, said["leader"], seeds, of)
    except (OSError, TunerError, ValueError, KeyError, TypeError, AttributeError):
        return empty


def comparisons_of(
    run: Run, history: History, objective: str, direction: Direction, *, fetch: bool = False
) -> Comparisons:
    """The comparisons of a run's finished trials: those kept, and what is missing of them from the
    predictions. Of a run in a store predictions are read with `fetch` only."""
    kept, entrants = kept_comparisons(run, objective), ranked(history, direction)
    holds = kept.holds(entrants)
    # Where `worse` holds, what is kept stays as it is.
    wanted = [e for e in entrants if not holds or not kept.of.keys() >= set(_names(e))]
    if not wanted or (run.uri is not None and not fetch):
        return kept
    return Comparer(run, objective, direction).update(history)


class Comparer:
    """Keeps a run's comparisons up to date as trials finish: what was drawn stays in memory."""

    def __init__(self, run: Run, objective: str, direction: Direction) -> None:
        from tuner.draws import Draws

        self.draws = Draws(objective)
        self._run = run
        self._objective = objective
        self._direction = direction
        self._missing: set[str] = set()

    def update(self, history: History, *, again: bool = False) -> Comparisons:
        """The comparisons of all trials that have finished; `again` looks once more for
        predictions that were not there."""
        if again:
            self._missing.clear()
        entrants = ranked(history, self._direction)
        self.read(name for entrant in entrants for name in _names(entrant))
        return compare(entrants, self.draws, self._objective, self._direction)

    def read(self, names: Iterable[str]) -> None:
        """Draw for trials whose predictions can be read, and remember those whose cannot."""
        from tuner.draws import read_predictions

        fresh = [n for n in names if n not in self.draws and n not in self._missing]
        store = self._run.store

        def read(name: str) -> tuple[str, bytes]:
            return name, self._content(store, name)

        contents = at_once(read, fresh) if store is not None else [read(name) for name in fresh]
        said = {name: read_predictions(content) for name, content in contents if content}
        self.draws.take({name: found for name, found in said.items() if found is not None})
        self._missing |= {name for name in fresh if name not in self.draws}

    def _content(self, store: Store | None, name: str) -> bytes:
        """A trial's predictions as they are stored; empty where there are none."""
        file = self._run.predictions_folder / f"{name}.parquet"
        try:
            if store is not None:
                return store.read(f"{self._run.predictions_folder.name}/{file.name}") or b""
            return file.read_bytes()
        except (OSError, TunerError):
            return b""
