"""The commands that read a run: leaderboard, logs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.commands import DONE, Storage, Which, app

if TYPE_CHECKING:
    from tuner.runs import Run

COPIES = "runs"
"""The folder for copies of runs that lie elsewhere, and for runs where nothing else is said."""

FORMS = "table|csv|json|md|html"


@app.command()
def leaderboard(
    run: Which = None,
    top: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N rows.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Put the rows in the order of a column, the least first; with a dash before its "
            "name (-accuracy) the greatest first. Rows without a value come last.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Only these columns, in this order: by the names of the table (lr, time), of CSV "
            "or of JSON. In JSON only these keys are kept.",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar=FORMS, help="How to print it.")
    ] = "table",
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch", help=f"Copy a run that lies in a store to {COPIES}/NAME here, too."
        ),
    ] = False,
    storage: Storage = "runs",
) -> int:
    """Print a run's leaderboard: finished trials, best first, then stopped, then failed ones."""
    from tuner.rendering import check_form
    from tuner.runs import find_run

    check_form(form)
    found = find_run(storage, run)
    print(board(found, form, top, sort, columns), end="")
    if fetch:
        from tuner.mirror import copy_to

        copy = copy_to(found, Path(COPIES))
        done = "lies here already, in" if copy == found else "copied to"
        print(f"{done} {copy.folder}", file=sys.stderr)
    return DONE


def board(
    run: Run,
    form: str = "table",
    top: int | None = None,
    sort: str | None = None,
    columns: str | None = None,
) -> str:
    """The leaderboard in one of its forms, with its heading where the form has one."""
    from tuner.ordering import ordered
    from tuner.rendering import render
    from tuner.views import view

    seen = view(run)
    width = _width()
    return render(
        ordered(seen.rows, sort, seen.objective),
        form,
        seen.heading,
        top=top,
        names=columns,
        width=width,
        colour=width is not None and not os.environ.get("NO_COLOR"),
    )


def _width() -> int | None:
    """The terminal's; None where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@app.command()
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, path or URI.")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's name, such as t003.")],
    storage: Storage = "runs",
) -> int:
    """Print what became of a trial: the journal's lines about it, then its process's log."""
    from tuner.logs import trial_lines
    from tuner.runs import find_run

    for line in trial_lines(find_run(storage, run), trial):
        print(line)
    return DONE
