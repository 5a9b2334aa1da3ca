"""Rows with the same texts: within a split, across splits, and with labels that contradict.

Texts are the same where they are so letter by letter. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tuner.sources import LABEL
from tuner.tasks import Task

Codes = npt.NDArray[np.int64]
Labels = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Overlap:
    """How many rows of `split` have texts that a row of `earlier` has, and to how many of them that
    one gives another label."""

    split: str
    earlier: str
    rows: int
    contradictory: int


def text_codes(task: Task, splits: Mapping[str, pa.Table]) -> dict[str, Codes]:
    """For each split a number a row: rows have the same one where they have the same texts."""
    joined = []
    for rows in splits.values():
        texts = [
            pc.fill_null(rows[column], "").cast(pa.large_string()) for column in task.text_columns
        ]
        # The first text's length says where the second one begins.
        sizes = pc.utf8_length(texts[0]).cast(pa.large_string())
        joined += pc.binary_join_element_wise(
            sizes, *texts, pa.scalar(" ", pa.large_string())
        ).chunks
    coded = pa.chunked_array(joined, pa.large_string()).combine_chunks().dictionary_encode()
    codes: Codes = coded.indices.to_numpy().astype(np.int64)
    ends = np.cumsum([rows.num_rows for rows in splits.values()])
    return dict(zip(splits, np.split(codes, ends[:-1]), strict=True))


def label_numbers(splits: Mapping[str, pa.Table]) -> dict[str, Labels]:
    """The labels as numbers; NaN where there is none."""
    return {
        name: rows[LABEL].cast(pa.float64()).to_numpy().astype(np.float64)
        for name, rows in splits.items()
    }


def contradicted(
    codes: Codes,
    labels: Labels,
    other_codes: Codes,
    other_labels: Labels,
) -> npt.NDArray[np.bool_]:
    """Which rows have texts that the other rows have with another label."""
    known = ~np.isnan(other_labels)
    size = 1 + max(codes.max(initial=0), other_codes.max(initial=0))
    least, most = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(least, other_codes[known], other_labels[known])
    np.maximum.at(most, other_codes[known], other_labels[known])
    there = np.isfinite(least[codes]) & ~np.isnan(labels)
    other: npt.NDArray[np.bool_] = there & ((least[codes] != labels) | (most[codes] != labels))
    return other


def overlaps_of(codes: Mapping[str, Codes], labels: Mapping[str, Labels]) -> tuple[Overlap, ...]:
    """Every split's overlap with each one before it."""
    names = list(codes)
    return tuple(
        Overlap(
            split,
            earlier,
            int(np.sum(np.isin(codes[split], codes[earlier]))),
            int(np.sum(contradicted(codes[split], labels[split], codes[earlier], labels[earlier]))),
        )
        for place, split in enumerate(names)
        for earlier in names[:place]
    )
