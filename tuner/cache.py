"""Tokens that were made before, kept on this disk, so that the same rows are tokenised once.

An entry is a file named after all that its tokens depend on: an Arrow stream, then its SHA-256.
Nothing in it is ever unpickled, and a file that does not match its digest is thrown away. The
folder is `$TUNER_CACHE`, else `$XDG_CACHE_HOME/tuner`, else `~/.cache/tuner`; `TUNER_CACHE=off`
means none. It holds 4 GiB at most: what was used least recently goes first.
Knows nothing of tasks and labels.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tuner.documents import write_bytes
from tuner.errors import UserError
from tuner.shelves import CACHE, OFF, cache_folder, cache_off
from tuner.tokens import (
    PERCENTILE,
    SHORTEST,
    Length,
    Progress,
    Tokens,
    paced,
    tokenise,
    tokenizer_fingerprint,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MOST_BYTES = 4 << 30
"""What a cache's entries may come to."""

_FORM = 1
"""The form of entries; those of another form are not found."""

_SUFFIX = ".tokens"
_HALF = f"{_SUFFIX}."
_DIGEST = hashlib.sha256().digest_size
_LIMIT, _CUT = b"limit", b"cut"
_STALE = 3600.0
"""Seconds after which a half-written file is nobody's any more."""


def token_cache() -> TokenCache | None:
    """This user's cache; None where there shall be none, or can be none."""
    if cache_off():
        return None
    try:
        return TokenCache(cache_folder())
    except UserError:
        return None


class TokenCache:
    """The tokens kept in `folder`, `most_bytes` at most. Processes may share one at any time."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self.most_bytes = most_bytes

    def find(self, key: str, rows: int) -> Tokens | None:
        """The tokens of `rows` rows kept under `key`, exactly as they were; None: there are none.

        Raises nothing: what cannot be read is not there.
        """
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        tokens = _read(content)
        if tokens is None or tokens.table.num_rows != rows:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # a folder that may only be read serves as well
            os.utime(path)
        return tokens

    def keep(self, key: str, tokens: Tokens) -> None:
        """Keep the tokens under `key`, and let go of what the bound leaves no room for.

        Tokens that are too many for the whole cache are passed over. Raises OSError when the
        folder cannot be written.
        """
        content = _written(tokens)
        if len(content) > self.most_bytes:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(key)
        write_bytes(path, content)
        self._trim(path)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _trim(self, newest: Path) -> None:
        room, entries = self.most_bytes, []
        for path in self.folder.iterdir():
            # Another process may take any of them away meanwhile.
            with contextlib.suppress(OSError):
                facts = path.stat()
                if path.suffix == _SUFFIX:
                    entries.append((path != newest, -facts.st_mtime, path, facts.st_size))
                elif _HALF in path.name and time.time() - facts.st_mtime > _STALE:
                    path.unlink()
        for _, _, path, size in sorted(entries):
            room -= size
            if room < 0:
                with contextlib.suppress(OSError):
                    path.unlink()


def cached_tokens(
    texts: Mapping[str, pa.ChunkedArray],
    fingerprint: str,
    tokenizer: PreTrainedTokenizerFast,
    length: Length,
    cache: TokenCache | None,
    split: str,
    progress: Progress,
) -> Tokens:
    """The tokens of a split's text columns, from the cache where it has them, or put there.

    `fingerprint` stands for the columns' rows; `progress` hears what is done with `split`.
    """
    rows = len(next(iter(texts.values())))
    key = token_key(fingerprint, tuple(texts), tokenizer, length) if cache else ""
    if cache and (found := cache.find(key, rows)):
        progress.stage(f"{rows:,} {split} rows: tokens from the cache")
        return found
    progress.stage(f"tokenising {rows:,} {split} rows")
    tokens = tokenise(tuple(texts.values()), tokenizer, length, paced(progress, rows))
    if cache:
        try:
            cache.keep(key, tokens)
        except OSError as error:
            progress.note(
                f"tokens are not kept for the next time: {cache.folder} cannot be written "
                f"({error.strerror or error}); {CACHE} names another folder, or says {OFF}"
            )
    return tokens


def token_key(
    fingerprint: str,
    columns: tuple[str, ...],
    tokenizer: PreTrainedTokenizerFast,
    length: Length,
) -> str:
    """SHA-256 (hex) of all that the tokens of rows depend on."""
    parts = (_FORM, fingerprint, columns, tokenizer_fingerprint(tokenizer), astuple(length))
    return hashlib.sha256(json.dumps((*parts, PERCENTILE, SHORTEST)).encode()).hexdigest()


def _written(tokens: Tokens) -> bytes:
    notes = {_LIMIT: str(tokens.limit), _CUT: str(tokens.cut)}
    table = tokens.table.replace_schema_metadata(notes)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
        stream.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content + hashlib.sha256(content).digest()


def _read(content: bytes) -> Tokens | None:
    """The tokens in a file of the cache; None when it is not as it was written."""
    whole = memoryview(content)
    body, digest = whole[:-_DIGEST], whole[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            table = stream.read_all()
        notes = table.schema.metadata
        limit, cut = int(notes[_LIMIT]), int(notes[_CUT])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None  # of another version, say
    return Tokens(table.replace_schema_metadata(None), limit, cut)
