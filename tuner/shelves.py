"""Where runs are kept: a folder of this host, or a store, each run in a folder under its name.

What lies in a store is worked on in a copy on this disk: the driver's working copy goes up to the
store as it changes, and readers bring down what they read into a copy of their own. Knows names and
folders, not what makes a folder a run.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Protocol

from tuner.connections import at_once
from tuner.credentials import masked, without_credentials
from tuner.errors import TunerError, UserError
from tuner.stores import is_uri, join, open_store

CACHE = "TUNER_CACHE"
"""The environment variable that names the folder for copies and tokens, or says `off`."""

OFF = "off"

_YOUNG = 10.0
"""Seconds since the last change of a working copy in which its driver may not have written its
lease into the store yet."""


class Shelf(Protocol):
    """A place for runs. Raises UserError where it cannot be used."""

    def __str__(self) -> str:
        """What a person calls it."""

    def where(self, name: str) -> str:
        """What a person names a run here by, from any folder."""

    def uri(self, name: str) -> str | None:
        """The URI of a run that lies in a store."""

    def check(self) -> None:
        """Whether runs can be kept here; the place need not exist yet."""

    def holds(self, name: str) -> bool:
        """Whether there is anything of that name."""

    def make(self, name: str) -> Path:
        """A new, empty folder to drive a run in. Raises FileExistsError."""

    def names(self) -> list[str]:
        """The names of all folders here; none when the place does not exist."""

    def at_hand(self, names: list[str], files: tuple[str, ...]) -> list[Path]:
        """The folders of runs to read from, with those `files` in them that there are."""


def shelf(storage: str | os.PathLike[str]) -> Shelf:
    """The shelf at a local path or a URI. Raises UserError for a URI that cannot be used."""
    return _Store(os.fspath(storage)) if is_uri(storage) else _Folder(os.fspath(storage))


def cache_off() -> bool:
    """Whether tokens shall not be kept; copies of runs in stores need their place even then."""
    return os.environ.get(CACHE, "").strip().lower() == OFF


def user_caches() -> str:
    """Where this user's programs keep what they can make again; a `~` is not replaced."""
    caches = os.environ.get("XDG_CACHE_HOME") or ""
    # A relative one is to be passed over: specifications.freedesktop.org/basedir-spec
    return caches if os.path.isabs(caches) else "~/.cache"


def cache_folder() -> Path:
    """Where copies and tokens lie: TUNER_CACHE, else `tuner` among the user's caches.

    Raises UserError for a user without a home who names no place.
    """
    named = "" if cache_off() else os.environ.get(CACHE)
    folder = os.path.expanduser(named or f"{user_caches()}/tuner")
    if folder.startswith("~"):
        raise UserError(f"{folder}: there is no such home; name a folder for copies with {CACHE}")
    return Path(folder).absolute()


def working_copy(uri: str) -> Path:
    """The folder on this disk in which the run at `uri` is driven."""
    storage, _, name = uri.rstrip("/").rpartition("/")
    return _copies("runs", storage) / name


def make_copy_folder(folder: Path) -> None:
    """Have a folder for a copy. Raises UserError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}, for copies of runs in stores, cannot be made ({error.strerror}); name "
            "another place with TUNER_CACHE"
        ) from None


def free_bytes(storage: str) -> int | None:
    """What is free on the disk of a folder, which need not exist yet; None for a URI."""
    if is_uri(storage):
        return None
    folder = Path(os.path.expanduser(storage)).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _copies(kind: str, storage: str) -> Path:
    """The folder for copies of the runs in a store, one to each store, told apart by its URI."""
    storage = open_store(storage).uri
    service = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    code = hashlib.sha256(f"{service} {storage}".encode()).hexdigest()[:10]
    shown = re.sub(r"[^A-Za-z0-9.]+", "-", storage.partition("://")[2]).strip("-.")[-60:]
    return cache_folder() / kind / f"{shown}-{code}"


class _Folder:
    def __init__(self, storage: str) -> None:
        self._storage = storage
        self._folder = Path(os.path.expanduser(storage))

    def __str__(self) -> str:
        return shortened(self._storage)

    def where(self, name: str) -> str:
        return str(self._folder / name)

    def uri(self, name: str) -> str | None:
        return None

    def check(self) -> None:
        nearest = self._folder
        try:
            while not nearest.exists() and nearest != nearest.parent:
                nearest = nearest.parent
            usable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"storage {self} cannot be used: {reason}") from None
        if not usable:
            what = "cannot be written" if nearest.is_dir() else "is no folder"
            raise UserError(f"storage {self}: {nearest} {what}; choose another --storage")

    def holds(self, name: str) -> bool:
        return os.path.lexists(self._folder / name)

    def make(self, name: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder / name
        folder.mkdir()
        return folder

    def names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self._folder.iterdir() if entry.is_dir())
        except (OSError, ValueError):
            return []

    def at_hand(self, names: list[str], files: tuple[str, ...]) -> list[Path]:
        return [self._folder / name for name in names]


class _Store:
    def __init__(self, storage: str) -> None:
        self._store = open_store(storage)

    def __str__(self) -> str:
        return self._store.uri

    def where(self, name: str) -> str:
        return join(self._store.uri, name)

    def uri(self, name: str) -> str | None:
        return join(self._store.uri, name)

    def check(self) -> None:
        name, word = f".check-{secrets.token_hex(4)}", b"tuner"
        try:
            self._store.write(name, word)
            found = self._store.read(name)
            self._store.remove(name)
        except TunerError as error:
            raise UserError(f"storage {error}") from None
        if found != word:
            raise UserError(
                f"storage {self}: a file that was written is not read back; choose another "
                "--storage"
            )

    def holds(self, name: str) -> bool:
        return bool(self._store.entries(name))

    def make(self, name: str) -> Path:
        folder = working_copy(self.where(name))
        make_copy_folder(folder.parent)
        try:
            folder.mkdir()
        except FileExistsError:
            # Another driver was quicker, and its run is not in the store yet.
            if time.time() - folder.stat().st_mtime < _YOUNG:
                raise
            # Of a run that is gone from the store, or never came to lie there.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        return folder

    def names(self) -> list[str]:
        return self._store.folders()

    def at_hand(self, names: list[str], files: tuple[str, ...]) -> list[Path]:
        copies = _copies("read", self._store.uri)
        make_copy_folder(copies)
        wanted = [(f"{name}/{file}", copies / name / file) for name in names for file in files]
        at_once(lambda item: self._store.refresh(*item), wanted)
        return [copies / name for name in names]


def shortened(value: str | os.PathLike[str]) -> str:
    """What the user gave, in a message: not too long, printable, without credentials."""
    text = masked(without_credentials(os.fspath(value), whole=True))
    text = text if len(text) <= 60 else text[:60] + "…"
    return text if text.strip() and text.isprintable() else repr(text)
