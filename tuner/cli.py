"""The command line: runs a command, and turns what went wrong into one line and an exit code.

The exit code is 0 when done, 2 when the user's input is at fault (one line on stderr, no
traceback), and 1 for anything else.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from tuner.commands import DONE, FAILED, USAGE, app
from tuner.credentials import masked
from tuner.disks import MEND, refusal, refused_place
from tuner.errors import TunerError, UserError

__all__ = ["app", "main", "run_guarded"]

for kind in (
    "search",
    "data",
    "boards",
    "reports",
    "models",
    "submissions",
    "exports",
    "lists",
):  # the order of the help
    import_module(f"tuner.commands.{kind}")

INTERRUPTED = 130
"""Typer's own code for Ctrl-C; ours is FAILED, as for all that is not done."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script, on `arguments` or its own. SIGTERM, a batch system's Ctrl-C, is one."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a character cannot be shown, "?" is
    sys.exit(run_guarded(sys.argv[1:] if arguments is None else arguments))


def run_guarded(arguments: Sequence[str]) -> int:
    """Run a command line; errors become one line on stderr and an exit code."""
    try:
        code = app(list(arguments), prog_name="tuner", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _complain(f"{error.format_message()} (see tuner --help)", error.exit_code)
    except UserError as error:
        return _complain(error, USAGE)
    except TunerError as error:
        return _complain(error, FAILED)
    except typer.Abort:
        return _complain("interrupted", FAILED)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if (said := refusal(error)) is None:
            raise
        return _complain(f"{refused_place(error) or 'a file'}: {said}; {MEND}", FAILED)
    if code == INTERRUPTED:
        return _complain("interrupted", FAILED)
    return int(code or DONE)


def _complain(what: object, code: int) -> int:
    print("tuner:", " ".join(masked(str(what)).split()), file=sys.stderr)
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        from tuner import __version__

        print(f"tuner {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """From a task name to a tuned, honestly scored, exported text classifier."""
    if context.invoked_subcommand is None:
        print(context.get_help())
