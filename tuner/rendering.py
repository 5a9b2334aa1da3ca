"""The leaderboard for people and for other programs: a table, Markdown, HTML, CSV or JSON, as text.

Knows how rows look; nothing of how they came about, and prints nothing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from tuner.cells import Column, chosen, sheet
from tuner.errors import UserError, suggestion
from tuner.formats import csv_text, json_text
from tuner.headings import Heading, heading_lines
from tuner.leaderboard import Row
from tuner.ordering import Pick, picked_csv, picked_json, picks
from tuner.sheets import escaped, markdown, page, plain

if TYPE_CHECKING:
    from rich.table import Table

Format = Literal["table", "csv", "json", "md", "html"]
FORMATS: tuple[str, ...] = get_args(Format)

# rich measures every cell, which takes a second at some thousands of rows.
_LONGEST_TABLE = 200
_ERROR_LEAST = 24


def table(
    rows: Sequence[Row],
    about: Heading,
    top: int | None = None,
    width: int | None = None,
    wanted: Sequence[Pick] = (),
) -> Table:
    """The rows (the first `top`) as a table for a terminal of `width` characters.

    Where it is too narrow, the columns that tell least are left out, and the caption names them.
    """
    from rich.table import Table
    from rich.text import Text

    shown = rows if top is None else rows[:top]
    listed, left_out = _fitting(chosen(shown, about, wanted), shown, width)
    names = ", ".join(column.name for column in left_out)
    caption = f"left out here: {names}" if names else None
    grid = Table(box=None, pad_edge=False, padding=(0, 1), caption=caption, caption_justify="left")
    for column in listed:
        long = column.name == "error"
        grid.add_column(
            Text(column.name),
            justify="right" if column.numeric else "left",
            no_wrap=not long,
            overflow="fold" if long else "ellipsis",
        )
    for row in shown:
        style = _STYLES.get(row.status, "") if row.rank != 1 else "bold green"
        grid.add_row(*(Text(column.text(row)) for column in listed), style=style)
    return grid


def _fitting(
    listed: list[Column], rows: Sequence[Row], width: int | None
) -> tuple[list[Column], list[Column]]:
    """The columns that fit into `width`, and those that do not."""
    if width is None:
        return listed, []
    needs = {
        column.name: 2 + max(map(len, [column.name, *map(column.text, rows)])) for column in listed
    }
    if "error" in needs:
        needs["error"] = min(needs["error"], 2 + _ERROR_LEAST)
    spared = [column for column in reversed(listed) if column.spare]
    spared.sort(key=lambda column: -column.spare)
    left_out: list[Column] = []
    for column in spared:
        if sum(needs.values()) - 2 <= width:
            break
        left_out.append(column)
        del needs[column.name]
    return [column for column in listed if column.name in needs], left_out


_STYLES = {"stopped": "dim", "failed": "red", "running": "cyan"}


def render(
    rows: Sequence[Row],
    form: str = "table",
    about: Heading | None = None,
    *,
    top: int | None = None,
    names: str | None = None,
    width: int | None = None,
    colour: bool = False,
) -> str:
    """The leaderboard as text that ends with a newline.

    `form` is one of `FORMATS`; `top` keeps the first so many rows, `names` (`trial,accuracy,lr`)
    those columns. `width` is the terminal's, None where there is none: the table is then plain text
    that is never cut. CSV and JSON hold no heading and, without `names`, the rows in full. Raises
    UserError for another form, a `top` below 1 or a column that there is not.
    """
    check_form(form)
    if top is not None and top < 1:
        raise UserError(f"--top {top}: must be at least 1; leave it out for all rows")
    about = about or Heading()
    wanted = picks(names, rows, about.objective)
    shown = rows if top is None else rows[:top]
    if form == "json":
        return picked_json(shown, wanted) if wanted else json_text(shown)
    if form == "csv":
        return picked_csv(shown, wanted) if wanted else csv_text(shown)
    head = heading_lines(rows, about)
    left = len(rows) - len(shown)
    foot = [f"... and {left:,} more rows"] if left else []
    if form == "table" and width is not None and len(shown) <= _LONGEST_TABLE:
        return _on_terminal(head, table(shown, about, None, width, wanted), foot, width, colour)
    cells = sheet(shown, chosen(shown, about, wanted))
    if form == "html":
        return page(about.run or "leaderboard", [*head, cells, *foot])
    if form == "md":
        return "\n\n".join([*map(escaped, head), markdown(cells), *map(escaped, foot)]) + "\n"
    return "\n".join([*head, "", plain(cells), *foot]) + "\n"


def check_form(form: str) -> None:
    """Raises UserError for what is none of `FORMATS`."""
    if form not in FORMATS:
        raise UserError(
            f"--format {form}: is none of {', '.join(FORMATS)}"
            f"{suggestion(form, FORMATS) or '; choose one of them'}"
        )


def _on_terminal(head: list[str], grid: Table, foot: list[str], width: int, colour: bool) -> str:
    from rich.console import Console

    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=colour, highlight=False)
    for line in head:
        console.print(line, markup=False)
    console.print()
    console.print(grid)
    for line in foot:
        console.print(line, markup=False)
    return text.getvalue()
