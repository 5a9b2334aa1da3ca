"""Labels as data write them: what classes a column has, in which order, and the number of each.

Knows nothing of splits, nor of where the rows come from.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from tuner.errors import UserError, suggestion
from tuner.frames import Frame
from tuner.strata import Indices

UNLABELLED = "-1"
"""What data sets write where a label is kept back, beside nothing at all."""

MOST_CLASSES = 1000
_MOST_NUMBERS = 20
"""More distinct whole numbers than these may be classes or a scale: nobody can tell."""

_SHOWN = 12
_TRUTHS = ("false", "true")


@dataclass(frozen=True)
class Labels:
    """The labels of some rows of a frame: the distinct ones as text, and the `places` of each row's
    among them (-1: it has none). `rows` are the rows' numbers in the frame."""

    frame: Frame
    column: str
    rows: Indices
    values: tuple[str, ...]
    places: Indices

    @cached_property
    def present(self) -> tuple[str, ...]:
        """The distinct labels that any of the rows has."""
        used = set(np.unique(self.places).tolist())
        return tuple(value for place, value in enumerate(self.values) if place in used)

    @property
    def numbers(self) -> list[float] | None:
        """The present labels as numbers; None where one is none."""
        found = [_number(value) for value in self.present]
        return None if any(number is None for number in found) else found  # type: ignore[return-value]

    def where(self, value: str) -> str:
        """How messages call the first of the rows that has the label."""
        first = int(np.flatnonzero(self.places == self.values.index(value))[0])
        return self.frame.where(int(self.rows[first]))


def read_labels(frame: Frame, column: str, rows: Indices) -> Labels:
    """The labels in a column: numbers in their plainest form (1.0 is 1), text without the space
    around it, truth values in small letters, and the class names where the column has some.

    Raises UserError where the column holds several labels a row, or no labels at all.
    """
    _check_kind(frame, column)
    taken = frame.rows[column].take(pa.array(rows)).combine_chunks()
    names = frame.names.get(column)
    if names and pa.types.is_integer(taken.type):
        raw: list[Any] = list(names)
        numbers = taken.to_numpy(zero_copy_only=False)
        unknown = np.isnan(numbers) if numbers.dtype.kind == "f" else np.zeros(len(rows), bool)
        places = np.where(unknown, -1, numbers).astype(np.int64)
        if len(places) and (places.max() >= len(names) or places.min() < -1):
            bad = int(np.flatnonzero((places >= len(names)) | (places < -1))[0])
            raise UserError(
                f"{frame.where(int(rows[bad]))}: the label {places[bad]} has no name: "
                f"{column} has {len(names)} classes"
            )
        return Labels(frame, column, rows, names, places)
    encoded = taken.dictionary_encode(null_encoding="mask")
    raw = encoded.dictionary.to_pylist()
    if pa.types.is_string(taken.type):
        raw = _truths(raw)
    distinct: dict[str, int] = {}
    lookup = [-1]
    for value in raw:
        text = canonical(value)
        lookup.append(-1 if text is None else distinct.setdefault(text, len(distinct)))
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Labels(frame, column, rows, tuple(distinct), np.array(lookup)[indices + 1])


