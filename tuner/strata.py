"""Rows drawn by class: every class in proportion. Knows nothing of tasks or of files."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

_BINS = 10


def strata(labels: npt.NDArray[Any], regression: bool) -> Indices:
    """The group of each row, from 0: its class, or for a regression the bin of its label."""
    if regression:
        bins = max(1, min(_BINS, len(labels) // _BINS))
        edges = np.quantile(labels, np.linspace(0, 1, bins + 1)[1:-1])
        labels = np.digitize(labels, edges)
    groups: Indices = np.unique(labels, return_inverse=True)[1]
    return groups


def draw(groups: Indices, size: int, rng: np.random.Generator, spare: int) -> Indices:
    """`size` rows, shared out in proportion to the groups, sorted.

    Each group gives at least one row and keeps at least `spare`, where `size` and its own allow.
    """
    counts = np.bincount(groups)
    most = np.maximum(counts - spare, 0)
    size = min(size, int(most.sum()))
    least = np.minimum(1, most)
    if least.sum() > size:
        least = np.zeros_like(least)
    exact = size * counts / counts.sum()
    quota = np.clip(np.floor(exact).astype(np.int64), least, most)
    while quota.sum() > size:
        quota[np.where(quota > least, quota - exact, -np.inf).argmax()] -= 1
    while quota.sum() < size:
        quota[np.where(quota < most, exact - quota, -np.inf).argmax()] += 1
    drawn = [
        rng.permutation(np.flatnonzero(groups == group))[:count]
        for group, count in enumerate(quota)
    ]
    return np.sort(np.concatenate(drawn))
