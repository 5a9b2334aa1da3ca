"""A folder that is in its place whole or not at all: written beside it, and swapped for the one
that was there.

Knows nothing of what the folders hold.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def beside(final: Path, near: Path | None = None) -> Iterator[Path]:
    """A new folder for the block to fill, which becomes `final` when the block ends well, and goes
    when it does not. It lies beside `final`, or beside the folder `near` on the same disk.

    Between two renames, the folder that was there is called `.NAME.old`, and there is no `final`:
    `restore` puts it back where a process was killed just then.
    """
    near = near or final
    fresh = near.with_name(f".{near.name}.{secrets.token_hex(4)}")
    try:
        fresh.mkdir(parents=True)
        yield fresh
        for path in (*fresh.rglob("*"), fresh):
            _sync(path)
        _swap(fresh, final)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def restore(final: Path, holding: str = "") -> bool:
    """Put back what was on its way out of `final` when a process was killed, if it holds a file of
    the name `holding` (empty: whatever it holds); whether there was any.

    Does nothing where `final` is there, or where it may not be written.
    """
    with contextlib.suppress(OSError):
        if not final.exists() and _old(final).is_dir() and (_old(final) / holding).exists():
            os.rename(_old(final), final)
            return True
    return False


def clear(final: Path) -> None:
    """Remove what killed processes left half-written beside `final`, for whoever alone writes
    there; what can be put back is."""
    restore(final)
    for leftover in final.parent.glob(f".{final.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _old(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def _swap(fresh: Path, final: Path) -> None:
    while True:
        try:
            if final.exists():
                shutil.rmtree(_old(final), ignore_errors=True)
                os.rename(final, _old(final))
            os.rename(fresh, final)
            break
        except OSError as error:
            if error.errno not in _IN_THE_WAY:  # else a reader was quick to put the old one back
                restore(final)
                raise
    shutil.rmtree(_old(final), ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some network file systems refuse to sync a folder
            raise
    finally:
        os.close(descriptor)
