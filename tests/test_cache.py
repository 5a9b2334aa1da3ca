"""Tokens from the cache are the very ones that would have been made; whatever changed is a miss."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import PreTrainedTokenizerFast

from tuner import cache as caches
from tuner.bases import load_base
from tuner.cache import TokenCache, cached_tokens, token_cache, token_key
from tuner.data import Prepared, fingerprint, prepare_data
from tuner.progress import Silent
from tuner.shelves import cache_folder
from tuner.tasks import find_task
from tuner.tokens import Length, Tokens, tokenise

RTE = find_task("rte")
WORDS = [f"word{number}" for number in range(30)]
KEY = "0" * 64


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_base("tiny", RTE, lambda: WORDS * 2).tokenizer


def split(rows: int, shift: int = 0) -> pa.Table:
    def text(row: int, count: int) -> str:
        return " ".join(WORDS[(row * 7 + shift + place) % 30] for place in range(1 + count % 9))

    return pa.table(
        {
            "sentence1": [text(row, row) for row in range(rows)],
            "sentence2": [text(row, row * 5) for row in range(rows)],
            "label": [row % 2 for row in range(rows)],
        }
    )


def made(tokenizer: PreTrainedTokenizerFast, rows: int = 50) -> Tokens:
    table = split(rows)
    columns = [table["sentence1"], table["sentence2"]]
    return tokenise(columns, tokenizer, Length(16), lambda done: None)


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


def prepared(
    tokenizer: PreTrainedTokenizerFast, cache: TokenCache | None, heard: Heard, **changes: Any
) -> Prepared:
    settings: dict[str, Any] = {
        "model_limit": 128,
        "fraction": 1.0,
        "select_on": "holdout",
        "max_length": None,
        "seed": 0,
        "progress": heard,
        "cache": cache,
    }
    splits = {"train": split(200), "validation": split(40, shift=3)}
    return prepare_data(RTE, splits, tokenizer, **{**settings, **changes})


TABLES = ("train", "selection", "full_train", "validation")


def test_a_second_run_takes_its_tokens_from_the_cache_and_they_are_the_same(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, first, second = TokenCache(tmp_path), Heard(), Heard()
    plain = prepared(tokenizer, None, Heard())
    one = prepared(tokenizer, cache, first)
    assert first.stages == ["tokenising 200 train rows", "tokenising 40 validation rows"]
    monkeypatch.delattr(caches, "tokenise")
    two = prepared(tokenizer, cache, second)
    assert second.stages == [
        "200 train rows: tokens from the cache",
        "40 validation rows: tokens from the cache",
    ]
    for name in TABLES:
        expected = getattr(plain, name)
        for found in (getattr(one, name), getattr(two, name)):
            assert found.equals(expected, check_metadata=True)
            assert found.schema.equals(expected.schema, check_metadata=True)
    assert one.notes == two.notes == plain.notes
    assert one.max_length == two.max_length == plain.max_length
    assert one.fingerprints == two.fingerprints


def test_another_seed_or_fraction_needs_no_other_tokens(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    cache, heard = TokenCache(tmp_path), Heard()
    prepared(tokenizer, cache, Heard())
    prepared(tokenizer, cache, heard, seed=5, fraction=0.3)
    assert all("from the cache" in stage for stage in heard.stages)


def test_what_comes_back_is_what_was_kept(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokens = made(tokenizer)
    assert tokens.cut > 0
    cache = TokenCache(tmp_path / "new" / "folder")
    assert cache.find(KEY, 50) is None
    cache.keep(KEY, tokens)
    found = cache.find(KEY, 50)
    assert found is not None
    assert (found.limit, found.cut) == (tokens.limit, tokens.cut)
    assert found.table.schema.equals(tokens.table.schema, check_metadata=True)
    for name in tokens.table.column_names:
        one, two = tokens.table[name], found.table[name]
        assert one.num_chunks == two.num_chunks == 1
        assert one.equals(two)
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o77 == 0
    assert cache.find(KEY, 49) is None, "tokens of other rows, whatever they are called"


def keys_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """The key of some rows, and the keys where one thing is changed."""
    rows, length = split(50), Length(64, fitted=True)
    columns = ("sentence1", "sentence2")
    mark = fingerprint(RTE, rows)

    def changed(**changes: Any) -> str:
        given = {"mark": mark, "columns": columns, "length": length, **changes}
        return token_key(given["mark"], given["columns"], tokenizer, given["length"])

    texts = ["another", *rows["sentence1"].to_pylist()[1:]]
    text = rows.set_column(0, "sentence1", pa.array(texts))
    return {
        "nothing": changed(),
        "a text": changed(mark=fingerprint(RTE, text)),
        "the order": changed(mark=fingerprint(RTE, rows.take(list(range(49, -1, -1))))),
        "a row less": changed(mark=fingerprint(RTE, rows.slice(1))),
        "the columns": changed(columns=("sentence2", "sentence1")),
        "the length": changed(length=Length(63, fitted=True)),
        "whether it is fitted": changed(length=Length(64)),
    }


def test_whatever_is_changed_is_a_miss(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of(tokenizer)
    assert len(set(keys.values())) == len(keys)
    other = load_base("tiny", RTE, lambda: [*WORDS, "unheard"] * 2).tokenizer
    keys["a word of the vocabulary"] = keys_of(other)["nothing"]
    with monkeypatch.context() as patch:
        patch.setattr(tokenizer, "truncation_side", "left")
        keys["the side that is cut"] = keys_of(tokenizer)["nothing"]
    with monkeypatch.context() as patch:
        patch.setattr(tokenizer, "model_input_names", ["input_ids"])
        keys["the columns that are made"] = keys_of(tokenizer)["nothing"]
    with monkeypatch.context() as patch:
        patch.setattr("tuner.tokens.importlib.metadata.version", lambda name: "0")
        keys["the libraries"] = keys_of(tokenizer)["nothing"]
    assert len(set(keys.values())) == len(keys)
    again = load_base("tiny", RTE, lambda: WORDS * 2).tokenizer
    assert keys_of(again)["nothing"] == keys["nothing"]


def test_how_a_tokenizer_was_called_before_changes_no_key(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    before = keys_of(tokenizer)
    tokenizer("word1", truncation=True, max_length=5, padding="max_length")
    assert keys_of(tokenizer) == before


class Bomb:
    """What a pickle may hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def signed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:600] + bytes([content[600] ^ 1]) + content[601:],
        lambda content: signed(pickle.dumps(Bomb())),
        lambda content: signed(b""),
    ],
    ids=["empty", "a byte short", "half", "a bit", "a pickle", "signed nothing"],
)
def test_a_damaged_file_is_thrown_away_and_made_again(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache, heard = TokenCache(tmp_path), Heard()
    plain = prepared(tokenizer, cache, Heard())
    for path in tmp_path.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    again = prepared(tokenizer, cache, heard)
    assert heard.stages == ["tokenising 200 train rows", "tokenising 40 validation rows"]
    assert all(getattr(again, name).equals(getattr(plain, name)) for name in TABLES)
    healed = Heard()
    prepared(tokenizer, cache, healed)
    assert all("from the cache" in stage for stage in healed.stages)


def test_what_was_used_least_recently_goes_first(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokens = made(tokenizer)
    TokenCache(tmp_path).keep("a", tokens)
    size = (tmp_path / "a.tokens").stat().st_size
    cache = TokenCache(tmp_path, most_bytes=3 * size)
    for age, key in enumerate("bc"):
        cache.keep(key, tokens)
        os.utime(tmp_path / f"{key}.tokens", (age + 2, age + 2))
    os.utime(tmp_path / "a.tokens", (1, 1))
    stale, others = tmp_path / ".x.tokens.12.tmp", tmp_path / "mine.tmp"
    for path in (stale, others):
        path.touch()
        os.utime(path, (1, 1))
    assert cache.find("a", 50) is not None
    cache.keep("d", tokens)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["a.tokens", "c.tokens", "d.tokens", "mine.tmp"]
    TokenCache(tmp_path, most_bytes=size - 1).keep("e", tokens)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept, "too large for the whole"


def test_a_folder_that_cannot_be_written_is_done_without_and_said(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    heard = Heard()
    found = prepared(tokenizer, TokenCache(tmp_path / "file" / "folder"), heard)
    assert found.train.equals(prepared(tokenizer, None, Heard()).train)
    assert len(heard.notes) == 2
    assert "file/folder cannot be written (Not a directory); TUNER_CACHE names" in heard.notes[0]


def test_many_at_once_lose_nothing_and_see_nothing_half(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    variants = {f"{rows}": made(tokenizer, rows) for rows in (20, 40, 60)}
    TokenCache(tmp_path).keep("x", variants["60"])
    cache = TokenCache(tmp_path, most_bytes=2 * (tmp_path / "x.tokens").stat().st_size)
    wrong: list[str] = []

    def work() -> None:
        for _ in range(10):
            for key, tokens in variants.items():
                try:
                    found = cache.find(key, int(key))
                    if found is None:
                        cache.keep(key, tokens)
                    elif not found.table.equals(tokens.table):
                        wrong.append(key)
                except Exception as error:
                    wrong.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"TUNER_CACHE": "off"}, None),
        ({"TUNER_CACHE": "/here"}, "/here"),
        ({"TUNER_CACHE": "~/here"}, "/home/me/here"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/tuner"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/tuner"),
        ({"TUNER_CACHE": ""}, "/home/me/.cache/tuner"),
    ],
)
def test_the_environment_says_where_tokens_are_kept(
    environment: dict[str, str], folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TUNER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    cache = token_cache()
    assert (cache and str(cache.folder)) == folder
    # `off` is no folder: copies of runs in stores have to lie somewhere.
    assert str(cache_folder()) == (folder or "/home/me/.cache/tuner")


def test_without_a_cache_rows_are_tokenised(tokenizer: PreTrainedTokenizerFast) -> None:
    rows, heard = split(50), Heard()
    columns = {name: rows[name] for name in RTE.text_columns}
    found = cached_tokens(columns, "", tokenizer, Length(16), None, "train", heard)
    assert found.table.equals(made(tokenizer).table)
    assert heard.stages == ["tokenising 50 train rows"]
