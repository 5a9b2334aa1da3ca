"""How far a metric would move had other rows of the same kind been drawn: the bootstrap over rows.

Knows rows' predictions and labels; nothing of models, tasks or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.errors import UserError, suggestion
from tuner.tasks import ACCURACY, F1, LEVEL, MACRO_F1, MATTHEWS, PEARSON, RMSE, SPEARMAN

Array = npt.NDArray[Any]

RESAMPLES = 2_000

_BLOCK = 1_000_000
"""The most counts that are held at once: rows times resamples."""


@dataclass(frozen=True)
class Interval:
    """Where a metric lies with the probability that was asked for."""

    low: float
    high: float


def counts(rows: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each of `rows` rows is drawn in each resample: blocks [some, rows] of float64.

    A resample is `rows` draws with replacement (Efron 1979). The same `rows` and `seed` give the
    same resamples, so that models compared on the same rows are compared on the same draws.
    """
    random = np.random.default_rng(seed)
    size = max(1, min(resamples, _BLOCK // max(1, rows)))
    for start in range(0, resamples, size):
        block = [
            np.bincount(random.integers(0, rows, rows), minlength=rows)
            for _ in range(min(size, resamples - start))
        ]
        yield np.asarray(block, np.float64)


def resampled(
    metrics: Sequence[str],
    logits: Array,
    labels: Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Array]:
    """Each of the named metrics on every resample of the rows: [resamples] each.

    `logits` [rows, labels] and `labels` [rows] are what `tuner.metrics.score` takes, and a
    resample's value is what it gives for the rows drawn. Raises UserError for an unknown metric,
    ValueError for shapes that do not fit or no rows.
    """
    of_counts = {name: _of_counts(name, logits, labels) for name in metrics}
    return _over_resamples(of_counts, len(labels), resamples, seed)


def resampled_together(
    metric: str,
    logits: Mapping[str, Array],
    labels: Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Array]:
    """One metric of several models by their names, on the same resamples of the rows that they
    share: [resamples] each, as `resampled` gives for each of them, in a fraction of the time.

    Raises as `resampled` does.
    """
    of_counts = {name: _of_counts(metric, theirs, labels) for name, theirs in logits.items()}
    return _over_resamples(of_counts, len(labels), resamples, seed)


def _of_counts(metric: str, logits: Array, labels: Array) -> _OfCounts:
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits of shape {logits.shape} do not fit labels of shape {labels.shape}"
        )
    if metric not in _METRICS:
        raise UserError(f"there is no metric {metric!r}{suggestion(metric, _METRICS)}")
    return _METRICS[metric](logits, labels)


def _over_resamples(
    of_counts: Mapping[str, _OfCounts], rows: int, resamples: int, seed: int
) -> dict[str, Array]:
    found: dict[str, list[Array]] = {name: [] for name in of_counts}
    if not found:
        return {}
    for block in counts(rows, resamples, seed):
        for name, values in of_counts.items():
            found[name].append(values(block))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def interval(values: Array, level: float = LEVEL) -> Interval:
    """The middle `level` of a metric's values over resamples: the percentile interval
    (Efron and Tibshirani 1993, chapter 13)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def interval_of(metric: str, values: Array, rows: int, level: float = LEVEL) -> Interval:
    """`interval` of a metric on resamples of `rows` rows.

    Where a model is right in every row, or in none, no resample moves its accuracy, and yet other
    rows could: it gets the exact interval of a binomial share (Clopper and Pearson 1934)."""
    found = interval(values, level)
    if metric != ACCURACY or found.low != found.high or found.low not in (0.0, 1.0):
        return found
    far = ((1 - level) / 2) ** (1 / rows)
    return Interval(far, 1.0) if found.low == 1.0 else Interval(0.0, 1 - far)


def standard_error(values: Array) -> float:
    """The standard deviation of a metric over resamples."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


# A metric is prepared for its rows once, and then computed for a block of counts at a time.

_OfCounts = Callable[[Array], Array]
"""From counts [resamples, rows] to a metric's values [resamples]."""


def _accuracy(logits: Array, labels: Array) -> _OfCounts:
    right = (logits.argmax(axis=1) == labels).astype(np.float64)
    return lambda counts: counts @ right / len(right)


def _f1(logits: Array, labels: Array) -> _OfCounts:
    predicted, true = logits.argmax(axis=1) == 1, labels == 1
    hits, said = (predicted & true).astype(np.float64), predicted + true.astype(np.float64)
    return lambda counts: _ratio(2 * (counts @ hits), counts @ said)


def _macro_f1(logits: Array, labels: Array) -> _OfCounts:
    predicted, true = _one_hot(logits, labels)
    hits, said = predicted * true, predicted + true

    def values(counts: Array) -> Array:
        shown = counts @ said
        return np.asarray(_ratio(2 * (counts @ hits), shown).sum(axis=1) / (shown > 0).sum(axis=1))

    return values


def _matthews(logits: Array, labels: Array) -> _OfCounts:
    """Of many classes, as scikit-learn has it (Gorodkin 2004)."""
    predicted, true = _one_hot(logits, labels)
    right, rows = (predicted * true).sum(axis=1), len(labels)

    def values(counts: Array) -> Array:
        said, were = counts @ predicted, counts @ true
        cross = rows * (counts @ right) - (said * were).sum(axis=1)
        spread = (rows**2 - (said**2).sum(axis=1)) * (rows**2 - (were**2).sum(axis=1))
        return _ratio(cross, np.sqrt(spread))

    return values


def _one_hot(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Predicted and true classes [rows, classes], those that occur."""
    predicted = logits.argmax(axis=1)
    classes = np.union1d(predicted, labels)
    return (
        (predicted[:, None] == classes).astype(np.float64),
        (labels[:, None] == classes).astype(np.float64),
    )


def _rmse(logits: Array, labels: Array) -> _OfCounts:
    squares = (logits[:, 0].astype(np.float64) - labels) ** 2
    return lambda counts: np.sqrt(counts @ squares / len(squares))


def _pearson(logits: Array, labels: Array) -> _OfCounts:
    scores, labels = logits[:, 0].astype(np.float64), labels.astype(np.float64)
    if not (np.isfinite(scores).all() and np.isfinite(labels).all()):
        return lambda counts: np.zeros(len(counts))
    x, y = _centred(scores), _centred(labels)
    sums = np.stack([x, y, x * y, x * x, y * y], axis=1)

    def values(counts: Array) -> Array:
        mean_x, mean_y, xy, xx, yy = (counts @ sums).T / len(x)
        spread = np.clip(xx - mean_x**2, 0, None) * np.clip(yy - mean_y**2, 0, None)
        constant = spread <= _ROUNDING * (xx * yy)
        return _ratio(xy - mean_x * mean_y, np.where(constant, 0.0, np.sqrt(spread)))

    return values


_ROUNDING = 1e-20
"""A spread that is smaller than this in proportion is rounding: all rows drawn are alike."""


def _centred(values: Array) -> Array:
    return np.asarray(values - values.mean())


def _spearman(logits: Array, labels: Array) -> _OfCounts:
    scores = logits[:, 0].astype(np.float64)
    if not (np.isfinite(scores).all() and np.isfinite(labels).all()):
        return lambda counts: np.zeros(len(counts))
    by_score, by_label = _Ranks.of(scores), _Ranks.of(labels)

    def values(counts: Array) -> Array:
        x, y = by_score.centred(counts), by_label.centred(counts)
        xy, xx, yy = ((counts * a * b).sum(axis=1) for a, b in ((x, y), (x, x), (y, y)))
        return _ratio(xy, np.sqrt(xx * yy))

    return values


@dataclass(frozen=True)
class _Ranks:
    """The rows in the order of their values, and where each new value begins in it."""

    order: Array
    starts: Array
    group: Array

    @classmethod
    def of(cls, values: Array) -> _Ranks:
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])
        group = np.unique(values, return_inverse=True)[1]
        return cls(order, starts, group)

    def centred(self, counts: Array) -> Array:
        """Each row's rank among the rows drawn, less the mean rank; equal values share theirs."""
        drawn = np.add.reduceat(counts[:, self.order], self.starts, axis=1)
        ranks = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
        return np.asarray((ranks - (counts.shape[1] + 1) / 2)[:, self.group])


def _ratio(above: Array, below: Array) -> Array:
    """`above / below`, 0 where `below` is 0: what the metrics say where they are undefined."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


_METRICS: Mapping[str, Callable[[Array, Array], _OfCounts]] = MappingProxyType(
    {
        ACCURACY: _accuracy,
        F1: _f1,
        MACRO_F1: _macro_f1,
        MATTHEWS: _matthews,
        PEARSON: _pearson,
        SPEARMAN: _spearman,
        RMSE: _rmse,
    }
)
