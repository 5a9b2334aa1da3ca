"""Files of rows in every form: values by their columns, and the line of each."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuner.errors import UserError
from tuner.tables import Row, form_of, read_rows

ROWS = [{"text": 'say "no"', "n": "1"}, {"text": "Fluß\u2028weg", "n": "2"}]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def text_in(form: str) -> str:
    if form == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in ROWS)
    if form == ".csv":
        quoted = ('"{}"'.format(row["text"].replace('"', '""')) for row in ROWS)
        return "text,n\n" + "".join(f"{text},{i}\n" for i, text in enumerate(quoted, 1))
    return "text\tn\n" + "".join(f"{row['text']}\t{row['n']}\n" for row in ROWS)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("form", [".csv", ".tsv", ".jsonl"])
def test_every_text_form_gives_the_same_rows_packed_or_not(
    tmp_path: Path, form: str, packed: str
) -> None:
    path = write(tmp_path, f"rows{form}{packed}", text_in(form))
    rows = list(read_rows(path))
    assert [row.values for row in rows] == ROWS
    first = 1 if form == ".jsonl" else 2
    assert [row.where for row in rows] == [f"{path}:{first}", f"{path}:{first + 1}"]


def test_parquet_gives_typed_values_and_counts_rows_from_one(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "n": [1, None]}), tmp_path / "rows.parquet")
    rows = list(read_rows(tmp_path / "rows.parquet"))
    assert [row.values for row in rows] == [{"text": "a", "n": 1}, {"text": "b", "n": None}]
    assert rows[1].where == f"{tmp_path / 'rows.parquet'}: row 2"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_may_be_parted_by_semicolons_or_tabs(tmp_path: Path, separator: str) -> None:
    header, row = separator.join(["text", "n"]), separator.join(['"a, b; c\td"', "1"])
    path = write(tmp_path, "rows.csv", f"{header}\n{row}\n")
    assert [row.values for row in read_rows(path)] == [{"text": "a, b; c\td", "n": "1"}]


def test_a_row_that_cannot_be_read_comes_with_its_problem_and_the_others_with_values(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "rows.csv", 'a,b\n1,2\n3\n"4"x,5\n6,7\n')
    rows = list(read_rows(path))
    assert [(row.number, row.problem is None) for row in rows] == [
        (2, True),
        (3, False),
        (4, False),
        (5, True),
    ]
    assert rows[3].values == {"a": "6", "b": "7"}
    path = write(tmp_path, "rows.jsonl", '{"a": 1}\n{\n[]\n{"a": 2}\n')
    rows = list(read_rows(path))
    assert [row.problem is None for row in rows] == [True, False, False, True]


def test_a_field_may_be_long(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", "text\n" + "x" * 200_000 + "\n")
    assert len(next(read_rows(path)).values["text"]) == 200_000


def test_a_broken_archive_is_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"words " * 1000)[:-20])
    with pytest.raises(UserError, match=r"rows\.csv\.gz: cannot be unpacked"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.CSV", ".csv"),
        ("a.b.jsonl.gz", ".jsonl"),
        ("a.parquet", ".parquet"),
        ("a.parquet.gz", None),
        ("a.json", None),
        ("gz", None),
    ],
)
def test_the_suffix_says_the_form(name: str, form: str | None) -> None:
    assert form_of(name) == form


def test_where_a_row_stands_is_said_as_editors_take_it() -> None:
    assert Row("x.csv", 3, {}).where == "x.csv:3"
