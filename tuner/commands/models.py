"""The commands that use one exported model: predict, evaluate."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tuner.addresses import Data, parse_data
from tuner.commands import DONE, Storage, app
from tuner.errors import UserError, suggestion
from tuner.settings import read_run_file

if TYPE_CHECKING:
    import pyarrow as pa

    from tuner.tasks import Task

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN|DIR]",
        help="A run's name, path or URI, or a model's folder (default: the newest run that has "
        "exported a model).",
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="PLACE|SPLIT=FILE", help="The data for --split (default: the run's)."
    ),
]
SPLIT = "train|validation|test"
SHOWN_BAD = 10
"""Broken rows that are named one by one; then they are counted."""


@app.command()
def predict(
    output: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where to write: .tsv (GLUE's form), .csv, .jsonl, .parquet."
        ),
    ],
    which: Model = None,
    split: Annotated[str | None, typer.Option(metavar=SPLIT, help="A split of the task.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Rows of your own: TSV, CSV, JSONL."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="A column a label with its probability, too.")
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Name rows that cannot be read; leave their predictions empty."
        ),
    ] = False,
    data: Given = None,
    storage: Storage = "runs",
) -> int:
    """Predict the rows of a split or of a file with an exported model."""
    from tuner import answers
    from tuner.inputs import read_input, row_index
    from tuner.meter import counting, took
    from tuner.predict import read_classifier, task_of
    from tuner.progress import watcher

    answers.check_output(output)
    _check_which(split, file, data, "predict")
    if split is None and file is None:
        raise UserError("pass one of --split NAME and --input FILE: which rows to predict")
    folder, files = exported(which or newest(storage), storage)
    task = task_of(folder)
    bad: list[str] = []
    told = bad.append if skip_bad else None
    if file is not None:
        rows = read_input(file, task, told)
    else:
        rows = split_rows(task, str(split), parse_data(data) if data else files, told)
    for problem in bad[:SHOWN_BAD]:
        print(f"skipped {problem}", file=sys.stderr)
    if len(bad) > SHOWN_BAD:
        print(f"skipped {len(bad) - SHOWN_BAD:,} more rows like these", file=sys.stderr)
    with watcher(sys.stderr) as watching:
        watching.stage("loading the model")
        model = read_classifier(folder)
        began = time.monotonic()
        logits = model.logits(task, rows, advance=counting(watching, "predicting", rows.num_rows))
        seconds = time.monotonic() - began
    write = answers.write_probabilities if probabilities else answers.write_submission
    write(output, task, logits, row_index(rows))
    skipped = f", {len(bad):,} of them empty," if bad else ""
    print(
        f"wrote {rows.num_rows:,} predictions{skipped} to {output} ({took(rows.num_rows, seconds)})"
    )
    return DONE


@app.command()
def evaluate(
    which: Model = None,
    split: Annotated[
        str | None,
        typer.Option(metavar=SPLIT, help="A split of the task (default: validation)."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Labelled rows of your own instead."),
    ] = None,
    worst: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many of its worst mistakes to show.")
    ] = 10,
    form: Annotated[
        str, typer.Option("--format", metavar="table|json", help="How to print it.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write it there, too.")
    ] = None,
    data: Given = None,
    storage: Storage = "runs",
) -> int:
    """Score an exported model: metrics with 95 % intervals, confusions, its worst mistakes."""
    from tuner.answers import check_output
    from tuner.documents import finite, write_json
    from tuner.inputs import read_labelled, row_index
    from tuner.meter import counting
    from tuner.predict import read_classifier, task_of
    from tuner.progress import watcher

    _check_which(split, file, data, "evaluate")
    if form not in ("table", "json"):
        raise UserError(f"--format {form}: is neither table nor json")
    if output is not None:
        check_output(output, (".json",))
    folder, files = exported(which or newest(storage), storage)
    task = task_of(folder)
    notes: list[str] = []
    if file is not None:
        where, rows = str(file), read_labelled(file, task)
    else:
        split = split or (task.validation_split if task.counterparts else "validation")
        rows = split_rows(task, split, parse_data(data) if data else files)
        where = f"the {split} split"
        notes = _caveats(folder, task, split, None if data else rows.num_rows)
    with watcher(sys.stderr) as watching:
        watching.stage("loading libraries")
        from tuner import evaluation
        from tuner.intervals import RESAMPLES

        evaluation.check_labelled(task, rows, where)
        watching.stage("loading the model")
        model = read_classifier(folder)
        logits = model.logits(task, rows, advance=counting(watching, "predicting", rows.num_rows))
        watching.stage(f"drawing {RESAMPLES:,} samples of the rows for the intervals")
        found = evaluation.evaluate(
            task, rows, logits, row_index(rows), where, worst=worst, notes=notes
        )
    if output is not None:
        write_json(output, found.plain())
    if form == "json":
        import json

        print(json.dumps(finite(found.plain()), indent=2, ensure_ascii=False))
    else:
        from tuner.scorecard import scorecard

        print("\n".join(scorecard(found)))
    return DONE


def _check_which(split: str | None, file: Path | None, data: list[str] | None, what: str) -> None:
    """Raises UserError where the rows are named twice."""
    if file is not None and split is not None:
        raise UserError(f"pass one of --split NAME and --input FILE: which rows to {what}")
    if file is not None and data:
        raise UserError(f"--data goes with --split; --input {file} names the rows itself")


def _caveats(folder: Path, task: Task, split: str, rows: int | None) -> list[str]:
    """What must be known of the scores of a split: of all its `rows`, where they are the run's."""
    from tuner.views import scores_of

    if split == "train":
        return ["the model was trained on these rows: they tell nothing about new ones"]
    try:
        scores = scores_of(folder)
    except UserError:
        return []
    if split not in ("validation", task.validation_split):
        return []
    notes = []
    if scores.get("selected_on") == "validation":
        chosen = "the model's configuration was chosen on these rows"
        notes.append(f"{chosen}: the scores are optimistic")
    drawn = scores.get("rows")
    if rows is not None and isinstance(drawn, int) and drawn < rows:
        notes.append(
            f"the run scored {drawn:,} of these {rows:,} rows (--eval-rows), and its own scores, "
            "in metrics.json, are on those alone: they differ from these"
        )
    return notes


