"""The rows that a rule means, and smaller draws of them. Knows nothing of texts or of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.errors import UserError
from tuner.rules import TRAIN, Rule
from tuner.strata import Indices, draw, strata

Labels = npt.NDArray[Any]

_DRAWING, _SUBSET = 1, 2
"""What is drawn, beside the seed: no two draws of a run share their random numbers."""


def rows_of(
    split: str, rules: Mapping[str, Rule], count: int, groups: Indices | None, seed: int
) -> Indices:
    """The rows of `split`, sorted, in its part of `count` rows; `rules` are those of all splits.

    Shares are drawn by `groups`, the class of each row (None: there are none); a class of a single
    row stays in training. Raises UserError where the part has too few rows.
    """
    rule = rules[split]
    if rule.whole:
        return np.arange(count)
    if rule.start is not None:
        stop = count if rule.stop is None else rule.stop
        if stop > count or rule.start >= stop:
            raise UserError(
                f"--split {split}={rule}: {rule.base} has {count:,} rows; "
                "rows are counted from 0, and the last one named must be there"
            )
        return np.arange(rule.start, stop)
    same = {name: r for name, r in rules.items() if r.base == rule.base and r.share is not None}
    groups = np.zeros(count, np.int64) if groups is None else groups
    rng = np.random.default_rng((seed, _DRAWING))
    rest, all_taken = np.arange(count), sum(r.share or 0 for r in same.values()) > 1 - 1e-9
    for name in sorted(same, key=lambda name: name == TRAIN):  # training gets what is left
        last = name == TRAIN and all_taken
        size = len(rest) if last else round(count * (same[name].share or 0))
        taken = rest if last else rest[_drawn(groups[rest], size, rng, int(name != TRAIN))]
        if name == split:
            if not len(taken):
                raise UserError(
                    f"--split {split}={rule}: of {count:,} rows, that is none; take a larger share"
                )
            return taken
        rest = np.setdiff1d(rest, taken)
    raise AssertionError(f"{split} is among its own rules")


def subset(labels: Labels, regression: bool, size: int, seed: int) -> Indices:
    """`size` of the rows, drawn by class, sorted; all of them where there are no more."""
    if size >= len(labels):
        return np.arange(len(labels))
    return draw(strata(labels, regression), size, np.random.default_rng((seed, _SUBSET)), spare=0)


def _drawn(groups: Indices, size: int, rng: np.random.Generator, spare: int) -> Indices:
    if not len(groups):
        return np.arange(0)
    # A class that has no rows left would count as one.
    return draw(np.unique(groups, return_inverse=True)[1], size, rng, spare)
