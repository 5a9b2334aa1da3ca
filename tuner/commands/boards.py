"""The commands that read a run: leaderboard, logs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.commands import DONE, Storage, Which, app
from tuner.settings import read_run_file

if TYPE_CHECKING:
    from tuner.runs import Run

COPIES = "runs"
"""The folder for copies of runs that lie elsewhere, and for runs where nothing else is said."""


@app.command()
def leaderboard(
    run: Which = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json|md", help="How to print it.")
    ] = "table",
    top: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N rows.")
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch", help=f"Copy a run that lies in a store to {COPIES}/NAME here, too."
        ),
    ] = False,
    storage: Storage = "runs",
) -> int:
    """Print a run's leaderboard: finished trials, best first, then stopped, then failed ones."""
    from tuner.runs import find_run

    found = find_run(storage, run)
    print(board(found, form, top), end="")
    if fetch:
        from tuner.mirror import copy_to

        copy = copy_to(found, Path(COPIES))
        done = "lies here already, in" if copy == found else "copied to"
        print(f"{done} {copy.folder}", file=sys.stderr)
    return DONE


def board(run: Run, form: str, top: int | None) -> str:
    """The leaderboard in one of its forms, with its heading where the form has one."""
    from tuner.comparisons import comparisons_of
    from tuner.headings import heading
    from tuner.journal import read_history
    from tuner.leaderboard import rows
    from tuner.leases import is_held
    from tuner.rendering import render
    from tuner.tasks import direction, find_task

    file, history = read_run_file(run), read_history(run.journal_file)
    task = str((file.facts.get("task") or {}).get("name") or file.settings.task)
    objective = file.settings.objective or find_task(task).objective
    better = direction(objective)
    about = heading(
        run.name,
        task,
        objective,
        better,
        file.facts,
        history,
        live=is_held(run),
        resume=shlex.quote(run.where),
    )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    colour = width is not None and not os.environ.get("NO_COLOR")
    listed = rows(history, better, comparisons_of(run, history, objective, better))
    return render(listed, form, about, top=top, width=width, colour=colour)


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
