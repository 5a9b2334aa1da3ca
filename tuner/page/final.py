"""The final model on a page: its scores, which classes it confuses, and its worst errors.

From best/evaluation.json, as `evaluation.Evaluation.plain` writes it; texts are cut to what a page
has room for. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.cells import one_line
from tuner.runs import EVALUATION

_TEXT = 600
_LABEL = 40
_CLASSES = 60
"""A matrix of more classes than this is left to `tuner evaluate`."""


@dataclass(frozen=True)
class Metric:
    """A metric's value, its 95 % interval, and what the constant answer scores."""

    name: str
    value: float
    low: float | None
    high: float | None
    baseline: float | None


@dataclass(frozen=True)
class Error:
    """A row that the model gets wrong; `texts` are (column, text)."""

    row: int
    true: str
    predicted: str
    certainty: float | None
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FinalModel:
    """What is told of the final model. `confusion` counts rows by true (down) and predicted class,
    None in a regression and where there are too many classes."""

    split: str
    rows: int
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    errors: tuple[Error, ...]


def read_evaluation(best: Path) -> dict[str, Any] | None:
    """What best/evaluation.json says; None where it is missing or broken."""
    try:
        found = json.loads((best / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def final_model(said: Mapping[str, Any] | None, columns: tuple[str, ...]) -> FinalModel | None:
    """The final model from its evaluation; `columns` are those of the task's texts. None where
    there is none, or it is not what this version writes."""
    if said is None:
        return None
    try:
        intervals = said.get("intervals") or {}
        baseline = (said.get("baseline") or {}).get("metrics") or {}
        cells = said.get("confusion")
        if cells is not None and {len(cells)} != {len(said["labels"]), *map(len, cells)}:
            return None
        return FinalModel(
            split=str(said["split"]),
            rows=int(said["rows"]),
            metrics=tuple(
                Metric(name, *map(_number, (value, low, high, baseline.get(name))))
                for name, value in said["metrics"].items()
                for low, high in [intervals.get(name) or (None, None)]
            ),
            labels=tuple(one_line(str(name), _LABEL) for name in said["labels"]),
            confusion=None
            if cells is None or len(cells) > _CLASSES
            else tuple(tuple(map(int, row)) for row in cells),
            errors=tuple(_error(wrong, columns) for wrong in said["worst"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _error(wrong: Mapping[str, Any], columns: tuple[str, ...]) -> Error:
    return Error(
        row=int(wrong["row"]),
        true=_answer(wrong["label"]),
        predicted=_answer(wrong["prediction"]),
        certainty=_number(wrong.get("probability")),
        texts=tuple(
            (one_line(column, _LABEL), one_line(str(wrong.get(column) or ""), _TEXT))
            for column in columns
        ),
    )


def _number(value: Any) -> Any:
    """A number or None. Raises TypeError for anything else."""
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return None if value is None else float(value)


def _answer(label: Any) -> str:
    return f"{label:.4g}" if isinstance(label, float) else one_line(str(label), _LABEL)
