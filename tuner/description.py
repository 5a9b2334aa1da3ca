"""A portrait of data in words and tables, for a terminal. Counts nothing itself.

Texts come from anywhere: what is not printable in them is written as its escape, and what is long
is shortened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from tuner.portrait import Portrait, SplitPortrait

_MOST_LABELS = 30
_MOST_CHARACTERS = 400
_MOST_TOKENS = 60


def describe(portrait: Portrait) -> list[str]:
    """The portrait's lines."""
    parts = [
        _head(portrait),
        _labels(portrait),
        _lengths(portrait),
        _duplicates(portrait),
        *_examples(portrait),
        _tokens(portrait),
        [f"note: {printable(note)}" for note in portrait.notes],
    ]
    lines: list[str] = []
    for part in parts:
        if part:
            lines += ["", *part] if lines else part
    return lines


def printable(text: str) -> str:
    """`text` with what cannot be printed in one line, control characters first, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _shortened(text: str) -> str:
    shown = printable(text[:_MOST_CHARACTERS])
    more = len(text) - _MOST_CHARACTERS
    return f"{shown}… ({more:,} more characters)" if more > 0 else shown


def _head(portrait: Portrait) -> list[str]:
    where = (
        f"{portrait.selection_rows:,} held-out training rows"
        if portrait.selected_on == "holdout"
        else f"the {portrait.selection_rows:,} validation rows"
    )
    return [
        f"{printable(portrait.task)}: {printable(portrait.title)}",
        f"a search trains on {portrait.search_rows:,} training rows and selects on {where}",
        f"tokens are those of {printable(portrait.model)}, cut at {portrait.max_length}",
    ]


def _labels(portrait: Portrait) -> list[str]:
    splits = portrait.splits
    rows: list[list[str]] = [["labels", *(split.name for split in splits)]]
    rows.append(["rows", *(f"{split.rows:,}" for split in splits)])
    names = list(splits[0].labels)
    for name in names[:_MOST_LABELS]:
        rows.append([printable(name), *(_share(split, split.labels[name]) for split in splits)])
    if len(names) > _MOST_LABELS:
        rest = names[_MOST_LABELS:]
        counts = (sum(split.labels[name] for name in rest) for split in splits)
        shares = (_share(split, count) for split, count in zip(splits, counts, strict=True))
        rows.append([f"{len(rest)} other labels", *shares])
    for name in splits[0].quantiles:
        rows.append([name, *(_number(split.quantiles.get(name)) for split in splits)])
    if splits[0].quantiles:
        rows.append(["mean", *(_number(split.mean) for split in splits)])
    if any(split.unlabelled for split in splits):
        rows.append(["without a label", *(_share(split, split.unlabelled) for split in splits)])
    return _grid(rows)


def _lengths(portrait: Portrait) -> list[str]:
    names = list(portrait.splits[0].tokens)
    rows = [["lengths", *names, "cut"]]
    for split in portrait.splits:
        if split.rows:
            tokens = [f"{split.tokens[name]:,}" for name in names]
            characters = [f"{split.characters[name]:,}" for name in names]
            rows.append([f"{split.name}, tokens", *tokens, _share(split, split.cut)])
            rows.append([f"{split.name}, characters", *characters, ""])
    return _grid(rows)


def _duplicates(portrait: Portrait) -> list[str]:
    rows = [["the same texts", "rows", "with another label"]]
    for split in portrait.splits:
        counts = [f"{split.repeated:,}", f"{split.contradictory:,}"]
        rows.append([f"twice in {split.name}", *counts])
    for overlap in portrait.overlaps:
        counts = [f"{overlap.rows:,}", f"{overlap.contradictory:,}"]
        rows.append([f"{overlap.split} in {overlap.earlier}", *counts])
    return _grid(rows)


def _examples(portrait: Portrait) -> Iterable[list[str]]:
    for example in portrait.examples:
        label = example.label
        shown = label if isinstance(label, str) else _number(label)
        yield [
            f"{example.split} row {example.row:,}: {printable(shown)}",
            *(f"  {printable(name)}: {_shortened(text)}" for name, text in example.texts.items()),
        ]


def _tokens(portrait: Portrait) -> list[str]:
    made = portrait.tokens
    if made is None:
        return []
    cut = f", of {made.whole:,}" if made.whole > len(made.ids) else ""
    more = len(made.ids) - _MOST_TOKENS
    rest = f" … ({more:,} more)" if more > 0 else ""
    tokens = " ".join(printable(token) for token in made.tokens[:_MOST_TOKENS])
    ids = " ".join(str(number) for number in made.ids[:_MOST_TOKENS])
    return [
        f"train row {made.row:,} as the model reads it: {len(made.ids):,} tokens{cut}",
        f"  tokens: {tokens}{rest}",
        f"  ids: {ids}{rest}",
    ]


def _share(split: SplitPortrait, count: int) -> str:
    return f"{count:,} ({100 * count / split.rows:.1f} %)" if count else "0"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """The cells in columns, the first one to the left and the others to the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [set_cell_size(first, widths[0])]
        for text, width in zip(others, widths[1:], strict=True):
            cells.append(" " * (width - cell_len(text)) + text)
        lines.append("  ".join(cells).rstrip())
    return lines
