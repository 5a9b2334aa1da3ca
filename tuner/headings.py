"""What must stand above a leaderboard: what was searched, how far it came, which rows chose.

Words only; knows nothing of tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.finalists import in_all
from tuner.journal import Direction, History
from tuner.leaderboard import Row
from tuner.settings import TRAINING

ENDS = {
    "complete": "is complete",
    "budget": "was ended by its time budget",
    "interrupted": "was interrupted",
    "lost": "ended because its slots could not go on",
    "unbegun": "has not begun",
    "missing": "cannot be followed: its journal is missing",
    "broken": "cannot be followed to its end: its journal is broken",
}
"""How a search ended, after "the search"."""

OVER = ("complete", "budget")
"""Where the winner is retrained and scored next."""

UNKNOWN = ("missing", "broken")
"""Where nobody knows how it ended."""


TIED = "tied"
"""The mark of trials that cannot be told from the leader."""

_NAMED = 6
"""So many trials are named in a sentence; of more, how many there are."""


@dataclass(frozen=True)
class Heading:
    """What must stand above a leaderboard for its scores to be read rightly.

    `selection_rows` rows of `selected_on` ("holdout": of the training split, "validation": the
    official validation rows) chose the winner; always predicting the majority class scores
    `majority` on them. `planned` trials were to run; `reason` is how the search ended, None when it
    has not, and `live` then tells whether a driver is still at it.
    """

    run: str = ""
    task: str = ""
    objective: str = "objective"
    direction: Direction = "max"
    selected_on: str = "holdout"
    selection_rows: int | None = None
    majority: float | None = None
    planned: int = 0
    reason: str | None = None
    live: bool = False
    seconds: float = 0.0
    resume: str = ""
    """How commands find the run: by its name, its path or its URI."""
    plain: bool = False
    """Whether there was one training and no search."""
    troubles: tuple[str, ...] = ()
    """What of the run is not whole."""
    shortfall: str = ""
    """That the retrained model falls short of its trial, where it does, in words."""
    final: str = ""
    """The retrained winner's score and which rows it is on, in words; empty where it is unknown."""
    regression: bool = False


def heading(
    run: str,
    task: str,
    objective: str,
    direction: Direction,
    facts: Mapping[str, Any],
    history: History,
    *,
    live: bool = False,
    resume: str = "",
    planned: int = 0,
    unknown: str | None = None,
    troubles: tuple[str, ...] = (),
    shortfall: str = "",
    final: str = "",
) -> Heading:
    """The heading of a run from its history and the facts in its run.yaml (those under `data`, and
    whether its task has `label_names`).

    `live` tells whether a driver holds the run now; `unknown` is one of `UNKNOWN` where the history
    is not whole.
    """
    data = facts.get("data") or {}
    majority = (data.get("majority") or {}).get("selection") or {}
    return Heading(
        run=run,
        task=task,
        objective=objective,
        direction=direction,
        selected_on=data.get("selected_on") or ("holdout" if facts else ""),
        selection_rows=data.get("selection_rows"),
        majority=majority.get(objective),
        planned=max(planned, in_all(history, direction)),
        reason=unknown or (history.reason if history.sessions else "unbegun"),
        live=live,
        seconds=history.seconds,
        resume=resume or run,
        plain=facts.get("kind") == TRAINING,
        troubles=troubles,
        shortfall=shortfall,
        final=final,
        regression=(facts.get("task") or {}).get("label_names") == [],
    )


def decimals(number: float | None) -> str:
    """A score or a loss in four decimals; empty where it is not known."""
    return "" if number is None or math.isnan(number) else f"{number:.4f}"


def bounds(low: float | None, high: float | None) -> str:
    """An interval, `0.7580 to 0.7784`; empty where it is not known."""
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def baseline(regression: bool) -> str:
    """What a model is compared with that has learned nothing from the texts."""
    return "always the mean" if regression else "always the majority class"


def mean_and_sd(mean: float, sd: float | None) -> str:
    """`0.7682 ± 0.0103`; the mean alone where there is no spread."""
    return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"


