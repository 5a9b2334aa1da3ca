"""A lease as a file: how it is written, renewed, read and dated, in a folder or in a store.

Knows nothing of when that is right to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from typing import Protocol

from tuner.owners import Owner, read_owner
from tuner.runs import Run
from tuner.stores import Store

NAME = "lease.json"


class Claim(Protocol):
    """Where a lease lies."""

    exact: bool
    """Whether a new one is made by one driver only, whoever else tries."""

    def read(self) -> Owner | None: ...

    def write(self, owner: Owner, new: bool) -> bool:
        """Write a lease, over another one unless it is to be `new`; False when there is one."""

    def renew(self, owner: Owner) -> None: ...

    def remove(self) -> None: ...

    def modified(self) -> float:
        """When the lease was renewed last, in Unix seconds by the storage's clock."""

    def now(self) -> float:
        """Unix seconds by the storage's clock."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep others of this host away, as far as it can be done."""


class FolderClaim:
    """A lease in a folder, of this host's or shared."""

    exact = True

    def __init__(self, run: Run, name: str = NAME) -> None:
        self._file = run.folder / name
        self._lock = run.lock_file

    def read(self) -> Owner | None:
        try:
            return read_owner(self._file.read_bytes())
        except FileNotFoundError:
            return None

    def write(self, owner: Owner, new: bool) -> bool:
        written = self._file.with_name(f".{self._file.name}.{owner.id}")
        try:
            written.write_bytes(owner.written())
            if not new:
                written.replace(self._file)
                return True
            try:
                os.link(written, self._file)
            except FileExistsError:
                return False
            except OSError:  # no links here: a file that only one can open does it, too
                with open(self._file, "xb") as file:
                    file.write(owner.written())
            return True
        except FileExistsError:
            return False
        finally:
            written.unlink(missing_ok=True)

    def renew(self, owner: Owner) -> None:
        os.utime(self._file)  # touches, and so never writes over another's

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)

    def modified(self) -> float:
        return self._file.stat().st_mtime

    def now(self) -> float:
        probe = self._file.with_name(f".{self._file.name}.{secrets.token_hex(4)}")
        try:
            probe.write_bytes(b"")
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with open(self._lock, "a", encoding="utf-8") as file:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


class StoreClaim:
    """A lease in an object store."""

    exact = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> Owner | None:
        return read_owner(self._store.read(NAME))

    def write(self, owner: Owner, new: bool) -> bool:
        self._store.write(NAME, owner.written())
        return True

    def renew(self, owner: Owner) -> None:
        self._store.write(NAME, owner.written())

    def remove(self) -> None:
        self._store.remove(NAME)

    def modified(self) -> float:
        entry = self._store.entry(NAME)
        return entry.modified if entry is not None else 0.0

    def now(self) -> float:
        probe = f".{NAME}.{secrets.token_hex(4)}"
        self._store.write(probe, b"")
        try:
            entry = self._store.entry(probe)
            return entry.modified if entry is not None else time.time()
        finally:
            self._store.remove(probe)

    def alone(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
