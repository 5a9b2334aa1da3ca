"""A curve drawn with characters, for a terminal or a file.

Knows points and a width; nothing of what they measure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 8
"""Lines of a drawing, its axis left out."""


@dataclass(frozen=True)
class Marks:
    """The characters of a drawing."""

    point: str
    line: str
    side: str
    corner: str
    floor: str


ASCII = Marks("o", ".", "|", "+", "-")
DRAWN = Marks("●", "·", "│", "└", "─")


def draw(
    points: Sequence[tuple[float, float]],
    width: int,
    *,
    ends: tuple[float, float] = (0.0, 1.0),
    names: tuple[str, str] = ("0 %", "100 %"),
    marks: Marks = ASCII,
    height: int = HEIGHT,
) -> list[str]:
    """The points (x, y), joined by lines, in a drawing of `width` characters and `height` lines and
    an axis. `ends` are the least and the greatest x, which the axis calls `names`. The numbers at
    the side are the greatest and the least y. No line without a point.
    """
    if not points:
        return []
    points = sorted(points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    labels = [f"{high:.4f}", f"{low:.4f}"]
    margin = max(map(len, labels)) + 1
    across = max(2, width - margin - 1)
    height = height if high > low else 1

    def column(x: float) -> int:
        share = (x - ends[0]) / (ends[1] - ends[0])
        return round(min(1.0, max(0.0, share)) * (across - 1))

    def line(y: float) -> int:
        return round((high - y) / (high - low) * (height - 1)) if high > low else 0

    cells = [[" "] * across for _ in range(height)]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        first, last = column(x0), column(x1)
        for place in range(first, last + 1):
            share = (place - first) / max(1, last - first)
            cells[line(y0 + share * (y1 - y0))][place] = marks.line
    for x, y in points:
        cells[line(y)][column(x)] = marks.point
    sides = [labels[0], *[""] * (height - 2), labels[1]] if height > 1 else labels[:1]
    drawn = [
        f"{side:>{margin - 1}} {marks.side}{''.join(row)}".rstrip()
        for side, row in zip(sides, cells, strict=True)
    ]
    gap = across - len(names[0]) - len(names[1])
    drawn.append(" " * margin + marks.corner + marks.floor * across)
    drawn.append(" " * (margin + 1) + names[0] + " " * max(1, gap) + names[1])
    return drawn


def bar(share: float, width: int, marks: Marks = ASCII) -> str:
    """A bar of `share` (0 to 1) of `width` characters."""
    return ("█" if marks is DRAWN else "#") * round(min(1.0, max(0.0, share)) * width)
