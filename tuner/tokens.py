"""Texts to tokens: once, on all cores, cut at a length that is given or that the rows ask for.

A fast tokenizer takes a batch of texts on as many threads as there are cores, unless
TOKENIZERS_PARALLELISM in the environment says false. Knows nothing of tasks, labels or splits.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Lengths = npt.NDArray[np.int64]
Texts = Sequence[pa.ChunkedArray]
"""One column of texts, or the two of pairs."""

SHORTEST = 8
"""No text is cut to fewer tokens than this where the rows say how long they may be."""

PERCENTILE = 99.5
"""The share of the rows, in percent, that is not cut where the rows say how long they may be."""

_CHUNK = 1000


@dataclass(frozen=True)
class Length:
    """How many tokens a row may have: `most` or, where it is `fitted` to the rows, as many as
    `PERCENTILE` % of them need, if that is less."""

    most: int
    fitted: bool = False


@dataclass(frozen=True)
class Tokens:
    """Tokenised rows.

    `table` has one chunk, with `input_ids` (list of int32) and, where the tokenizer makes them,
    `token_type_ids`, neither padded. `limit` is the most tokens that a row may have; `cut` counts
    the rows that had more.
    """

    table: pa.Table
    limit: int
    cut: int


class Progress(Protocol):
    """Who is told what is done; a `progress.Watcher`, for one."""

    def stage(self, text: str) -> None:
        """What is being done from now on."""

    def note(self, text: str) -> None:
        """Something worth knowing that needs no answer."""

    def tick(self, step: int, total: int, seconds_left: float | None, unit: str) -> None:
        """`step` of `total` units are done."""


def paced(progress: Progress, rows: int) -> Callable[[int], None]:
    """A function to be told how many of `rows` rows are done, which passes on the time left too."""
    began = time.monotonic()

    def told(done: int) -> None:
        left = (time.monotonic() - began) / done * (rows - done)
        progress.tick(done, rows, left, "row")

    return told


def tokenise(
    texts: Texts,
    tokenizer: PreTrainedTokenizerFast,
    length: Length,
    told: Callable[[int], None],
) -> Tokens:
    """The rows' tokens, cut as the tokenizer cuts them. `told` hears how many rows are done.

    There must be a row at least. The tokenizer remembers nothing of it.
    """
    with _as_it_was(tokenizer):
        parts = [_encode(chunk, tokenizer, length.most) for chunk in _chunks(texts, told)]
        table = pa.concat_tables([part for part, _ in parts]).combine_chunks()
        lengths = np.concatenate([found for _, found in parts])
        limit = fit(lengths, length)
        long = np.flatnonzero(lengths > limit)
        if limit < length.most and len(long):
            rows = [column.take(pa.array(long)).to_pylist() for column in texts]
            cut, _ = _encode(rows, tokenizer, limit)
            order = np.arange(len(lengths))
            order[long] = len(lengths) + np.arange(len(long))
            table = pa.concat_tables([table, cut]).take(pa.array(order)).combine_chunks()
    return Tokens(table, limit, len(long))


def count_tokens(
    texts: Texts, tokenizer: PreTrainedTokenizerFast, told: Callable[[int], None]
) -> Lengths:
    """How many tokens each row has, nothing cut. `told` hears how many rows are done."""
    with _as_it_was(tokenizer):
        parts = [_encode(chunk, tokenizer, None)[1] for chunk in _chunks(texts, told)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def fit(lengths: Lengths, length: Length) -> int:
    """The most tokens that a row may have, where the rows have `lengths`."""
    if not length.fitted:
        return length.most
    usual = int(np.percentile(lengths, PERCENTILE, method="higher"))
    return min(length.most, max(SHORTEST, usual))


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 (hex) of all that decides which tokens a text gets: the tokenizer's own file, what
    transformers adds to it, and the versions of both libraries."""
    with _as_it_was(tokenizer):
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        parts = [
            type(tokenizer).__qualname__,
            *(importlib.metadata.version(name) for name in ("tokenizers", "transformers")),
            tokenizer.truncation_side,
            str(tokenizer.split_special_tokens),
            *tokenizer.model_input_names,
            backend.to_str(),
        ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _chunks(texts: Texts, told: Callable[[int], None]) -> Iterator[list[list[str]]]:
    total = len(texts[0])
    for start in range(0, total, _CHUNK):
        yield [column.slice(start, _CHUNK).to_pylist() for column in texts]
        told(min(start + _CHUNK, total))


def _encode(
    texts: list[list[str]], tokenizer: PreTrainedTokenizerFast, most: int | None
) -> tuple[pa.Table, Lengths]:
    """The rows' tokens, `most` at most, and how many they are; `most` + 1 stands for more."""
    encoded = tokenizer(
        *texts,
        truncation=most is not None,
        max_length=most,
        padding=False,
        return_attention_mask=False,
        verbose=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    encodings: Any = encoded.encodings
    for row in np.flatnonzero(lengths == most):
        lengths[row] += bool(encodings[row].overflowing)
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    kind = pa.list_(pa.int32())
    return pa.table({name: pa.array(encoded[name], kind) for name in names}), lengths


@contextmanager
def _as_it_was(tokenizer: PreTrainedTokenizerFast) -> Iterator[None]:
    """A tokenizer remembers how it was last called; whoever comes next shall find it as it was."""
    backend: Any = tokenizer.backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    try:
        yield
    finally:
        backend.enable_truncation(**truncation) if truncation else backend.no_truncation()
        backend.enable_padding(**padding) if padding else backend.no_padding()
