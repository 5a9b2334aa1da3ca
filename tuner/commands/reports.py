"""The command that writes pages: report, of a run or of all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.commands import DONE, Storage, Which, app
from tuner.commands.boards import COPIES
from tuner.errors import UserError


@app.command()
def report(
    run: Which = None,
    every: Annotated[
        bool, typer.Option("--all", help="An overview of the runs in --storage instead.")
    ] = False,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --all, only the runs of this task.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser, too.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Where to write it (default: in the run's folder or in --storage; below {COPIES} "
            "here for what lies in a store).",
        ),
    ] = None,
    storage: Storage = "runs",
) -> int:
    """Write a run's page, report.html, as the run stands now, and print where it lies."""
    if every and run is not None:
        raise UserError(f"pass one of --all and {run}: which runs the page is of")
    if task is not None and not every:
        raise UserError(f"--task {task} goes with --all; leave it out, or add --all")
    if output is not None:
        from tuner.answers import check_output

        check_output(output, (".html",))
    file = _overview(storage, task, output) if every else _page(storage, run, output)
    print(file)
    if show:
        _open(file)
    return DONE


def _page(storage: str, which: str | None, output: Path | None) -> Path:
    from tuner.page.keeper import PAGE, write_page
    from tuner.runs import find_run

    found = find_run(storage, which)
    if output is None and found.uri is not None:
        output = Path(COPIES, found.name, PAGE)
    return write_page(found, output)


def _overview(storage: str, task: str | None, output: Path | None) -> Path:
    from tuner.entries import entries
    from tuner.page.keeper import PAGE
    from tuner.page.overview import write_overview
    from tuner.stores import is_uri

    file = output or Path(COPIES if is_uri(storage) else storage, PAGE)
    write_overview(file, f"Runs in {storage}", entries(storage, task))
    return file


def _open(file: Path) -> None:
    import webbrowser

    if not webbrowser.open(file.absolute().as_uri()):
        print(f"tuner: no browser was found; open {file} by hand", file=sys.stderr)
