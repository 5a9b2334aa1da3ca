"""One pass gives what the tokenizer gives row by row, and leaves the tokenizer as it was."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from transformers import PreTrainedTokenizerFast

from tuner.bases import load_base
from tuner.tasks import find_task
from tuner.tokens import Length, Tokens, count_tokens, fit, tokenise

WORDS = [f"word{number}" for number in range(30)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_base("tiny", find_task("rte"), lambda: WORDS * 2).tokenizer


def column(rows: int, seed: int, longest: int = 40) -> pa.ChunkedArray:
    """Texts of 0 to `longest` words, but for one of three times as many, in several chunks."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(0, longest))) for _ in range(rows)]
    texts[rows // 2] = " ".join(WORDS[:1] * 3 * longest)
    return pa.chunked_array([texts[:7], texts[7:]], pa.string())


def quietly(done: int) -> None: ...


def expected(texts: list[pa.ChunkedArray], tokenizer: Any, limit: int) -> list[dict[str, Any]]:
    # Batches of one: a single pair whose second text is empty would be taken for a single text.
    rows = zip(*([[text] for text in column.to_pylist()] for column in texts), strict=True)
    made = [tokenizer(*row, truncation=True, max_length=limit) for row in rows]
    return [{name: values[0] for name, values in row.items()} for row in made]


def whole(texts: list[pa.ChunkedArray], tokenizer: Any) -> list[int]:
    return [len(row["input_ids"]) for row in expected(texts, tokenizer, 10_000)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("texts", [[column(300, 1)], [column(300, 2), column(300, 3)]])
@pytest.mark.parametrize("length", [Length(16), Length(16, fitted=True), Length(200, fitted=True)])
def test_the_rows_are_what_the_tokenizer_makes_of_each(
    tokenizer: PreTrainedTokenizerFast,
    texts: list[pa.ChunkedArray],
    length: Length,
    side: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    monkeypatch.setattr("tuner.tokens._CHUNK", 110)
    made = tokenise(texts, tokenizer, length, quietly)
    lengths = np.array(whole(texts, tokenizer))
    if length.most == 16:
        assert made.limit == 16
    else:
        assert np.mean(lengths > made.limit) <= 0.005 < np.mean(lengths >= made.limit)
    assert made.cut == int(np.sum(lengths > made.limit)) > 0
    rows = expected(texts, tokenizer, made.limit)
    for name in ("input_ids", "token_type_ids"):
        assert made.table[name].num_chunks == 1
        assert made.table[name].to_pylist() == [row[name] for row in rows]


def test_a_row_that_just_fits_is_not_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [pa.chunked_array([[" ".join(WORDS[:count]) for count in (6, 7, 8)]])]
    assert whole(texts, tokenizer) == [8, 9, 10]
    assert tokenise(texts, tokenizer, Length(9), quietly).cut == 1
    assert tokenise(texts, tokenizer, Length(10), quietly).cut == 0


def test_what_is_longer_than_the_model_reads_does_not_change_where_rows_are_cut() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    for most in (20, 99, 200):
        length = Length(most, fitted=True)
        assert fit(np.minimum(lengths, most + 1), length) == fit(lengths, length) == min(most, 99)


def test_lengths_are_those_of_whole_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [column(50, 4), column(50, 5)]
    assert count_tokens(texts, tokenizer, quietly).tolist() == whole(texts, tokenizer)
    assert count_tokens([texts[0].slice(0, 0)], tokenizer, quietly).tolist() == []


def test_every_chunk_is_told(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    monkeypatch.setattr("tuner.tokens._CHUNK", 20)
    tokenise([column(50, 6)], tokenizer, Length(16), heard.append)
    assert heard == [20, 40, 50]


def test_a_tokenizer_is_left_as_it_was_found(tokenizer: PreTrainedTokenizerFast) -> None:
    def state() -> tuple[Any, Any]:
        return tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding

    def make() -> Tokens:
        return tokenise([column(20, 7)], tokenizer, Length(16), quietly)

    backend: Any = tokenizer.backend_tokenizer
    backend.no_truncation()
    made, before = make(), state()
    assert before == (None, None)
    try:
        backend.enable_truncation(5, stride=1)
        backend.enable_padding(length=128)
        before = state()
        assert make().table.equals(made.table)
        assert state() == before
    finally:
        backend.no_truncation()
        backend.no_padding()
