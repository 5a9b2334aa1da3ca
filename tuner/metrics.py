"""The metrics of every task family, as `evaluate` metrics with their code here: nothing is fetched.

Knows nothing of Ray, of models or of files.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import evaluate
import numpy as np
import numpy.typing as npt
from datasets import Features, Value

from tuner.errors import UserError, suggestion
from tuner.tasks import ACCURACY, DIRECTIONS, F1, MACRO_F1, MATTHEWS, PEARSON, RMSE, SPEARMAN

Array = npt.NDArray[Any]


class TaskMetric(evaluate.Metric):
    """A task family's metrics, computed together from one prediction and one reference a row.

    `names` are the keys of what `compute(predictions=…, references=…)` returns, all of them floats.
    Predictions and references are class indices, or numbers where `regression` is set.
    """

    names: ClassVar[tuple[str, ...]] = ()
    regression: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True, seed=0)

    def _build_data_dir(self) -> str:
        # evaluate would make a folder in its cache, which nothing kept in memory is written to.
        return ""

    def _info(self) -> evaluate.MetricInfo:
        value = Value("float64") if self.regression else Value("int64")
        return evaluate.MetricInfo(
            description=str(self.__doc__),
            citation="",
            inputs_description="predictions and references: one value a row",
            features=Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        values = self.values(np.asarray(predictions), np.asarray(references))
        return dict(zip(self.names, map(float, values), strict=True))

    def values(self, predictions: Array, references: Array) -> tuple[float, ...]:
        """The metrics' values in the order of `names`."""
        raise NotImplementedError


class Matthews(TaskMetric):
    """Matthews correlation coefficient; 0 where it is undefined (Matthews 1975; CoLA)."""

    names = (MATTHEWS,)

    def values(self, predictions: Array, references: Array) -> tuple[float, ...]:
        from sklearn.metrics import matthews_corrcoef

        if not _vary(predictions, references):
            return (0.0,)
        return (_defined(matthews_corrcoef(references, predictions)),)


class Accuracy(TaskMetric):
    """The share of rows whose class is right."""

    names = (ACCURACY,)

    def values(self, predictions: Array, references: Array) -> tuple[float, ...]:
        return (np.mean(predictions == references),)


class BinaryF1(TaskMetric):
    """F1 of class 1, the positive one (MRPC, QQP); 0 where nothing is predicted or is positive."""

    names = (F1,)

    def values(self, predictions: Array, references: Array) -> tuple[float, ...]:
        from sklearn.metrics import f1_score

        return (f1_score(references == 1, predictions == 1, zero_division=0),)


class MacroF1(TaskMetric):
    """The mean of the classes' F1, over the classes that occur in references or predictions."""

    names = (MACRO_F1,)

    def values(self, predictions: Array, references: Array) -> tuple[float, ...]:
        from sklearn.metrics import f1_score

        return (f1_score(references, predictions, average="macro", zero_division=0),)


class Correlation(TaskMetric):
    """Pearson's and Spearman's correlation; 0 where one side is constant or not finite (STS-B)."""

    names = (PEARSON, SPEARMAN)
    regression = True

    def values(self, predictions: Array, references: Array) -> tuple[float, ...]:
        from scipy.stats import pearsonr, spearmanr

        if not _vary(predictions, references):
            return 0.0, 0.0
        pearson = pearsonr(predictions, references).statistic
        return _defined(pearson), _defined(spearmanr(predictions, references).statistic)


class RootMeanSquaredError(TaskMetric):
    """The root of the mean squared difference, in the labels' unit."""

    names = (RMSE,)
    regression = True

    def values(self, predictions: Array, references: Array) -> tuple[float, ...]:
        return (np.sqrt(np.mean((predictions - references) ** 2)),)


FAMILIES: tuple[type[TaskMetric], ...] = (
    Matthews,
    Accuracy,
    BinaryF1,
    MacroF1,
    Correlation,
    RootMeanSquaredError,
)


def score(metrics: Sequence[str], logits: Array, labels: Array) -> dict[str, float]:
    """The named metrics of a model's outputs, in the order of `metrics`.

    `logits`: rows x labels, `labels`: rows. A classification goes by the largest logit of a row, a
    regression by column 0. Raises UserError for an unknown metric, ValueError for shapes that do
    not fit or no rows.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits of shape {logits.shape} do not fit labels of shape {labels.shape}"
        )
    scores: dict[str, float] = {}
    for metric in dict.fromkeys(_metric(name) for name in metrics):
        predictions = logits[:, 0] if metric.regression else logits.argmax(axis=1)
        scores |= metric.compute(predictions=predictions, references=labels)
    return {name: scores[name] for name in metrics}


def _metric(name: str) -> TaskMetric:
    for metric in _metrics():
        if name in metric.names:
            return metric
    raise UserError(f"there is no metric {name!r}{suggestion(name, DIRECTIONS)}")


@functools.cache
def _metrics() -> tuple[TaskMetric, ...]:
    return tuple(family() for family in FAMILIES)


def _vary(*arrays: Array) -> bool:
    return all(np.isfinite(a).all() and len(a) > 1 and np.ptp(a) > 0 for a in arrays)


def _defined(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0
