"""What a task's data look like: labels, lengths, duplicates, contradictions, examples and tokens.

Counts and draws; says nothing aloud, and knows nothing of how it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tuner.duplicates import Overlap, contradicted, label_numbers, overlaps_of, text_codes
from tuner.errors import UserError
from tuner.preparation import reach_hub, resolve, texts_of
from tuner.reading import read_task
from tuner.settings import Settings
from tuner.sources import LABEL
from tuner.tasks import Task

if TYPE_CHECKING:
    from tuner.bases import Reader
    from tuner.tokens import Progress

Numbers = npt.NDArray[np.int64]

_LABEL_QUANTILES = {"least": 0, "25 %": 25, "median": 50, "75 %": 75, "most": 100}
_LENGTH_QUANTILES = {"5 %": 5, "median": 50, "95 %": 95, "99 %": 99, "longest": 100}


@dataclass(frozen=True)
class SplitPortrait:
    """One split. `labels` counts the rows of each class; `quantiles` and `mean` describe the labels
    of a regression; `unlabelled` rows have none.

    `characters` and `tokens` are quantiles of the rows' lengths, both texts of a pair together; the
    tokens are those before anything is cut, which happens to `cut` rows. Another row of the
    split has the texts of `repeated` rows, and gives those of `contradictory` ones another label.
    """

    name: str
    rows: int
    unlabelled: int
    labels: Mapping[str, int]
    quantiles: Mapping[str, float]
    mean: float | None
    characters: Mapping[str, int]
    tokens: Mapping[str, int]
    cut: int
    repeated: int
    contradictory: int


@dataclass(frozen=True)
class Example:
    """A row as it was read; `label` is its class's name or its number, None where it has none."""

    split: str
    row: int
    label: str | float | None
    texts: Mapping[str, str]


@dataclass(frozen=True)
class ExampleTokens:
    """What the model is given for an example: its tokens and their ids, and how many it had before
    it was cut."""

    row: int
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    whole: int


@dataclass(frozen=True)
class Portrait:
    """What would be trained on.

    A search trains on `search_rows` rows of the training split and, where `selected_on` is
    "holdout", selects on `selection_rows` others of it; texts are cut at `max_length` tokens of
    `model`. `notes` are what `tuner tune` would say about the data.
    """

    task: str
    title: str
    model: str
    max_length: int
    search_rows: int
    selection_rows: int
    selected_on: str
    seed: int
    splits: tuple[SplitPortrait, ...]
    overlaps: tuple[Overlap, ...]
    examples: tuple[Example, ...]
    tokens: ExampleTokens | None
    notes: tuple[str, ...]


def look(settings: Settings, progress: Progress, examples: int) -> Portrait:
    """Read and check the data that `settings` name, as `tuner tune` does, and portray them.

    Raises UserError where `tuner tune` would, for the data or the model's tokenizer.
    """
    settings, drafted = resolve(settings)
    reach_hub(settings, drafted)
    reading = read_task(drafted, settings, progress.stage)
    task, settings, splits = reading.task, reading.settings, dict(reading.splits)
    notes = list(reading.notes)
    try:
        splits["test"] = reading.read("test")
    except UserError as error:
        notes.append(f"without a test split: {error}")
    progress.stage("loading libraries")
    from tuner.bases import load_reader
    from tuner.checks import check_rows

    notes += check_rows(task, splits)
    progress.stage(f"loading the tokenizer of {settings.model}")
    reader = load_reader(str(settings.model), task, lambda: texts_of(task, splits["train"]))
    return portray(task, splits, reader, settings, progress, examples, notes)


