"""An evaluation for people: plain text that fits a terminal, whatever stands in the rows.

Words and columns only; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.cells import one_line
from tuner.evaluation import Evaluation, Mistake
from tuner.tasks import LEVEL

WIDTH = 100

_LABEL = 20
_LARGEST = 12
"""A matrix of more classes than this would not fit; its largest cells are listed."""


def scorecard(found: Evaluation, width: int = WIDTH) -> list[str]:
    """The evaluation in lines of text, texts of rows cut to `width` characters."""
    lines = [f"{found.task.name}, {found.rows:,} row{'s' * (found.rows != 1)} of {found.split}"]
    lines += [f"note: {note}" for note in found.notes]
    lines += ["", *_scores(found), ""]
    if found.confusion is not None:
        lines += [*_confusion(found), ""]
    return [*lines, *_worst(found, width)]


def _scores(found: Evaluation) -> list[str]:
    answer = found.constant
    constant = f"{answer:.4f} (the mean)" if isinstance(answer, float) else _label(answer)
    rows = [
        (
            score.metric,
            f"{score.value:.4f}",
            f"{score.interval.low:.4f} to {score.interval.high:.4f}",
            f"{score.baseline:.4f}",
        )
        for score in found.scores
    ]
    return _columns(["metric", "value", f"{LEVEL:.0%} interval", f"always {constant}"], rows)


def _confusion(found: Evaluation) -> list[str]:
    assert found.confusion is not None
    names = [_label(name) for name in found.task.label_names]
    cells = found.confusion
    if len(names) <= _LARGEST:
        rows = [
            (name, *map(str, row), "" if not row.sum() else f"{row[place] / row.sum():.4f}")
            for place, (name, row) in enumerate(zip(names, cells, strict=True))
        ]
        return [
            "rows by true class (down) and predicted class:",
            *_columns(["", *names, "right"], rows),
        ]
    wrong = np.where(np.eye(len(names), dtype=bool), 0, cells)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:_LARGEST]
    pairs = [divmod(int(cell), len(names)) for cell in largest]
    rows = [(names[a], names[b], str(wrong[a, b])) for a, b in pairs if wrong[a, b]]
    return [
        "classes most often confused (all of them with --format json):",
        *_columns(["true", "predicted", "rows"], rows),
    ]


def _worst(found: Evaluation, width: int) -> list[str]:
    if not found.worst:
        return ["no row is wrong"] if found.confusion is not None and _all_right(found) else []
    many = len(found.worst)
    kind = "largest error" if found.task.regression else "most confidently wrong row"
    lines = [f"the {kind}:" if many == 1 else f"the {many} {kind}s:"]
    for mistake in found.worst:
        lines.append(f"  {_verdict(mistake)}")
        for column, text in zip(found.task.text_columns, mistake.texts, strict=True):
            lines.append("    " + one_line(f"{column}: {text}", width - 4))
    return lines


def _all_right(found: Evaluation) -> bool:
    return found.confusion is not None and int(found.confusion.trace()) == found.rows


def _verdict(mistake: Mistake) -> str:
    row = f"row {mistake.row}"
    if str(mistake.name) != str(mistake.row):
        row += f" (index {one_line(str(mistake.name), _LABEL)})"
    if isinstance(mistake.true, float) or isinstance(mistake.predicted, float):
        return f"{row}: {mistake.true:g}, predicted {float(mistake.predicted):.4g}"
    return (
        f"{row}: {_label(mistake.true)}, "
        f"predicted {_label(mistake.predicted)} with {mistake.certainty:.4f}"
    )


def _label(name: str) -> str:
    return one_line(name, _LABEL)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text, the first to the left and the others to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    )
    return ["  ".join(line).rstrip() for line in padded]
