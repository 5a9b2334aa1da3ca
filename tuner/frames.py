"""The rows of a file, or of several that follow one another, by columns; where each row stands.

Knows the forms of files, not what their columns mean.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tuner.errors import UserError
from tuner.places import Place
from tuner.tables import FORMS, PARQUET, form_of, numbered_fields, parquet, read_rows, sound, where

ARROW = ".arrow"
"""The suffix of the files that `datasets` writes with `save_to_disk`: Arrow's stream format."""

_BATCH = 10_000
_SAID_EVERY = 100_000
_LOOKED_AT = 1000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A file's share of a frame: `count` rows with the numbers that `tables.Row` has for them."""

    place: str
    count: int
    numbers: Sequence[int]


@dataclass(frozen=True)
class Frame:
    """Rows by columns.

    The columns of CSV and TSV are text; others have the types that the file gives them. `names` are
    the class names that came along with a column of whole numbers (a data set's ClassLabel).
    `mixed` names the columns whose values are of several types, which stand there as JSON, and the
    first row that differs. `notes` are to be said aloud.
    """

    rows: pa.Table
    parts: tuple[Part, ...]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mixed: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.rows.column_names)

    @property
    def place(self) -> str:
        """What the rows come from, in a word."""
        more = len(self.parts) - 1
        return self.parts[0].place + (f" (and {more} more)" if more else "")

    def where(self, row: int) -> str:
        """How messages call a row (from 0): `file.csv:17`."""
        begins = [0]
        for part in self.parts:
            begins.append(begins[-1] + part.count)
        number = min(bisect.bisect_right(begins, row), len(self.parts)) - 1
        part = self.parts[number]
        place = part.numbers[row - begins[number]]
        # Files of lines have a number for each; all others count their rows.
        counted = isinstance(part.numbers, range)
        return f"{part.place}: row {place}" if counted else where(part.place, place)


def read_frame(place: Place, say: Say | None = None, header: Sequence[str] = ()) -> Frame:
    """The rows of one file. `say` hears of every 100,000 rows; `header` as for `tables.read_rows`.

    Raises UserError, naming the file and the line, where it cannot be read.
    """
    form = ARROW if place.name.endswith(ARROW) else form_of(place.name)
    if form is None:
        suffix = Path(place.name).suffix
        raise UserError(f"{place}: the suffix {suffix!r} names no form; use {FORMS}")
    if form == ARROW:
        return typed(str(place), _read_arrow(place))
    if form == PARQUET:
        with parquet(place) as file:
            table = file.read(columns=_plain_columns(file.schema_arrow))
        return typed(str(place), table)
    if form == ".jsonl":
        return _read_json(place, say)
    return _read_fields(place, form, say, header)


def joined(frames: Sequence[Frame]) -> Frame:
    """Frames that follow one another. Raises UserError where their columns do not fit."""
    if len(frames) == 1:
        return frames[0]
    first = frames[0]
    for frame in frames[1:]:
        if set(frame.columns) != set(first.columns):
            differing = ", ".join(sorted(set(frame.columns) ^ set(first.columns)))
            raise UserError(
                f"{frame.place}: has other columns than {first.place} ({differing}); "
                "files of one split must have the same"
            )
    try:
        rows = pa.concat_tables([frame.rows for frame in frames], promote_options="permissive")
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{first.place}: the files of a split differ in types: {reason}") from error
    return dataclasses.replace(
        first, rows=rows, parts=tuple(part for frame in frames for part in frame.parts)
    )


def without_blank(frame: Frame) -> Frame:
    """The frame without its rows of blank fields only, as a spreadsheet leaves them below its last
    row; a note counts them. Such a row of a typed file is one like any other."""
    if not frame.columns or not all(pa.types.is_string(kind) for kind in frame.rows.schema.types):
        return frame
    blank = np.ones(frame.rows.num_rows, bool)
    for column in reversed(frame.rows.columns):  # labels, which are short, tend to be the last
        if blank.any():
            trimmed = pc.utf8_trim_whitespace(column.fill_null(""))
            blank &= pc.equal(trimmed, "").to_numpy()
    if not blank.any():
        return frame
    first, count = int(np.flatnonzero(blank)[0]), int(blank.sum())
    rows = "row of blank fields is" if count == 1 else "rows of blank fields are"
    note = f"{count:,} {rows} passed over (the first is {frame.where(first)})"
    parts, begin = [], 0
    for part in frame.parts:
        kept = np.flatnonzero(~blank[begin : begin + part.count])
        numbers = array("q", (part.numbers[row] for row in kept.tolist()))
        parts.append(dataclasses.replace(part, count=len(kept), numbers=numbers))
        begin += part.count
    return dataclasses.replace(
        frame,
        rows=frame.rows.filter(pa.array(~blank)),
        parts=tuple(parts),
        mixed={name: row - int(blank[:row].sum()) for name, row in frame.mixed.items()},
        notes=(*frame.notes, note),
    )


# Text