def portray(
    task: Task,
    splits: Mapping[str, pa.Table],
    reader: Reader,
    settings: Settings,
    progress: Progress,
    examples: int,
    notes: Sequence[str] = (),
) -> Portrait:
    """Portray `splits`, `train` and `validation` among them, checked already.

    `settings` say the length, the fraction, the rows to select on and the seed. The examples are
    training rows drawn by the seed, in their order. Raises UserError for a length or a fraction
    that cannot be.
    """
    from tuner.checks import TRAIN, VALIDATION
    from tuner.data import check_length, choose_rows
    from tuner.tokens import Length, count_tokens, fit, paced

    asked = settings.max_length
    check_length(asked, reader.model_limit)
    train, selection = choose_rows(
        task,
        splits[TRAIN][LABEL],
        splits[VALIDATION].num_rows,
        settings.fraction,
        settings.select_on,
        settings.seed,
    )
    lengths = {}
    for name, rows in splits.items():
        progress.stage(f"tokenising {rows.num_rows:,} {name} rows")
        told = paced(progress, rows.num_rows)
        texts = [rows[column] for column in task.text_columns]
        lengths[name] = count_tokens(texts, reader.tokenizer, told)
    limit = fit(lengths[TRAIN], Length(asked or reader.model_limit, fitted=asked is None))
    progress.stage("looking for duplicates")
    codes, labels = text_codes(task, splits), label_numbers(splits)
    shown = _drawn(task, splits[TRAIN], examples, settings.seed)
    return Portrait(
        task=task.name,
        title=task.title,
        model=reader.name,
        max_length=limit,
        search_rows=len(train),
        selection_rows=splits[VALIDATION].num_rows if selection is None else len(selection),
        selected_on=settings.select_on,
        seed=settings.seed,
        splits=tuple(
            _split(task, name, rows, lengths[name], limit, codes[name], labels[name])
            for name, rows in splits.items()
        ),
        overlaps=overlaps_of(codes, labels),
        examples=shown,
        tokens=_example_tokens(shown[0], reader, limit) if shown else None,
        notes=tuple(notes),
    )


def _split(
    task: Task,
    name: str,
    rows: pa.Table,
    lengths: Numbers,
    limit: int,
    codes: Numbers,
    labels: npt.NDArray[np.float64],
) -> SplitPortrait:
    known = labels[~np.isnan(labels)]
    counts = np.bincount(known.astype(np.int64), minlength=len(task.label_names))
    numbers = task.regression and len(known)
    return SplitPortrait(
        name=name,
        rows=rows.num_rows,
        unlabelled=len(labels) - len(known),
        labels=dict(zip(task.label_names, counts.tolist(), strict=False)),
        quantiles=_quantiles(known, _LABEL_QUANTILES) if numbers else {},
        mean=float(known.mean()) if numbers else None,
        characters=_lengths(_characters(task, rows)),
        tokens=_lengths(lengths),
        cut=int(np.sum(lengths > limit)),
        repeated=int(np.sum(np.bincount(codes)[codes] > 1)) if len(codes) else 0,
        contradictory=int(np.sum(contradicted(codes, labels, codes, labels))),
    )


def _quantiles(
    values: npt.NDArray[np.float64] | Numbers, places: Mapping[str, int]
) -> dict[str, float]:
    found = np.percentile(values, list(places.values()), method="higher")
    return dict(zip(places, map(float, found), strict=True))


def _lengths(values: Numbers) -> dict[str, int]:
    if not len(values):
        return {}
    return {name: int(value) for name, value in _quantiles(values, _LENGTH_QUANTILES).items()}


def _characters(task: Task, rows: pa.Table) -> Numbers:
    total = np.zeros(rows.num_rows, np.int64)
    for column in task.text_columns:
        total += pc.fill_null(pc.utf8_length(rows[column]), 0).to_numpy()
    return total


# Examples


def _drawn(task: Task, rows: pa.Table, count: int, seed: int) -> tuple[Example, ...]:
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(rows.num_rows, min(count, rows.num_rows), replace=False))
    return tuple(
        Example(
            split="train",
            row=int(row),
            label=_label(task, rows[LABEL][row].as_py()),
            texts={column: rows[column][row].as_py() or "" for column in task.text_columns},
        )
        for row in drawn
    )


def _label(task: Task, label: int | float | None) -> str | float | None:
    return label if label is None or task.regression else task.label_names[int(label)]


def _example_tokens(example: Example, reader: Reader, limit: int) -> ExampleTokens:
    from tuner.tokens import Length, count_tokens, tokenise

    texts = [pa.chunked_array([[text]]) for text in example.texts.values()]
    made = tokenise(texts, reader.tokenizer, Length(limit), lambda done: None)
    ids = made.table["input_ids"][0].as_py()
    return ExampleTokens(
        row=example.row,
        tokens=tuple(reader.tokenizer.convert_ids_to_tokens(ids)),
        ids=tuple(ids),
        whole=int(count_tokens(texts, reader.tokenizer, lambda done: None)[0]),
    )