def newest(storage: str) -> str:
    """The newest run that has exported a model, by its path or URI; said on stderr. Raises
    UserError where there is none."""
    from tuner.runs import bring, list_runs

    for run in reversed(list_runs(storage)):
        if bring(run, f"{run.best_folder.name}/config.json"):
            print(f"the newest run with a model: {run.where}", file=sys.stderr)
            return run.where
    raise UserError(f"no run in {storage} has exported a model; make one: tuner tune")


def exported(which: str, storage: str) -> tuple[Path, Data]:
    """The model's folder, and the data that its run was given."""
    from tuner.runs import bring, find_run
    from tuner.swaps import restore

    folder = Path(os.path.expanduser(which))
    restore(folder, "config.json")  # another one's folder may have such a name
    if os.path.isfile(folder / "config.json"):
        return folder, None
    run = find_run(storage, which)
    restore(run.best_folder)
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


def split_rows(
    task: Task, split: str, data: Data, bad: Callable[[str], None] | None = None
) -> pa.Table:
    """The rows of a split of the task, from `data` or the Hub.

    `split` is train, validation or test or, of a task that has two of them, what the Hub calls
    either: `validation_mismatched`. With `bad`, rows without texts are told to it, and of a split
    that is a file also those that cannot be read; their texts are null.
    """
    from tuner.inputs import read_input, without_texts
    from tuner.origins import dataset_of, probe_data
    from tuner.sources import Split, file_of, read_split
    from tuner.tasks import find_task

    splits: dict[str, tuple[Task, Split]] = {name: (task, name) for name in get_args(Split)}
    if task.counterparts:
        for each in (task, *map(find_task, task.counterparts)):
            splits[each.validation_split] = each, "validation"
            splits[each.test_split] = each, "test"
    if split not in splits:
        near = suggestion(split, splits)
        raise UserError(f"--split {split}: must be one of {', '.join(splits)}{near}")
    if (dataset := dataset_of(data, task)) is not None:
        probe_data(data, dataset)
    wanted, name = splits[split]
    if bad is not None and wanted is task and (file := file_of(task, name, data)) is not None:
        return read_input(str(file), task, bad)
    rows = read_split(wanted, name, data, exact=wanted is not task)
    return rows if bad is None else without_texts(rows, task, split, bad)
