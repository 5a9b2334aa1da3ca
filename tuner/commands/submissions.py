"""The command that answers GLUE's test sets: submission."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.addresses import parse_data
from tuner.commands import DONE, Storage, app
from tuner.commands.models import exported
from tuner.errors import UserError


@app.command()
def submission(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN|DIR …", help="A run or a model's folder for each task."),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE.zip", help="Where to write the zip.")],
    fill_missing: Annotated[
        bool,
        typer.Option("--fill-missing", help="Write the commonest label where no run answers."),
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="GLUE's test sets (default: those of each run's data)."),
    ] = None,
    storage: Storage = "runs",
) -> int:
    """Write the zip of test predictions that GLUE's server takes."""
    from tuner import submission as form
    from tuner.answers import check_output, predictions
    from tuner.documents import write_bytes
    from tuner.meter import counting
    from tuner.predict import read_classifier, task_of
    from tuner.progress import watcher

    check_output(output, (".zip",))
    place = parse_data(data) if data else None
    if data and not isinstance(place, str):
        raise UserError(
            f"--data {data[0]}: names a file of rows, but the zip answers a test set a task; name "
            "the folder that holds them all (CoLA/, RTE/, …), or leave --data out"
        )
    entrants = []
    for which in runs:
        folder, files = exported(which, storage)
        entrants.append(form.Entrant(which, folder, task_of(folder), place or files))
    plan = form.plan(entrants)
    if not fill_missing:
        form.check_complete(plan.missing)
    said = {file: form.filled(file) for file in plan.missing}
    with watcher(sys.stderr) as watching:
        watching.stage("loading libraries")
        for file, (entrant, table) in plan.answered.items():
            model = read_classifier(entrant.folder)
            advance = counting(watching, f"predicting {file.name}", table.num_rows)
            said[file] = predictions(file.task, model.logits(file.task, table, advance=advance))
    content = form.pack(said)
    for warning in form.unusual(said):
        print(f"note: {warning}", file=sys.stderr)
    write_bytes(output, content)
    for file in form.FILES:
        if file in plan.missing:
            by = f"always {file.commonest}: {plan.missing[file]}"
        else:
            by = plan.answered[file][0].called
        print(f"{file.name:12} {len(said[file]):>7,} rows  {by}")
    print(f"wrote {output}")
    return DONE