def _read_fields(place: Place, form: str, say: Say | None, named: Sequence[str]) -> Frame:
    header, found = numbered_fields(place, form, named)
    numbers, batch, batches = array("q"), [], []
    for number, fields in found:
        if isinstance(fields, str):
            raise UserError(f"{where(str(place), number)}: {fields}")
        numbers.append(number)
        batch.append(fields)
        if len(batch) == _BATCH:
            batches.append(_texts(header, batch))
            batch = []
            _tell(say, place, len(numbers))
    batches.append(_texts(header, batch))
    rows = pa.concat_tables(batches)
    notes = _quoted_looking(place, rows) if form == ".tsv" else ()
    return Frame(rows, (Part(str(place), len(numbers), numbers),), notes=notes)


def _texts(header: Sequence[str], batch: Sequence[Sequence[str]]) -> pa.Table:
    columns: Sequence[Any] = list(zip(*batch, strict=True)) or [() for _ in header]
    return pa.table({n: pa.array(c, pa.string()) for n, c in zip(header, columns, strict=True)})


def _quoted_looking(place: Place, rows: pa.Table) -> tuple[str, ...]:
    """A note where the texts of a TSV look as if they had been quoted when they were written."""
    for column in rows.column_names:
        values = rows[column].slice(0, _LOOKED_AT).to_pylist()
        quoted = [value for value in values if value.startswith('"')]
        whole = [v for v in quoted if len(v) > 1 and '"' not in v[1:-1].replace('""', "")]
        if whole and len(whole) == len(quoted) and any('""' in value for value in whole):
            return (
                f"{place}: {column} looks quoted; in a TSV a quotation mark is a character like "
                "any other: rename the file to .csv to have the quotation marks taken off",
            )
    return ()


def _tell(say: Say | None, place: Place, rows: int) -> None:
    if say is not None and rows % _SAID_EVERY == 0:
        say(f"read {rows:,} rows of {place.name}")


# JSON lines


def _read_json(place: Place, say: Say | None) -> Frame:
    numbers, columns = array("q"), cast(dict[str, list[Any]], {})
    for row in read_rows(place):
        values = sound(row).values
        for name, value in values.items():
            column = columns.setdefault(name, [])
            column.extend([None] * (len(numbers) - len(column)))
            column.append(value)
        numbers.append(row.number)
        _tell(say, place, len(numbers))
    arrays, mixed = {}, {}
    for name, column in columns.items():
        column.extend([None] * (len(numbers) - len(column)))
        arrays[name], differing = _array(place, name, numbers, column)
        if differing is not None:
            mixed[name] = differing
    return Frame(pa.table(arrays), (Part(str(place), len(numbers), numbers),), mixed=mixed)


def _array(
    place: Place, name: str, numbers: Sequence[int], values: list[Any]
) -> tuple[pa.Array, int | None]:
    """A column of JSON's values; where their types differ, as JSON, and the first that does."""
    try:
        return pa.array(values), None
    except UnicodeEncodeError:
        row = next(row for row, value in enumerate(values) if _is_broken(value))
        at = where(str(place), numbers[row])
        raise UserError(f"{at}: {name} holds half a character; repair the text") from None
    except (pa.ArrowException, OverflowError):
        kinds = [type(value) for value in values]
        usual = next(kind for kind in kinds if kind is not type(None))
        row = next((r for r, k in enumerate(kinds) if k not in (usual, type(None))), 0)
        written = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        return pa.array(written, pa.string()), row


def _is_broken(value: Any) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in json.dumps(value, ensure_ascii=False))


# Parquet and Arrow


def _read_arrow(place: Place) -> pa.Table:
    try:
        if place.path is not None:
            with pa.memory_map(str(place.path)) as source:
                table = pa.ipc.open_stream(source).read_all()
        else:
            with place.open() as file:
                table = pa.ipc.open_stream(file).read_all()
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{place}: cannot be read as Arrow: {reason}") from error
    return table


def _plain_columns(schema: pa.Schema) -> list[str]:
    """The columns that a text or a label may stand in: pictures and the like are never read."""
    return [f.name for f in schema if not (pa.types.is_struct(f.type) or _is_bytes(f.type))]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def typed(place: str, table: pa.Table) -> Frame:
    """A frame of a table whose rows are known by their numbers, from 1; `place` is what it comes
    from. Raises UserError where two columns have the same name."""
    if twins := [name for name in table.column_names if table.column_names.count(name) > 1]:
        raise UserError(f"{place}: has two columns called {twins[0]!r}; rename one of them")
    table = table.select(_plain_columns(table.schema))
    names = _class_names(table.schema)
    columns = {name: _plain(table[name]) for name in table.column_names}
    count = table.num_rows
    return Frame(pa.table(columns), (Part(place, count, range(1, count + 1)),), names=names)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The class names that `datasets` writes into a schema, by column."""
    try:
        said = json.loads((schema.metadata or {})[b"huggingface"])
        return dict(_classes(said["info"]["features"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _classes(features: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for column, feature in features.items():
        if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
            yield column, tuple(map(str, feature["names"]))
