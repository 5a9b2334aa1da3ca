"""A table of texts: in columns of plain text, as Markdown, as a page of HTML, cut to a width.

Knows nothing of what stands in it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """A column's name, and whether it holds numbers, which stand to the right.

    A narrow terminal does first without the columns of the highest `spare`, never without 0.
    """

    name: str
    numeric: bool = False
    spare: int = 0


@dataclass(frozen=True)
class Sheet:
    """`rows` hold a text for each of `heads`."""

    heads: Sequence[Head]
    rows: Sequence[Sequence[str]]


def plain(sheet: Sheet) -> str:
    """In columns of plain text, however wide, under a line of names and one of dashes."""
    padded = []
    for place, head in enumerate(sheet.heads):
        texts = [row[place] for row in sheet.rows]
        width = max(map(len, [head.name, *texts]))
        pad = str.rjust if head.numeric else str.ljust
        padded.append([pad(text, width) for text in (head.name, "-" * width, *texts)])
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def markdown(sheet: Sheet) -> str:
    """As a Markdown table."""
    rule = ["---:" if head.numeric else ":---" for head in sheet.heads]
    names = [escaped(head.name) for head in sheet.heads]
    lines = [names, rule, *([escaped(text) for text in row] for row in sheet.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """`text` for Markdown, without a meaning of its own."""
    for letter in "\\|*<>`[]":
        text = text.replace(letter, "\\" + letter)
    return text


def fitted(sheet: Sheet, width: int | None) -> tuple[Sheet, list[str]]:
    """The sheet without the columns that have no room in `width` characters (None: all have), and
    the names of these."""
    if width is None:
        return sheet, []
    needs = {
        place: 2 + max([len(head.name), *(len(row[place]) for row in sheet.rows)])
        for place, head in enumerate(sheet.heads)
    }
    spared = [place for place in reversed(needs) if sheet.heads[place].spare]
    spared.sort(key=lambda place: -sheet.heads[place].spare)
    left_out = []
    for place in spared:
        if sum(needs.values()) - 2 <= width:
            break
        left_out.append(sheet.heads[place].name)
        del needs[place]
    rows = [[row[place] for place in needs] for row in sheet.rows]
    return Sheet([sheet.heads[place] for place in needs], rows), left_out


def text(lines: Sequence[str], sheet: Sheet, foot: Sequence[str], width: int | None = None) -> str:
    """`lines`, the sheet for a terminal of `width` characters (None: as wide as it is), `foot`."""
    shown, left_out = fitted(sheet, width)
    missing = [f"left out here: {', '.join(left_out)}"] if left_out else []
    return "\n".join([*lines, "", plain(shown), *missing, *foot]) + "\n"


_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { margin: 1.5rem; }
h1 { font-size: 1.3rem; }
p { margin: .3rem 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #8886; }
thead th { border-bottom: 2px solid #888; }
.number { text-align: right; }
tbody th { font-weight: inherit; }
""".strip()


def page(title: str, parts: Sequence[str | Sheet], label: str = "trial") -> str:
    """A whole page of HTML that needs no other file and runs nothing: texts as paragraphs, sheets
    as tables, in which the column called `label` names the rows."""
    shown = [
        _table(part, label, _part_title(title, parts, place))
        if isinstance(part, Sheet)
        else f"<p>{html.escape(part)}</p>"
        for place, part in enumerate(parts)
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>\n{_STYLE}\n</style>\n</head>",
            f"<body>\n<main>\n<h1>{html.escape(title)}</h1>",
            *shown,
            "</main>\n</body>\n</html>\n",
        ]
    )


def _part_title(title: str, parts: Sequence[str | Sheet], place: int) -> str:
    """What a table is called for those who do not see it: by its number, where there are more."""
    sheets = [number for number, part in enumerate(parts) if isinstance(part, Sheet)]
    return title if len(sheets) == 1 else f"{title}, table {sheets.index(place) + 1}"


def _table(sheet: Sheet, label: str, name: str) -> str:
    kinds = [' class="number"' if head.numeric else "" for head in sheet.heads]
    heads = "".join(
        f'<th scope="col"{kind}>{html.escape(head.name)}</th>'
        for kind, head in zip(kinds, sheet.heads, strict=True)
    )
    labels = [head.name == label for head in sheet.heads]
    if not any(labels):
        labels = [place == 0 for place in range(len(labels))]
    opened = [
        f'<th scope="row"{kind}>' if names else f"<td{kind}>"
        for kind, names in zip(kinds, labels, strict=True)
    ]
    closed = ["</th>" if names else "</td>" for names in labels]
    body = "\n".join(
        "<tr>"
        + "".join(
            before + html.escape(text) + after
            for before, text, after in zip(opened, row, closed, strict=True)
        )
        + "</tr>"
        for row in sheet.rows
    )
    shown = html.escape(name)
    return (
        # What can be scrolled must be reached without a mouse, too.
        f'<div class="wide" role="region" aria-label="{shown}" tabindex="0">\n'
        f'<table aria-label="{shown}">\n<thead>\n<tr>{heads}</tr>\n</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )
