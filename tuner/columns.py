"""Which columns of one's own data are the texts and which the labels, where nobody said.

Goes by what data sets usually call them, then by what the columns hold; where several would do it
asks instead of guessing. Knows nothing of splits or classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tuner.errors import UserError, suggestion
from tuner.frames import Frame
from tuner.sources import INDEX, INDEX_COLUMNS, LABEL

LABELS = (
    ("label", "labels", "gold_label", "target", "class"),
    ("sentiment", "score", "scores", "stars", "star_rating", "rating", "category", "emotion"),
    ("intent", "topic", "polarity", "toxic", "spam", "is_duplicate", "quality", "y", "output"),
)
"""What label columns are called; the first row of which the data have one decides."""

PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("query", "passage"),
    ("query", "document"),
)

TEXTS = (
    *("text", "sentence", "review", "review_body", "content", "document", "body", "comment"),
    *("comment_text", "tweet", "message", "utterance", "question", "query", "input", "abstract"),
)
"""What text columns are called, in the order in which they are looked for."""

_LOOKED_AT = 1000
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


@dataclass(frozen=True)
class Columns:
    """The text columns and the label column; `notes` say which of them were found."""

    text: tuple[str, ...]
    label: str
    notes: tuple[str, ...]


def find_columns(frame: Frame, text: Sequence[str], label: str | None) -> Columns:
    """The columns of a frame's texts and labels: those given, and for the rest what it suggests.

    Raises UserError, with the columns that there are, where one is missing or several would do.
    """
    for option, name in (*(("text", name) for name in text), ("label", label)):
        if name is not None and name not in frame.columns:
            raise UserError(
                f"--{option} {name}: {frame.place} has no such column, but "
                f"{', '.join(frame.columns)}{suggestion(name, frame.columns)}"
            )
    if label is not None and label in text:
        raise UserError(f"--label {label}: is a column of texts, too; name another for one of them")
    notes = []
    found = label or _label(frame, text)
    chosen = tuple(text) or _texts(frame, found)
    check_names(chosen)
    if not text:
        what = "texts are in the column" if len(chosen) == 1 else "pairs are in the columns"
        notes.append(f"{what} {' and '.join(chosen)}; --text says otherwise")
    if label is None:
        notes.append(f"labels are in the column {found}; --label says otherwise")
    return Columns(chosen, found, tuple(notes))


def check_names(text: Sequence[str]) -> None:
    """Whether columns of texts are called so that they can stand beside the rows' labels and
    numbers. Raises UserError."""
    for name in text:
        if name in (LABEL, INDEX):
            raise UserError(
                f"--text {name}: a column of texts must not be called {LABEL} or {INDEX}, as the "
                "rows' labels and numbers are; rename the column"
            )


def _label(frame: Frame, text: Sequence[str]) -> str:
    free = [name for name in frame.columns if name not in text]
    for names in LABELS:
        found = [name for name in free if name.lower() in names]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{frame.place}: {' and '.join(found)} may each be the labels; "
                f"name one: --label {found[0]}"
            )
    left = [name for name in free if name.lower() not in INDEX_COLUMNS]
    if not text:
        known = [name for name in left if name.lower() in {*TEXTS, *sum(PAIRS, ())}]
        left = [name for name in left if name not in known] if known else left
    if len(left) == 1 and len(free) < len(frame.columns) + (not text) and len(frame.columns) > 1:
        return left[0]
    raise UserError(
        f"{frame.place}: no column is called as labels are; name it with --label: "
        f"{', '.join(free) or 'there is none'}"
    )


def _texts(frame: Frame, label: str) -> tuple[str, ...]:
    lower = {name.lower(): name for name in frame.columns if name != label}
    for pair in PAIRS:
        if all(name in lower for name in pair):
            return tuple(lower[name] for name in pair)
    for name in TEXTS:
        if name in lower and _is_text(frame, lower[name]):
            return (lower[name],)
    found = [name for name in frame.columns if name != label and _is_text(frame, name)]
    if len(found) == 1:
        return (found[0],)
    if found:
        raise UserError(
            f"{frame.place}: {', '.join(found)} may each be the texts; name one with --text, "
            "or two for pairs"
        )
    others = ", ".join(name for name in frame.columns if name != label) or "nothing"
    raise UserError(
        f"{frame.place}: has no column of texts ({others} beside the labels in {label}), and only "
        "texts can be classified; name one with --text if it is there"
    )


def _is_text(frame: Frame, name: str) -> bool:
    """Whether a column holds text rather than numbers, judged by its first rows."""
    if not pa.types.is_string(frame.rows.schema.field(name).type) or name in frame.mixed:
        return False
    values = [value for value in frame.rows[name].slice(0, _LOOKED_AT).to_pylist() if value]
    numbers = sum(_NUMBER.fullmatch(value) is not None for value in values)
    return bool(values) and numbers < len(values) / 2
