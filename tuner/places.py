"""A file or a folder that is read from: on this disk, or in a store at a URI.

Knows nothing of what the files hold, and writes nothing.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from tuner.errors import UserError
from tuner.stores import Store, is_uri, join, open_store

DEEPEST = 4
"""Folders below the one that is named, at most: what lies deeper is passed over."""


@dataclass(frozen=True)
class Place:
    """A path on this disk, or a URI (`s3://`, `gs://`), which `text` says as a person would."""

    text: str

    @classmethod
    def of(cls, text: str | os.PathLike[str]) -> Place:
        """`~` is the home folder, and a `file://` URI the path that it names.

        Raises UserError for a URI that cannot be used.
        """
        given = os.fspath(text)
        if not is_uri(given):
            return cls(os.path.expanduser(given))
        store = _open(given)
        return cls(str(store.folder) if store.folder is not None else store.uri)

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """The last part of the path or the URI."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def path(self) -> Path | None:
        """Where it lies on this disk; None for what lies in a store."""
        return None if is_uri(self.text) else Path(self.text)

    def child(self, name: str) -> Place:
        """What is called `name` in this folder."""
        return Place(join(self.text, name))

    def is_file(self) -> bool:
        if self.path is not None:
            return self.path.is_file()
        store, name = self._stored
        return bool(name) and store.entry(name) is not None

    def is_folder(self) -> bool:
        if self.path is not None:
            return self.path.is_dir()
        return bool(_open(self.text).entries())

    def files(self) -> list[str]:
        """The files of this folder and of those below it, as names with `/`, sorted; hidden ones,
        and those more than `DEEPEST` folders down, are passed over."""
        if self.path is None:
            names = [entry.name for entry in _open(self.text).entries()]
        else:
            names = []
            for folder, inner, files in os.walk(self.path):
                below = Path(folder).relative_to(self.path)
                inner[:] = [name for name in inner if not name.startswith(".")]
                if len(below.parts) >= DEEPEST:
                    inner.clear()
                names += [(below / name).as_posix() for name in files]
        hidden = (any(part.startswith(".") for part in name.split("/")) for name in names)
        return sorted(name for name, is_hidden in zip(names, hidden, strict=True) if not is_hidden)

    def open(self) -> BinaryIO:
        """The file, to be read. Raises UserError when it cannot be."""
        if self.path is not None:
            try:
                return open(self.path, "rb")
            except OSError as error:
                raise UserError(f"{self}: cannot be read: {error.strerror}") from error
        store, name = self._stored
        content = store.read(name) if name else None
        if content is None:
            raise UserError(f"{self}: cannot be read: there is no such file; check the URI")
        return cast(BinaryIO, io.BytesIO(content))

    @property
    def _stored(self) -> tuple[Store, str]:
        scheme, _, rest = self.text.partition("://")
        folder, _, name = rest.rpartition("/")
        return (_open(f"{scheme}://{folder}"), name) if folder else (_open(self.text), "")


def _open(uri: str) -> Store:
    try:
        return open_store(uri)
    except UserError as error:
        raise UserError(str(error).removeprefix("storage ")) from None