def duration(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `8 s`, `4 min`, `2 h 10 min`."""
    if 0 < seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def time_left(seconds: float) -> str:
    """`about 4 min left`."""
    return f"about {duration(max(1, math.ceil(seconds)))} left"


def percent(part: float, whole: float) -> str:
    """`34 %`; 100 % only where the part is the whole."""
    return f"{int(100 * part / whole) if whole else 0} %"


def heading_lines(rows: Sequence[Row], about: Heading) -> list[str]:
    """What was searched, how far it came, and on which rows the winner was chosen."""
    parts = [part for part in (about.run, about.task and f"task {about.task}") if part]
    better = "higher" if about.direction == "max" else "lower"
    lines = [", ".join([*parts, f"{about.objective} ({better} is better)"]), _state(rows, about)]
    lines.append(_selection(about))
    if about.selected_on and not about.plain:
        lines.append(_final(about))
    lines += [*_ties(rows, about), *_unsure(rows, about)]
    lines += [about.shortfall] if about.shortfall else []
    lines += [f"Not whole: {trouble}" for trouble in about.troubles]
    if any(row.status == "failed" for row in rows):
        lines.append(f"Why a trial failed: `tuner logs {about.resume or about.run} TRIAL`")
    return lines


def _final(about: Heading) -> str:
    """What the winner scored in the end, and whether the rows of that score had a part in this."""
    if about.selected_on == "validation":
        was, told = ("was", f", {about.final}") if about.final else ("is", "")
        return (
            f"The winner {was} chosen on the rows that also give the final score{told}: that score "
            "is optimistic."
        )
    if not about.final:
        return "The final score is on other rows, which play no part in this."
    return f"The final score is {about.final}, which played no part in this."


def _state(rows: Sequence[Row], about: Heading) -> str:
    if about.plain:
        return _training(rows, about)
    counts = {name: sum(row.status == name for row in rows) for name in ("finished", "stopped")}
    counts["failed"] = sum(row.status == "failed" for row in rows)
    begun = sum(row.status == "running" and row.begun for row in rows)
    done = sum(counts.values())
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    trials = f"{done} of {max(about.planned, done)} trials done" + (f" ({told})" if told else "")
    spent = f" in {duration(about.seconds)}" if about.seconds else ""
    if about.live and about.reason in OVER:
        return f"{trials}{spent}; the search {ENDS[about.reason]}; what follows it goes on"
    if about.live:
        return f"{trials}; the search is running, and so are {begun} trials: their rows will change"
    if about.reason == "missing":
        return f"{about.planned} trials were planned; the search {ENDS[about.reason]}"
    how = ENDS.get(about.reason or "", about.reason) or "was cut short (its driver is gone)"
    unfinished = (
        f"; {begun} begun and not done: `tuner resume {about.resume or about.run}` runs them again"
        if begun and about.reason not in UNKNOWN
        else ""
    )
    return f"{trials}{spent}; the search {how}{unfinished}"


def _training(rows: Sequence[Row], about: Heading) -> str:
    what = "one training on all training rows, without a search"
    if about.live:
        return f"{what}; it is running: its row will change"
    spent = f" in {duration(about.seconds)}" if about.seconds else ""
    if any(row.status == "finished" for row in rows):
        return f"{what}, done{spent}"
    if any(row.status == "failed" for row in rows):
        return f"{what}, failed{spent}"
    if about.reason in UNKNOWN:
        return f"{what}; it {ENDS[str(about.reason)]}"
    return f"{what}; it is not done: `tuner resume {about.resume or about.run}` goes on with it"


def _selection(about: Heading) -> str:
    if not about.selected_on:
        return "which rows the scores are on is not known"
    many = "" if about.selection_rows is None else f"{about.selection_rows:,} "
    source = (
        f"{many}rows of the official validation split"
        if about.selected_on == "validation"
        else f"{many}held-out rows of the training split"
    )
    beside = (
        ""
        if about.majority is None
        else f"; {baseline(about.regression)} scores {about.majority:.4f} there"
    )
    chosen = "" if about.plain else ", which choose the winner"
    return f"scores are on {source}{chosen}{beside}"


def _ties(rows: Sequence[Row], about: Heading) -> list[str]:
    """Who leads by chance alone, perhaps; and of whom that is not known."""
    # By rank: the rows may have been put in another order.
    ranked = sorted((row for row in rows if row.rank), key=lambda row: row.rank or 0)
    others = ranked[1:]
    compared = [row for row in others if row.tied is not None]
    if not compared:
        return []
    leader, tied = ranked[0].trial, [row.trial for row in compared if row.tied]
    many = "the" if about.selection_rows is None else f"{about.selection_rows:,}"
    at_once = "" if len(compared) == 1 else f" for all {len(compared) + 1:,} at once"
    how = f"paired bootstrap over {many} rows{_over_seeds(rows)}, 95 %{at_once}"
    lacking = len(others) - len(compared)
    if tied:
        said = f"{leader} cannot be told from {_listed(tied)} ({how})"
    else:
        some = f"{len(compared):,} of {len(others):,} other finished trials"
        better = [row.trial for row in compared if (row.worse or 0.0) < 0.5]
        but = f" but {_listed(better)}, which scored more under one seed" if better else ""
        whom = some if lacking else "every other finished trial"
        said = f"{leader} is ahead of {whom}{but} ({how})"
    return [said + (f"; {_not_compared(lacking)}" if lacking else "")]


def _not_compared(trials: int) -> str:
    return f"{trials:,} {'was' if trials == 1 else 'were'} not compared"


def _over_seeds(rows: Sequence[Row]) -> str:
    return " and seeds" if any(row.seeds > 1 for row in rows) else ""


def _unsure(rows: Sequence[Row], about: Heading) -> list[str]:
    """Of whose scores nothing more is known; while the search runs, that comes a moment later."""
    if about.live or about.plain:
        return []
    scored = [row for row in rows if row.status == "finished" and row.objective is not None]
    lacking = [row.trial for row in scored if row.objective_se is None]
    if not lacking:
        return []
    whose = "the finished trials" if len(lacking) == len(scored) else _listed(lacking)
    why = "predictions are missing or damaged, or were not compared yet"
    return [f"how sure the scores of {whose} are is not known: {why}"]


def _listed(trials: Sequence[str]) -> str:
    if len(trials) > _NAMED:
        return f"{', '.join(trials[: _NAMED - 1])} and {len(trials) - _NAMED + 1} others"
    return ", ".join(trials)
