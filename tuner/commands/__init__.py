"""The commands, a module for each kind: parse, call one function each, print.

Commands that only read import nothing heavy.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.settings import STORAGE

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DONE, FAILED, USAGE = 0, 1, 2
"""Exit codes: done; anything else; the user's input is at fault."""

Which = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="A run's name, path or URI (default: the newest)."),
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="DIR|URI", envvar=STORAGE, help="The folder or the store that holds the runs."
    ),
]
