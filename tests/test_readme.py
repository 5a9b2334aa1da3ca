"""The README lists every command and every option that the command line has, and none that it has
not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from tuner.cli import app

README = Path(__file__).parents[1] / "README.md"
OPTIONS = README.read_text(encoding="utf-8").partition("\n## Options\n")[2].partition("\n## ")[0]
ROWS = [line.split(" | ") for line in OPTIONS.splitlines() if line.startswith("| ")]
ABOVE = "".join(row[1] for row in ROWS if len(row) == 2)
"""What stands in the table of the options of `tuner tune`."""
COMMANDS = {
    found.group(1): row[2]
    for row in ROWS
    if len(row) == 3 and (found := re.match(r"\| `tuner ([a-z]+)", row[0]))
}


def named(cell: str) -> set[str]:
    return set(re.findall(r"`(--[a-z-]+)", cell))


def listed(cell: str) -> set[str]:
    """The options of a row; one may go by the options above."""
    more, _, without = cell.partition(" without ")
    above = named(ABOVE) if "all above" in cell else set()
    return (above | named(more)) - named(without)


def parsers() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def test_every_command_has_a_row() -> None:
    assert sorted(COMMANDS) == sorted(parsers().commands)


@pytest.mark.parametrize("command", sorted(parsers().commands))
def test_a_command_s_row_has_all_of_its_options_and_no_other(command: str) -> None:
    found = listed(COMMANDS[command])
    names = [
        {name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")}
        for parameter in parsers().commands[command].params
    ]
    assert [options for options in names if options and not options & found] == []
    assert found - set().union(*names) == set()