def canonical(value: Any) -> str | None:
    """A label as text: 1, 1.0 and "1.0" are "1", True is "true"; None for what is blank."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else _plain(value)
    text = str(value).strip()
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d*\.\d*([eE][-+]?\d+)?", text):
        number = _number(text)
        return text if number is None else _plain(number)
    return text or None


def _truths(texts: Sequence[str | None]) -> list[str | None]:
    """The distinct texts of a column; where they are truth values only, as typed files give them
    (pandas writes True to CSV)."""
    small = [text and text.strip().casefold() for text in texts]
    return small if all(text in (None, "", *_TRUTHS) for text in small) else list(texts)


def spelling(value: str, classes: Iterable[str]) -> str:
    """A label as the classes spell it: truth values are the same in capitals (rows that have
    other labels beside them keep theirs)."""
    known = tuple(classes)
    if value in known or value.casefold() not in _TRUTHS:
        return value
    return next((name for name in known if name.casefold() == value.casefold()), value)


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _check_kind(frame: Frame, column: str) -> None:
    kind = frame.rows.schema.field(column).type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or _is_fixed_list(kind)
    if pa.types.is_string(kind) and not lists:
        shown = next((v for v in frame.rows[column].slice(0, 1000).to_pylist() if v), "")
        lists = shown.startswith("[") and _is_json_list(shown)
    if lists:
        raise UserError(
            f"{frame.place}: {column} holds lists of labels; data with several labels a row "
            "(multi-label) cannot be learnt: keep one label a row, or name another --label"
        )
    if not any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_null,
        )
    ):
        raise UserError(f"{frame.place}: {column} holds {kind}, which is no label; name another")


def _is_fixed_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _is_json_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text.replace("'", '"')), list)
    except ValueError:
        return False


# What a column is


def is_regression(labels: Labels, wanted: bool | None) -> bool:
    """Whether a column's labels are numbers on a scale rather than classes.

    Names, truth values and a few whole numbers are classes, numbers with fractions a scale;
    `wanted` decides where it is given. Raises UserError where it cannot be, or nobody can tell.
    """
    column = labels.column
    # Class names that are numbers make a scale only where one is asked for.
    numbers = labels.numbers if wanted or column not in labels.frame.names else None
    if not labels.present:
        raise UserError(f"{labels.frame.place}: {column} is empty; label the rows, or name another")
    if wanted and numbers is None:
        text = next(value for value in labels.present if _number(value) is None)
        raise UserError(
            f"{labels.where(text)}: the label {text!r} is no number, as a regression needs; "
            "leave the objective out, or take accuracy or macro_f1"
        )
    many = len(labels.present)
    if wanted is None and numbers is not None:
        if not all(number.is_integer() for number in numbers):
            return True
        if many > _MOST_NUMBERS:
            raise UserError(
                f"{labels.frame.place}: {column} has {many:,} whole numbers, which may be classes "
                "or a scale; pass --objective accuracy or --objective pearson"
            )
    if not wanted and many > min(MOST_CLASSES, max(_MOST_NUMBERS, len(labels.rows) // 2)):
        raise UserError(
            f"{labels.frame.place}: {column} has {many:,} different values in "
            f"{len(labels.rows):,} rows, too many for classes; name another --label"
        )
    return bool(wanted)


def class_names(labels: Labels) -> tuple[str, ...]:
    """The classes of a column in their order, which is the same whatever the rows' order: that of
    the names where the data carry some, of numbers by size, else of the text, digits as numbers."""
    carried = labels.frame.names.get(labels.column)
    return carried if carried else tuple(sorted(labels.present, key=_order))


def _order(text: str) -> tuple[Any, ...]:
    number = _number(text)
    if number is not None:
        return (0, number, text)
    parts = re.split(r"(\d+)", text.casefold())
    natural = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p)
    return (1, natural, text)


def alike(names: Sequence[str]) -> tuple[str, str] | None:
    """Two classes that differ in their capital letters only."""
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            return seen[name.casefold()], name
        seen[name.casefold()] = name
    return None


def shown(names: Sequence[str]) -> str:
    """Class names in a line of bearable length."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f", … ({more} more)" if more > 0 else "")


# Numbers of classes


def class_numbers(
    labels: Labels, classes: Mapping[str, int], names: Sequence[str], blank: bool
) -> pa.Array:
    """The class of each row (int64; null where there is none, which only `blank` allows).

    `classes` maps what may be written to its number; `names` is what messages list.
    """
    numbers = [classes.get(spelling(value, classes), -2) for value in labels.values]
    if blank:
        for place, value in enumerate(labels.values):
            if value == UNLABELLED and numbers[place] == -2:
                numbers[place] = -1
    found = np.array([-1, *numbers])[labels.places + 1]
    wrong = np.flatnonzero(found == -2 if blank else found < 0)
    if len(wrong):
        row = int(wrong[0])
        place = int(labels.places[row])
        value = labels.values[place] if place >= 0 else ""
        raise UserError(
            f"{labels.frame.where(int(labels.rows[row]))}: the label {value!r} is none of "
            f"{shown(names)}{suggestion(value, classes)}"
        )
    return pa.array(found, pa.int64(), mask=found < 0)


def scores(labels: Labels, blank: bool) -> pa.Array:
    """The number of each row (float64; null where there is none, which only `blank` allows)."""
    numbers = [_number(value) for value in labels.values]
    table = np.array([math.nan, *(math.nan if n is None else n for n in numbers)])
    found = table[labels.places + 1]
    wrong = np.isnan(found)
    if blank:
        wrong &= labels.places >= 0
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        place = int(labels.places[row])
        value = labels.values[place] if place >= 0 else ""
        raise UserError(
            f"{labels.frame.where(int(labels.rows[row]))}: the label {value!r} "
            "must be a finite number"
        )
    return pa.array(found, pa.float64(), mask=np.isnan(found))
