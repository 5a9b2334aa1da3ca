"""The searches of this user on this machine: each says what it takes, so that the next can be told.

Every local Ray has the whole machine to itself, as it thinks. A file a search, locked as long as
its process lives; knows nothing of Ray, nor of what is searched.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Search:
    """A search and what it takes: `slots` at once, that together have `cores` and `gpus`."""

    run: str
    slots: int
    cores: float
    gpus: float
    pid: int = 0

    @property
    def share(self) -> str:
        """`2 slots on 4 cores and 2 GPUs`."""
        gpus = f" and {_count(self.gpus, 'GPU')}" if self.gpus else ""
        return f"{_count(self.slots, 'slot')} on {_count(self.cores, 'core')}{gpus}"


@contextlib.contextmanager
def announced(search: Search) -> Iterator[None]:
    """Let others know of a search of this process's while the block runs. Where that cannot be
    done, nobody is told."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(_announced(search))
        yield


@contextlib.contextmanager
def _announced(search: Search) -> Iterator[None]:
    pid = os.getpid()
    final = _folder() / f"{pid}-{secrets.token_hex(4)}.json"
    written = final.with_suffix(".writing")
    with open(written, "x", encoding="utf-8") as file:
        # Locked before it has its name: whoever finds it without a lock takes it for a dead one's.
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({**asdict(search), "pid": pid}, file)
        file.flush()
        written.rename(final)
        try:
            yield
        finally:
            final.unlink(missing_ok=True)


def searches() -> list[Search]:
    """The searches that run now, in no particular order."""
    found = []
    with contextlib.suppress(OSError):
        for path in _folder().glob("*.json"):
            with contextlib.suppress(OSError, ValueError, TypeError), open(path) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(Search(**json.load(file)))
                else:  # of a process that was killed
                    path.unlink(missing_ok=True)
    return found


def note(mine: Search, others: list[Search], cores: float, gpus: float) -> str | None:
    """What to tell the user of `mine` about the other searches on a machine with so many cores and
    GPUs; None when there is none."""
    if not others:
        return None
    taken = ", ".join(f"{it.run} (process {it.pid}) has {it.share}" for it in others)
    full = (
        sum(it.cores for it in [mine, *others]) > cores
        or sum(it.gpus for it in [mine, *others]) > gpus
    )
    but = (
        "and this machine has not that many, so all get slower; pass a smaller --slots, or wait"
        if full
        else "and there is room for all"
    )
    return f"other searches run here: {taken}; this one takes {mine.share}, {but}"


def _folder() -> Path:
    """A folder of this user's alone. Raises OSError where there can be none."""
    folder = Path(tempfile.gettempdir()) / f"tuner-searches-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is another user's")
    return folder


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" + ("" if number == 1 else "s")
