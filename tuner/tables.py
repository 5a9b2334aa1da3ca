"""A user's file of rows, as named values: CSV, TSV, JSON lines (each also `.gz`) and Parquet.

The suffix says the form. Knows nothing of tasks: not which column is a text and which a label.

A CSV is quoted as RFC 4180 has it; its columns are parted by commas or, where the header has none,
by semicolons or tabs. A TSV is not quoted: as in GLUE's files, a quotation mark is a character like
any other. A tab-separated file that is quoted is read rightly under the suffix `.csv`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tuner.errors import UserError
from tuner.places import Place

PARQUET = ".parquet"
TEXT_FORMS = (".tsv", ".csv", ".jsonl")
FORMS = f"{', '.join(TEXT_FORMS)}, {PARQUET}; the first three also with .gz"
"""What `form_of` knows, in words."""

_SEPARATORS = (",", ";", "\t")
_BATCH = 10_000
_OPEN_QUOTE = "unexpected end of data"
"""What Python says of a quotation mark that is never closed: all lines after it are lost."""


@dataclass(frozen=True)
class Row:
    """A row of a file: its values by their columns, or the `problem` that keeps it from being read.

    `number` is that of the line that it begins on; of a Parquet file, that of the row, from 1.
    """

    place: str
    number: int
    values: Mapping[str, Any]
    problem: str | None = None

    @property
    def where(self) -> str:
        """How messages call it: `file.csv:17`."""
        return where(self.place, self.number)


def where(place: str, number: int) -> str:
    """How messages call a row by its `number`: `file.csv:17`, `file.parquet: row 3`."""
    return f"{place}: row {number}" if place.lower().endswith(PARQUET) else f"{place}:{number}"


def form_of(name: str) -> str | None:
    """The suffix of `name` that says its form, in lower case and without `.gz`; None: it has none.

    What is packed (`.gz`) is a text form.
    """
    lower = name.lower()
    packed = lower.endswith(".gz")
    suffix = Path(lower.removesuffix(".gz")).suffix
    return suffix if suffix in TEXT_FORMS or (suffix == PARQUET and not packed) else None


def read_rows(file: str | Path | Place, header: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a file in their order; blank lines are passed over. A CSV or a TSV whose columns
    `header` names has no line that does.

    A row that cannot be read comes with its `problem` and no values. The values of CSV and TSV are
    text. Raises UserError, naming the file and the line, for what spoils the file as a whole.
    """
    place = file if isinstance(file, Place) else Place.of(file)
    form = form_of(place.name)
    if form is None:
        raise UserError(
            f"{place}: the suffix {Path(place.name).suffix!r} names no form; use {FORMS}"
        )
    if form == PARQUET:
        return _parquet_rows(place)
    if form == ".jsonl":
        return _json_rows(place)
    return _named(place, *numbered_fields(place, form, header))


def sound(row: Row) -> Row:
    """`row`, where it could be read; raises UserError with its problem otherwise."""
    if row.problem is not None:
        raise UserError(f"{row.where}: {row.problem}")
    return row


# Lines


def lines(place: Place) -> Iterator[str]:
    """The lines of a UTF-8 file, packed where its name ends in `.gz`, without their ends.

    A byte order mark is passed over. Not `str.splitlines`: texts may hold characters that it takes
    for the end of a line. Raises UserError when the file cannot be read, naming the line that is
    not UTF-8.
    """
    with place.open() as plain:
        packed = place.name.lower().endswith(".gz")
        source = io.BufferedReader(gzip.GzipFile(fileobj=plain)) if packed else plain
        number = 0
        try:
            for number, raw in enumerate(source, 1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                yield line.removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise UserError(f"{place}:{number}: not UTF-8; save the file as UTF-8") from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{place}: cannot be unpacked: {error}; pack it again") from error
        except OSError as error:
            raise UserError(f"{place}: cannot be read: {error.strerror or error}") from error


# CSV and TSV

Numbered = tuple[int, list[str] | str]
"""The number of the line that a row begins on, and its fields, or what is wrong with it."""


def numbered_fields(
    place: Place, form: str, named: Sequence[str] = ()
) -> tuple[list[str], Iterator[Numbered]]:
    """The header of a CSV or a TSV file, unless its columns are `named`, and its rows. Raises
    UserError for a bad header."""
    fields = _csv_fields(place) if form == ".csv" else _tsv_fields(place)
    if named:
        return [*named], _fitting([*named], fields)
    _, header = next(fields, (1, [""]))
    if isinstance(header, str):
        raise UserError(f"{place}:1: {header}")
    if not any(name.strip() for name in header):
        raise UserError(f"{place}:1: is blank; the first line must name the columns")
    header = [name.strip() for name in header]
    for column, name in enumerate(header):
        if name in header[:column]:
            raise UserError(f"{place}:1: the header names {name!r} twice; rename one of them")
    return header, _fitting(header, fields)


def _fitting(header: list[str], rows: Iterator[Numbered]) -> Iterator[Numbered]:
    """The rows as they fit the header; blank lines are passed over, but no row of empty fields."""
    for number, fields in rows:
        if isinstance(fields, str) or len(fields) == len(header):
            yield number, fields
        elif fields and not (len(fields) == 1 and fields[0].isspace()):
            problem = (
                f"the line has {len(fields)} columns, but must have {len(header)} "
                f"({', '.join(header)}); repair the line or take it out"
            )
            yield number, problem


def _tsv_fields(place: Place) -> Iterator[Numbered]:
    # As Python's CSV reader has it, a line without anything has no fields.
    numbered = enumerate(lines(place), 1)
    return ((number, line.split("\t") if line else []) for number, line in numbered)


def _csv_fields(place: Place) -> Iterator[Numbered]:
    # Python refuses fields of more than 131,072 characters unless it is told otherwise.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    source = lines(place)
    first = next(source, None)
    if first is None:
        return
    separator = max(_SEPARATORS, key=lambda each: (each in first and each == ",", each in first))
    begins = 1

    def ended() -> Iterator[str]:
        yield f"{first}\n"
        for line in source:
            yield f"{line}\n"

    reader = csv.reader(ended(), delimiter=separator, strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"cannot be read as CSV: {error}; check the row's quotation marks"
            if str(error) == _OPEN_QUOTE:
                raise UserError(f"{place}:{begins}: {problem}") from error
            yield begins, problem
        else:
            yield begins, fields
        begins = reader.line_num + 1


def _named(place: Place, header: list[str], rows: Iterator[Numbered]) -> Iterator[Row]:
    name = str(place)
    for number, fields in rows:
        if isinstance(fields, str):
            yield Row(name, number, {}, fields)
        else:
            yield Row(name, number, dict(zip(header, fields, strict=True)))


# JSON lines


def _json_rows(place: Place) -> Iterator[Row]:
    name = str(place)
    for number, line in enumerate(lines(place), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(name, number, {}, f"is not JSON: {error}; repair the line")
            continue
        if isinstance(values, dict):
            yield Row(name, number, values)
        else:
            problem = 'must be an object such as {"sentence": "…"}, one a line'
            yield Row(name, number, {}, problem)


# Parquet


def _parquet_rows(place: Place) -> Iterator[Row]:
    name, number = str(place), 0
    with parquet(place) as file:
        for batch in file.iter_batches(_BATCH):
            for values in batch.to_pylist():
                number += 1
                yield Row(name, number, values)


@contextmanager
def parquet(place: Place) -> Iterator[pq.ParquetFile]:
    """A Parquet file, to be read in the block. Raises UserError where it is none."""
    try:
        with place.open() as source:
            yield pq.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{place}: cannot be read as Parquet: {reason}") from error
