"""A leaderboard's rows as data: JSON, CSV, Arrow and pandas, and the files that they are kept in.

Knows a row's fields; nothing of how it came about.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tuner import documents
from tuner.leaderboard import Row
from tuner.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_FIELDS = tuple(field.name for field in fields(Row))
NESTED = {"metrics": "metric", "hyperparameters": "hyperparameter"}


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as plain data, best first: the form of `tuner leaderboard --format json`."""
    return [{name: getattr(row, name) for name in _FIELDS} for row in rows]


def json_text(rows: Iterable[Row]) -> str:
    """`to_json` as text, a row a line."""
    return json_of(to_json(rows))


def json_of(items: Iterable[Mapping[str, Any]]) -> str:
    """Plain data as a JSON list, an item a line."""
    encode = json.JSONEncoder(allow_nan=False).encode
    body = ",\n ".join(map(encode, items))
    return f"[{body}]\n"


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The rows as flat columns: `metrics` becomes `metric.accuracy` and so on, `hyperparameters`
    `hyperparameter.learning_rate` and so on, in the order in which they first appear."""
    table: dict[str, list[Any]] = {}
    for name in _FIELDS:
        values = [getattr(row, name) for row in rows]
        if name not in NESTED:
            table[name] = values
            continue
        for key in dict.fromkeys(key for value in values for key in value):
            table[f"{NESTED[name]}.{key}"] = [value.get(key) for value in values]
    return table


def csv_text(rows: Sequence[Row]) -> str:
    """The flat columns as CSV: numbers in full, nothing for what is not known."""
    return csv_of(columns(rows))


def csv_of(table: Mapping[str, Sequence[Any]]) -> str:
    """Columns by their names as CSV."""
    words: dict[Any, str] = {True: "true", False: "false"}
    table = {
        name: [words[value] if isinstance(value, bool) else value for value in values]
        for name, values in table.items()
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue()


def to_table(rows: Sequence[Row]) -> pa.Table:
    """The flat columns as an Arrow table; a hyperparameter of mixed types becomes text.

    pandas reads whole numbers and truth values as such where some are not known, too."""
    import pyarrow as pa

    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    table = columns(rows)
    arrays = {name: _array(table[name], types[kind]) for name, kind in _KINDS.items()}
    arrays |= {name: _array(values) for name, values in table.items() if name not in arrays}
    whole = pa.table({name: arrays[name] for name in table})
    return whole.replace_schema_metadata(_for_pandas(whole.schema))


def _for_pandas(schema: pa.Schema) -> dict[str, str]:
    """What makes pandas read columns with nulls in its nullable types, not as floats and objects
    (pandas' developer guide, "Storing pandas DataFrame objects in Apache Parquet format")."""
    nullable = {"int64": "Int64", "bool": "boolean"}
    said = [
        {
            "name": field.name,
            "field_name": field.name,
            "pandas_type": str(field.type),
            "numpy_type": nullable[str(field.type)],
            "metadata": None,
        }
        for field in schema
        if str(field.type) in nullable
    ]
    known = {"index_columns": [], "column_indexes": [], "columns": said, "pandas_version": "2.0"}
    return {"pandas": json.dumps(known)}


_KINDS: dict[str, type] = {
    "rank": int,
    "trial": str,
    "status": str,
    "objective": float,
    "objective_se": float,
    "tied": bool,
    "progress": float,
    "train_seconds": float,
    "eval_seconds": float,
    "total_seconds": float,
    "restarts": int,
    "slot": str,
    "error": str,
    "preemptions": int,
    "best_objective": float,
    "loss": float,
    "effective_batch_size": int,
    "micro_batch_size": int,
    "gradient_accumulation_steps": int,
    "halvings": int,
    "start_point": bool,
    "begun": bool,
    "warning": str,
    "objective_low": float,
    "objective_high": float,
    "worse": float,
    "objective_mean": float,
    "objective_sd": float,
    "seeds": int,
    "reseed_of": str,
}


def _array(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The flat columns as a pandas DataFrame, a row a trial, best first."""
    frame: pd.DataFrame = to_table(rows).to_pandas()
    return frame


def write_leaderboard(run: Run, rows: Sequence[Row]) -> None:
    """Write leaderboard.parquet, .csv and .json, each whole or not at all."""
    import pyarrow.parquet as pq

    parquet = io.BytesIO()
    pq.write_table(to_table(rows), parquet)
    documents.write_bytes(run.leaderboard_file("parquet"), parquet.getvalue())
    documents.write_text(run.leaderboard_file("csv"), csv_text(rows))
    documents.write_text(run.leaderboard_file("json"), json_text(rows))
