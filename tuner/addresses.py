"""Where data lie, as `--data` says it: a path, a URI, a Hub id, or a file for every split.

Words only; whether anything lies there is not looked at, but for `is_here`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from tuner.errors import UserError
from tuner.rules import split_called

Data = str | Mapping[str, str] | None

_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*(/[\w.-]+)?)(:(?P<config>[\w.+-]+))?")


def parse_data(value: Any) -> Any:
    """`--data` as it is kept: a path, a URI or a Hub id, or a file for every split.

    `["train=a.csv", "test=b.csv"]` is `{"train": "a.csv", "test": "b.csv"}`, `["a.csv"]` is
    `"a.csv"`. Raises UserError for what mixes the two, and for a split that is given twice.
    """
    if value is None or isinstance(value, os.PathLike):
        return None if value is None else os.fspath(value)
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for name, place in value.items():
            split = split_called(str(name))
            text = os.fspath(place) if isinstance(place, str | os.PathLike) else ""
            if split is None or not text:
                raise UserError(
                    f"data: {name}: must map train, validation and test to files, such as "
                    "{train: a.csv, validation: b.csv}"
                )
            if split in found:
                raise UserError(f"data: {split} is given twice; leave one")
            found[split] = text
        if not found:
            raise UserError("data: names no files; leave it out, or map splits to files")
        return found
    texts = list(value) if isinstance(value, list | tuple) else [value]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise UserError(f"data: {value!r}: must be a path, a URI, a Hub id, or a file a split")
    pairs = [(text.partition("=")[0], text.partition("=")[2]) for text in texts]
    named = [bool(rest) and split_called(name) is not None for name, rest in pairs]
    if not any(named) and len(texts) == 1:
        return texts[0]
    if not all(named):
        raise UserError(
            f"--data {texts[named.index(False)]}: of several files each needs the name of its "
            "split: --data train=FILE --data validation=FILE"
        )
    splits = [split_called(name) for name, _ in pairs]
    if twice := [split for split in splits if splits.count(split) > 1]:
        raise UserError(f"--data {twice[0]}= is given twice; leave one")
    return {str(split): rest for split, (_, rest) in zip(splits, pairs, strict=True)}


def hub_id(data: str) -> tuple[str, str | None] | None:
    """The data set of the Hub that `data` may name, and its configuration (`user/name:config`)."""
    found = _HUB_ID.fullmatch(data)
    return None if found is None else (found["id"], found["config"])


def with_config(data: str) -> tuple[str, str] | None:
    """A folder and the configuration behind its `:`, where `data` may name them."""
    before, colon, config = data.rpartition(":")
    return (before, config) if colon and before and config and "/" not in config else None


def is_here(data: str) -> bool:
    """Whether a path names something on this disk, or a folder with a configuration behind it."""
    if os.path.exists(os.path.expanduser(data)):
        return True
    split = with_config(data)
    return split is not None and os.path.isdir(os.path.expanduser(split[0]))
