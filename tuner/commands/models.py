"""The commands that use an exported model: predict."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from tuner.addresses import Data, parse_data
from tuner.commands import DONE, Storage, app
from tuner.errors import UserError
from tuner.settings import read_run_file

if TYPE_CHECKING:
    import pyarrow as pa

    from tuner.tasks import Task


@app.command()
def predict(
    which: Annotated[
        str,
        typer.Argument(metavar="RUN|DIR", help="A run's name, path or URI, or a model's folder."),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write: .tsv (GLUE's form), .csv, .jsonl.")
    ],
    split: Annotated[
        str | None, typer.Option(metavar="train|validation|test", help="A split of the task.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Rows of your own: TSV, CSV, JSONL."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="A column a label instead of the prediction.")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE|SPLIT=FILE", help="The data for --split (default: the run's)."),
    ] = None,
    storage: Storage = "runs",
) -> int:
    """Predict the rows of a split or of a file with an exported model."""
    from tuner import predict as model
    from tuner.inputs import row_index

    model.check_output(output)
    folder, files = _exported(which, storage)
    task = model.task_of(folder)
    rows = _rows_to_predict(task, split, file, parse_data(data) if data else files)
    logits = model.predict(folder, task, rows)
    write = model.write_probabilities if probabilities else model.write_submission
    write(output, task, logits, row_index(rows))
    print(f"wrote {rows.num_rows} predictions to {output}")
    return DONE


def _exported(which: str, storage: str) -> tuple[Path, Data]:
    """The model's folder, and the data that its run was given."""
    from tuner.runs import bring, find_run

    folder = Path(os.path.expanduser(which))
    if os.path.isfile(folder / "config.json"):
        return folder, None
    run = find_run(storage, which)
    settings = read_run_file(run).settings
    if not bring(run, run.best_folder.name):
        unless = (
            "" if settings.retrain else f"set `retrain: true` in {run.place('run.yaml')}, then "
        )
        raise UserError(
            f"the run {run.name} has exported no model; {unless}finish it: "
            f"tuner resume {shlex.quote(run.where)}"
        )
    return run.best_folder, settings.data


def _rows_to_predict(task: Task, split: str | None, file: Path | None, data: Data) -> pa.Table:
    from tuner.inputs import read_input
    from tuner.origins import dataset_of, probe_data
    from tuner.sources import Split, read_split

    if (split is None) == (file is None):
        raise UserError("pass one of --split NAME and --input FILE: which rows to predict")
    if file is not None:
        return read_input(file, task)
    if split not in get_args(Split):
        raise UserError(f"--split {split}: must be train, validation or test")
    if (dataset := dataset_of(data, task)) is not None:
        probe_data(data, dataset)
    return read_split(task, cast(Split, split), data)
