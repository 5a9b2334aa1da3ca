"""The command that shows what would be trained on: data."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from tuner.commands import DONE, app
from tuner.options import data_command
from tuner.settings import Settings


@app.command()
@data_command
def data(
    settings: Settings,
    examples: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many random training rows to show.")
    ] = 3,
    form: Annotated[
        Literal["table", "json"],
        typer.Option("--format", metavar="table|json", help="How to print it."),
    ] = "table",
) -> int:
    """Show what would be trained on: splits, labels, lengths, duplicates, examples, tokens."""
    from tuner import portrait, progress
    from tuner.description import describe
    from tuner.documents import finite

    with progress.watcher(sys.stderr) as watching:
        found = portrait.look(settings, watching, examples)
    if form == "json":
        print(json.dumps(finite(asdict(found)), indent=2, ensure_ascii=False))
    else:
        print("\n".join(describe(found)))
    return DONE
