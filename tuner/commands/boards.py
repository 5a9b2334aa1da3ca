"""The commands that read a run: leaderboard, show, logs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.collection import collection_paused
from tuner.commands import DONE, Storage, app
from tuner.errors import UserError

if TYPE_CHECKING:
    from tuner.runs import Run

COPIES = "runs"
"""The folder for copies of runs that lie elsewhere, and for runs where nothing else is said."""

FORMS = "table|csv|json|md|html"


@app.command()
def leaderboard(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="A run's name, path or URI (default: the newest); two or more are compared.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The best of every run in the storage, a line a run.")
    ] = False,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --all: only runs of this task.")
    ] = None,
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
    """Print a run's leaderboard: finished trials, best first, then stopped, then failed ones.

    Of two runs or more: what differs in their settings, what came out of each and at what cost, and
    all their trials in one order. With --all: every run in a line, by task, the best first.
    """
    from tuner.rendering import check_form
    from tuner.runs import find_run

    check_form(form)
    named = runs or []
    if task is not None and not every:
        raise UserError(f"--task {task}: goes with --all; a run has one task")
    if every:
        if named or fetch:
            what = "--fetch" if fetch else named[0]
            raise UserError(f"--all takes no {what}: it lists every run in --storage {storage}")
        print(_overview(storage, task, form, top, sort, columns), end="")
        return DONE
    found = [find_run(storage, name) for name in named] or [find_run(storage)]
    if len(found) == 1:
        print(board(found[0], form, top, sort, columns), end="")
    else:
        print(_compared(found, form, top, sort, columns), end="")
    for run in found if fetch else []:
        from tuner.mirror import copy_to

        copy = copy_to(run, Path(COPIES))
        done = "lies here already, in" if copy == run else "copied to"
        print(f"{done} {copy.folder}", file=sys.stderr)
    return DONE


@collection_paused()
def _overview(
    storage: str,
    task: str | None,
    form: str,
    top: int | None,
    sort: str | None,
    columns: str | None,
) -> str:
    from tuner import overview
    from tuner.entries import entries

    found = overview.ordered(entries(storage, task), sort)
    return overview.render(found, form, storage, top=top, names=columns, width=_width())


@collection_paused()
def _compared(
    found: list[Run], form: str, top: int | None, sort: str | None, columns: str | None
) -> str:
    from tuner import sidebyside
    from tuner.comparing import compare
    from tuner.views import view

    both = compare([view(run) for run in found])
    return sidebyside.render(both, form, top=top, sort=sort, names=columns, width=_width())


@collection_paused()
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


Trial = Annotated[
    list[str],
    typer.Argument(
        metavar="[RUN] TRIAL",
        help="A run's name, path or URI (default: the newest), and a trial's name, such as t003.",
    ),
]


@app.command()
def show(
    trial: Trial,
    form: Annotated[
        str, typer.Option("--format", metavar="table|json", help="How to print it.")
    ] = "table",
    storage: Storage = "runs",
) -> int:
    """Print all about one trial: its configuration, its scores and learning curve, where its time
    went, how it ended, and the command that runs the same configuration again."""
    from tuner import dossier
    from tuner.curves import ASCII, DRAWN

    if form not in ("table", "json"):
        raise UserError(f"--format {form}: is neither table nor json")
    run, name = _run_and_trial(trial, storage, "show")
    found = dossier.dossier(run, name)
    if form == "json":
        print(json.dumps(dossier.as_json(found), indent=2, ensure_ascii=False))
        return DONE
    width = _width()
    utf = "utf" in (sys.stdout.encoding or "").lower()
    marks = DRAWN if width is not None and utf else ASCII
    print("\n".join(dossier.lines(found, width or dossier.WIDTH, marks)))
    return DONE


@app.command()
def logs(trial: Trial, storage: Storage = "runs") -> int:
    """Print what became of a trial: the journal's lines about it, then its process's log."""
    from tuner.logs import trial_lines

    for line in trial_lines(*_run_and_trial(trial, storage, "logs")):
        print(line)
    return DONE


def _run_and_trial(words: list[str], storage: str, command: str) -> tuple[Run, str]:
    from tuner.runs import find_run

    if len(words) > 2:
        raise UserError(f"{' '.join(words)[:60]}: name one trial: tuner {command} [RUN] TRIAL")
    if len(words) == 1 and not re.fullmatch(r"t\d+", words[0]) and _is_run(storage, words[0]):
        raise UserError(f"{words[0]} is a run: add one of its trials: tuner {command} [RUN] TRIAL")
    run = find_run(storage, words[0] if len(words) == 2 else None)
    return run, words[-1]


def _is_run(storage: str, name: str) -> bool:
    from tuner.runs import find_run

    try:
        find_run(storage, name)
    except UserError:
        return False
    return True
