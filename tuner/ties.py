"""Which trials are worse than the leader for all that the rows can tell: one at a time, and all at
once.

The leader is the best of many, and the best of many equal trials is ahead of the last of them by
more than any two of them differ. So who is told from the leader is decided for all trials together:
the model confidence set (Hansen, Lunde and Nason 2011, The Model Confidence Set, Econometrica 79)
by a step-down over bootstrap draws (Romano and Wolf 2005, Stepwise Multiple Testing as Formalized
Data Snooping, Econometrica 73). Knows arrays; nothing of trials' names, files or seeds.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy as np

from tuner.intervals import Array
from tuner.tasks import LEVEL

_ROUNDING = 1 + 1e-6
"""Scores of whole rows lie exactly on the bound now and then: that is not past it."""


def apart(draws: Array, scores: Array, rows: int, leader: int = 0) -> Array:
    """Which trials can be told from the leader, with `LEVEL` for all of them together: bool
    [trials], False for the leader itself.

    `draws` [trials, resamples] are the trials' scores on the same resamples of the rows, `scores`
    [trials] those on the `rows` rows themselves; higher is better. Were all trials equally good,
    any one of them would be told from the leader in at most about 1 - `LEVEL` of all searches.

    A trial's distance is how far its score is from the leader's, in standard errors of their
    difference (of the paired draws; as though the two were equally good, which of few rows is more,
    as in McNemar's test). How far the last of equal trials falls behind their leader is
    taken from the draws: with each trial's mean taken away all are equal, each resample has a
    leader of its own, and the bound is the `LEVEL` quantile of the largest distance from it. Trials
    beyond the bound are out, and the rest are judged again among themselves, until none goes.
    """
    centred = draws - draws.mean(axis=1, keepdims=True, dtype=np.float64).astype(draws.dtype)
    spread = np.std(centred - centred[leader], axis=1, ddof=1, dtype=np.float64)
    ahead = np.asarray(scores[leader] - scores, np.float64)
    distance = _ratio(ahead, np.hypot(spread, ahead / rows**0.5))
    left = np.arange(len(ahead))
    while True:
        bound = _ROUNDING * _bound(centred[left])
        out = distance[left] > bound
        if not out.any():
            break
        left = left[~out]
    found = np.ones(len(ahead), bool)
    found[left] = False
    # Who leads by a mean over seeds may be behind a single score.
    return np.asarray(found | (distance < -bound))


def _bound(centred: Array) -> float:
    """How far the last of equal trials is behind their leader, at most, in `LEVEL` of resamples;
    not less than a normal difference of two, as where no resample differs from another."""
    trials, resamples = centred.shape
    if trials < 2:
        return math.inf
    best = centred.argmax(axis=0)
    leaders, which = np.unique(best, return_inverse=True)
    variance = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
    together = centred[leaders] @ centred.T
    spread = np.sqrt(np.clip(variance[leaders][:, None] + variance - 2 * together, 0, None))
    spread /= math.sqrt(resamples - 1)
    farthest = np.empty(resamples)
    for number, leader in enumerate(leaders):
        here = np.flatnonzero(which == number)
        behind = centred[leader, here] - centred[:, here]
        farthest[here] = _ratio(behind, spread[number][:, None]).max(axis=0)
    return max(_TWO, float(np.quantile(farthest, LEVEL, method="higher")))


def _ratio(above: Array, below: Array) -> Array:
    """`above / below`; 0 where trials do not differ, but for rounding."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.zeros(above.shape), where=below > _NOTHING)


_TWO = NormalDist().inv_cdf((1 + LEVEL) / 2)

_NOTHING = 1e-7
"""A standard error below this is rounding of single precision."""


def behind(ahead: Array, noise: float = 0.0) -> float:
    """The probability that one trial is behind another one, by themselves, from how far that one is
    `ahead` on each resample [resamples], with a normal error of standard deviation `noise`: the
    share of resamples, of those in which both are equal a half."""
    if noise > 0.0:
        grid, probability = _normal()
        return float(np.interp(ahead / noise, grid, probability).mean())
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


@functools.cache
def _normal() -> tuple[Array, Array]:
    """The normal distribution's probabilities, closely enough (7e-7) to be interpolated."""
    grid = np.linspace(-8.0, 8.0, 3201)
    return grid, np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in grid])
