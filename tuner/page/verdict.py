"""What came out of a run, in sentences: the winner, its honest score, its equals, and the cost.

Words only; nothing is computed here that the leaderboard does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.cells import configuration
from tuner.headings import ENDS, OVER, Heading, baseline, bounds, decimals, duration, mean_and_sd
from tuner.history import History
from tuner.leaderboard import Row, best

_NAMED = 5


@dataclass(frozen=True)
class Final:
    """The final model's score on `rows` rows of `split`: the objective, its 95 % interval where it
    is known, and what the commonest label (or the mean) scores there."""

    value: float
    rows: int
    split: str
    low: float | None = None
    high: float | None = None
    baseline: float | None = None


def final_of(
    scores: Mapping[str, Any] | None, about: Heading, facts: Mapping[str, Any]
) -> Final | None:
    """The final score from best/metrics.json (`scores`) and the facts in run.yaml."""
    value = ((scores or {}).get("metrics") or {}).get(about.objective)
    if scores is None or not isinstance(value, int | float):
        return None
    bounds = (scores.get("intervals") or {}).get(about.objective) or (None, None)
    data = facts.get("data") or {}
    majority = (data.get("majority") or {}).get("validation") or {}
    return Final(
        value=float(value),
        rows=int(scores.get("rows") or 0),
        split=str(scores.get("split") or "validation"),
        low=bounds[0],
        high=bounds[1],
        baseline=majority.get(about.objective),
    )


def verdict(
    rows: Sequence[Row], about: Heading, history: History, final: Final | None
) -> list[str]:
    """The sentences, most important first."""
    winner = best(rows)
    if winner is None:
        said = [_nobody(rows, about)]
    elif about.plain:
        said = [_final(winner, about, final)] if final else [_own_score(winner, about)]
    elif about.live and about.reason is None:
        said = [
            f"The best so far is {winner.trial} ({configuration(winner.hyperparameters)}): "
            f"{about.objective} {_number(winner.objective)} on the selection rows."
        ]
    else:
        # Whoever leads a search that did not end has not won it.
        won = "won" if final or about.reason in OVER else "is ahead"
        said = [f"{winner.trial} {won}: {configuration(winner.hyperparameters)}."]
        said.append(_final(winner, about, final) if final else _own_score(winner, about))
        said += [f"{about.shortfall}."] if about.shortfall else []
    if winner is not None and not about.plain:
        said += [*_seeds(winner, about), *_equals(rows, winner)]
    return [*said, _cost(rows, about, history)]


def _nobody(rows: Sequence[Row], about: Heading) -> str:
    what = "training" if about.plain else "trial"
    if about.live:
        return f"No {what} has finished yet."
    failed = sum(row.status == "failed" for row in rows)
    return f"No {what} finished{f'; {failed} failed' if failed else ''}."


def _final(winner: Row, about: Heading, final: Final) -> str:
    how = "Trained" if about.plain else "Retrained"
    honest = (
        ", the rows that it was chosen on: this score is optimistic"
        if about.selected_on == "validation" and not about.plain
        else ("" if about.plain else ", which had no part in the choice")
    )
    beside = (
        ""
        if final.baseline is None
        else f" {baseline(about.regression).capitalize()} scores {final.baseline:.4f} there."
    )
    within = _within(final.low, final.high)
    return (
        f"{how} on all training rows, it scores {about.objective} {final.value:.4f}{within} on "
        f"{final.rows:,} rows of the {final.split} split{honest}.{beside}"
    )


def _own_score(winner: Row, about: Heading) -> str:
    then = (
        "."
        if about.plain
        else "; as the best of several on these rows, that is optimistic. It has not been "
        f"retrained and scored on rows of its own{' yet' if about.live else ''}."
    )
    within = _within(winner.objective_low, winner.objective_high)
    return (
        f"It scored {about.objective} {_number(winner.objective)}{within} on the selection "
        f"rows{then}"
    )


def _seeds(winner: Row, about: Heading) -> list[str]:
    if winner.seeds < 2 or winner.objective_mean is None:
        return []
    return [
        f"Over {winner.seeds} seeds its {about.objective} on the selection rows was "
        f"{mean_and_sd(winner.objective_mean, winner.objective_sd)}."
    ]


def _equals(rows: Sequence[Row], winner: Row) -> list[str]:
    ranked = [row for row in rows if row.rank is not None and row is not winner]
    tied = [row.trial for row in ranked if row.tied]
    if tied:
        more = len(tied) - _NAMED
        names = ", ".join(tied[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        return [f"The selection rows cannot tell it apart from {names}: they are tied."]
    if ranked and all((row.worse or 0.0) > 0.5 for row in ranked):
        return ["Every other finished trial is worse than it, as far as the rows can tell."]
    return []


def _cost(rows: Sequence[Row], about: Heading, history: History) -> str:
    took = duration(history.seconds)
    if about.plain:
        return f"The training took {took}." if not about.live else f"It has run for {took}."
    counts = [
        f"{count} {name}"
        for name in ("finished", "stopped", "failed")
        if (count := sum(row.status == name for row in rows))
    ]
    done = sum(row.status in ("finished", "stopped", "failed") for row in rows)
    planned = max(about.planned, done)
    spent = sum(row.progress for row in rows)
    told = f" ({', '.join(counts)})" if counts else ""
    trials = f"{done:,} trial{'s' * (done != 1)}{told}, {spent:.1f} schedules' worth of training"
    if about.live and about.reason is None:
        return f"So far the search cost {took}: {trials}; {planned:,} trials are planned."
    cut = (
        ""
        if about.reason in (None, "complete")
        else f" It {ENDS.get(str(about.reason), str(about.reason))}; {planned:,} were planned."
    )
    gone = " It was cut short: its driver is gone." if about.reason is None else ""
    return f"The search cost {took}: {trials}.{cut}{gone}"


def _number(value: float | None) -> str:
    return decimals(value) or "unknown"


def _within(low: float | None, high: float | None) -> str:
    shown = bounds(low, high)
    return f" (95 % interval {shown})" if shown else ""
