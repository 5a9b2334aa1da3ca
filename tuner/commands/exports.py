"""The command that takes an exported model further: export."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.addresses import Data, parse_data
from tuner.commands import DONE, Storage, app
from tuner.commands.models import Model, exported, newest, split_rows
from tuner.stores import join


@app.command()
def export(
    which: Model = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write it as ONNX, too, checked against PyTorch.")
    ] = False,
    repository: Annotated[
        str | None, typer.Option("--push", metavar="USER/NAME", help="Push it to the Hub.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Let only those it is shared with see it there.")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE|SPLIT=FILE", help="Data for the check of --onnx (default: the run's)."
        ),
    ] = None,
    storage: Storage = "runs",
) -> int:
    """Print where the exported model lies; write it as ONNX, push it to the Hub."""
    if onnx:
        from tuner.portable import check_extra

        check_extra()
    which = which or newest(storage)
    folder, files = exported(which, storage)
    to = None
    if repository is not None:
        from tuner.upload import destination

        to = destination(repository)  # before minutes of work
    if onnx:
        _write_onnx(folder, parse_data(data) if data else files)
        _send_onnx(which, storage, folder)
    if to is not None:
        from tuner.portable import FOLDER
        from tuner.swaps import restore
        from tuner.upload import contents, push

        restore(folder / FOLDER)

        sizes = [path.stat().st_size for path in contents(folder)]
        size = _megabytes(sum(sizes))
        _say(f"pushing {len(sizes)} files, {size}, to {to.repository} as {to.user}")
        print(f"pushed     {push(folder, to, private)}")
    print(f"model      {folder}")
    return DONE


def _write_onnx(folder: Path, data: Data) -> None:
    from tuner.portable import TOLERANCE, write_onnx
    from tuner.predict import task_of

    task = task_of(folder)
    rows = split_rows(task, "validation", data)
    file, found = write_onnx(folder, task, rows, _say)
    print(f"onnx       {file} ({_megabytes(file.stat().st_size)})")
    print(
        f"checked    max abs difference of the logits {found.difference:.2g} on {found.rows} rows "
        f"of {found.shortest} to {found.longest} tokens ({TOLERANCE:g} is tolerated)"
    )


def _send_onnx(which: str, storage: str, folder: Path) -> None:
    """Of a run in a store the folder is a copy: what is new in it goes up."""
    from tuner.portable import FOLDER
    from tuner.runs import find_run

    if os.path.isfile(Path(os.path.expanduser(which)) / "config.json"):
        return
    run = find_run(storage, which)
    if run.store is not None:
        place = join(run.best_folder.name, FOLDER)
        run.store.remove(place)
        run.store.send(folder / FOLDER, place)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
