"""How much each hyperparameter mattered, as Optuna tells from the finished trials.

Knows a history and a space; nothing of pages.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.history import Direction, History
from tuner.spaces import Space

LEAST = 4
"""Fewer finished trials than this say nothing."""

FEW = 20
"""With fewer than this the shares are mostly noise."""

_MOST = 2_000


@dataclass(frozen=True)
class Importance:
    """Shares that add up to 1, the largest first; empty where there is nothing to go by. `note`
    must be read with them."""

    trials: int
    shares: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def importance(history: History, space: Space, direction: Direction) -> Importance:
    """`optuna.importance.get_param_importances` (PED-ANOVA, https://arxiv.org/abs/2304.10255) over
    the finished trials, the newest 2,000 of them. Seeds and fixed values have no part in it, nor
    have trials that ran a configuration again."""
    finished = [
        (record, record.last.objective)
        for record in list(history.records.values())
        if record.status == "finished" and record.last is not None and not record.reseed_of
    ]
    scored = [(record, score) for record, score in finished if not math.isnan(score)][-_MOST:]
    count = len(scored)
    if count < LEAST:
        return Importance(count, note=f"too few trials have finished ({count}) to tell")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = space.distributions()
    study = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
    try:
        for record, score in scored:
            within = {
                name: it
                for name, it in distributions.items()
                if name in record.configuration
                and it._contains(it.to_internal_repr(record.configuration[name]))
            }
            params = {name: record.configuration[name] for name in within}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=within, value=score)
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        return Importance(count, note=f"Optuna cannot tell: {' '.join(str(error).split())[:200]}")
    shares = {name: share for name, share in found.items() if math.isfinite(share)}
    if not shares:
        return Importance(count, note="Optuna cannot tell: no hyperparameter varied")
    noise = "; with so few, read the order as a hint and the shares as noise"
    return Importance(
        count, shares, f"from {count:,} finished trials{noise if count < FEW else ''}"
    )
