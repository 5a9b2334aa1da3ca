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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tuner import documents
from tuner.errors import TunerError
from tuner.history import Direction
from tuner.ranking import Entrant, seed_variance
from tuner.runs import Run, bring

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
    """The comparisons `of` trials by their names.

    `leader` is what `worse` and `tied` are about, and `seeds` names, for each configuration that
    ran under several seeds, the trials that count: where either has changed, these two say nothing.
    `unread` are the trials whose predictions were missing or cannot be used, with the size in bytes
    of what was there. `undrawn` are those that were left out when `worse` and `tied` were decided
    last: what is said of them is from before. `trouble` is what went wrong, in a line.
    """

    objective: str
    leader: str | None = None
    seeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    of: Mapping[str, Comparison] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    undrawn: frozenset[str] = frozenset()
    trouble: str | None = field(default=None, compare=False)

    def holds(self, entrants: Sequence[Entrant]) -> bool:
        """Whether `worse` and `tied` are about these configurations, best first."""
        return (self.leader, self.seeds) == (_leader(entrants), _seeds(entrants))

    @property
    def alone(self) -> Comparisons:
        """What these say of each trial by itself."""
        alone = {name: replace(one, worse=None, tied=None) for name, one in self.of.items()}
        return replace(self, of=alone)

    def covers(self, entrants: Sequence[Entrant], most: int | None = None) -> bool:
        """Whether nothing new can be said of the best `most` (None: all) of these, best first."""
        said = (self.of.keys() | self.unread.keys()) - self.undrawn
        names = (name for entrant in entrants[:most] for name in names_of(entrant))
        return self.holds(entrants) and all(name in said for name in names)


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
    from tuner.intervals import interval_of, standard_error

    found: dict[str, Comparison] = {}
    verdicts = _verdicts(entrants, draws, direction)
    for entrant in entrants:
        for record in entrant.scored:
            name = record.name
            if name in draws:
                bounds = interval_of(objective, draws.of(name), draws.rows(name))
                se, low, high = map(
                    _short, (standard_error(draws.of(name)), bounds.low, bounds.high)
                )
                found[name] = Comparison(se, low, high, *verdicts.get(name, (None, None)))
    return Comparisons(objective, _leader(entrants), _seeds(entrants), found)


def _verdicts(
    entrants: Sequence[Entrant], draws: Draws, direction: Direction
) -> dict[str, tuple[float, bool]]:
    """`worse` and `tied` of all configurations that can be paired with the leader, by the names of
    their first trials."""
    import numpy as np

    from tuner.ties import apart, behind

    leader = entrants[0] if entrants and entrants[0].seeds else None
    best = None if leader is None else draws.mean(names_of(leader))
    if leader is None or best is None:
        return {}
    sign = 1.0 if direction == "max" else -1.0
    variance = seed_variance(entrants)
    means, compared, worse = [best], [leader], [0.5]
    for entrant in entrants[1:]:
        values = draws.mean(names_of(entrant))
        if values is not None and draws.paired(*names_of(leader), *names_of(entrant)):
            noise = math.sqrt(variance * (1 / leader.seeds + 1 / entrant.seeds))
            worse.append(_short(behind(sign * (best - values), noise)))
            means.append(values)
            compared.append(entrant)
    stacked = np.stack([sign * values for values in means], dtype=np.float32)
    if variance > 0.0:
        for line, entrant in zip(stacked, compared, strict=True):
            line += draws.noise(entrant.record.number) * math.sqrt(variance / entrant.seeds)
    scores = np.array([sign * entrant.mean for entrant in compared])
    told = apart(stacked, scores, draws.rows(leader.record.name))
    names = [entrant.record.name for entrant in compared]
    return {n: (p, not t) for n, p, t in list(zip(names, worse, told.tolist(), strict=True))[1:]}


def _short(number: float) -> float:
    """A number in six digits: draws are of single precision, and resamples tell fewer."""
    return float(f"{number:.6g}")


def names_of(entrant: Entrant) -> list[str]:
    """The trials that count of a configuration, that which drew it first."""
    return [record.name for record in entrant.scored]


def _leader(entrants: Sequence[Entrant]) -> str | None:
    return entrants[0].record.name if entrants and entrants[0].seeds else None


def _seeds(entrants: Sequence[Entrant]) -> dict[str, tuple[str, ...]]:
    return {e.record.name: tuple(names_of(e)) for e in entrants if e.seeds > 1}


# Where comparisons are kept


def write_comparisons(run: Run, found: Comparisons) -> None:
    """Write comparisons.json, whole or not at all. Raises OSError."""
    lines = ",\n  ".join(f"{json.dumps(n)}: {json.dumps(asdict(t))}" for n, t in found.of.items())
    names = ("objective", "leader", "seeds", "unread")
    said = {**{name: getattr(found, name) for name in names}, "undrawn": sorted(found.undrawn)}
    head = json.dumps(said).removesuffix("}")
    documents.write_text(run.comparisons_file, f'{head},\n "trials": {{\n  {lines}\n }}}}\n')


def kept_comparisons(run: Run, objective: str) -> Comparisons:
    """What the run's comparisons.json holds; nothing where it is missing, of another objective or
    of an older tuner, nor where it is damaged, which is a trouble. Of a run in a store the file is
    brought down first."""
    empty = Comparisons(objective)
    try:
        bring(run, run.comparisons_file.name)
        said = json.loads(run.comparisons_file.read_bytes())
        if said["objective"] != objective or "unread" not in said:
            return empty
        # An older tuner did not say which they are.
        undrawn = _is(list, said.get("undrawn", list(said["trials"])))
        return Comparisons(
            objective,
            None if said["leader"] is None else _is(str, said["leader"]),
            {n: tuple(_is(str, one) for one in _is(list, g)) for n, g in said["seeds"].items()},
            {name: _comparison(one) for name, one in said["trials"].items()},
            {name: _is(int, size) for name, size in said["unread"].items()},
            frozenset(_is(str, name) for name in undrawn),
        )
    except (OSError, TunerError):
        return empty
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        return replace(
            empty, trouble=f"{run.comparisons_file.name} is damaged ({why}), and not used"
        )


_Kind = TypeVar("_Kind")


def _is(kind: type[_Kind], value: object) -> _Kind:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _comparison(said: dict[str, Any]) -> Comparison:
    found = Comparison(**said)
    numbers = [found.se, found.low, found.high, *([] if found.worse is None else [found.worse])]
    if not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
        raise ValueError(f"{said!r} holds what is no number")
    if found.tied is not None:
        _is(bool, found.tied)
    return found
