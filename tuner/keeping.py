"""A run on a disk that fails it: what is found out before anything is trained, and what is said of
what comes later.

Knows the run's folder and its disk; nothing of what is written there.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from tuner.disks import MEND, refusal, refused_place
from tuner.errors import Unwritable, UserError
from tuner.runs import Run
from tuner.shelves import cache_folder, free_bytes
from tuner.stores import is_uri


def check_writable(run: Run) -> None:
    """Raises UserError when a run that is to go on lies where this user, or nobody, may write."""
    folders = (
        run.folder,
        run.best_folder,
        run.predictions_folder,
        run.checkpoints_folder,
        run.logs_folder,
    )
    places = [(folder, os.W_OK | os.X_OK) for folder in folders] + [(run.journal_file, os.W_OK)]
    for place, right in places:
        if place.exists() and not os.access(place, right):
            raise UserError(
                f"{place} cannot be written, and the run {run.name} goes on there; give this user "
                "the right to write, or work on a copy of the run"
            )


def check_room(storage: str, needed: int) -> None:
    """Raises UserError when fewer than `needed` bytes are free where a run is to be kept: in a
    folder, or, on its way to a URI, among this user's caches."""
    if (lacking := _lacking(storage, needed)) is not None:
        raise UserError(
            f"{lacking} for a checkpoint and the exported model; free some, or choose another "
            "--storage"
        )


def check_room_left(run: Run, needed: int) -> None:
    """Raises Unwritable when `needed` bytes for the exported model are no longer free."""
    if (lacking := _lacking(str(run.folder), needed)) is not None:
        raise Unwritable(
            f"{lacking} for the exported model; free some, then go on with: "
            f"tuner resume {shlex.quote(run.where)}"
        )


def _lacking(storage: str, needed: int) -> str | None:
    place = str(cache_folder()) if is_uri(storage) else storage
    free = free_bytes(place)
    if free is None or free >= needed:
        return None
    return f"{place} has {_mebibytes(free)} free, and {_mebibytes(needed)} are needed"


def room_note(running: int, free: int | None) -> str | None:
    """What to know where a run with all its checkpoints may come to need more than is `free`."""
    if free is None or free >= running:
        return None
    return (
        f"{_mebibytes(free)} are free, and with a checkpoint of every running trial up to "
        f"{_mebibytes(running)} may be needed; where one does not fit, its trial goes on without"
    )


def _mebibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


@contextmanager
def kept(run: Run, fresh: bool = False) -> Iterator[None]:
    """While the block drives the run: a disk that takes no more ends it in Unwritable, whose one
    line names the path and how to go on. Of a `fresh` run that has not begun nothing is left, and
    the error is the user's."""
    try:
        yield
    except BaseException as error:
        said = refusal(error) if isinstance(error, OSError) else None
        gone = fresh and not run.exists
        if gone:
            shutil.rmtree(run.folder, ignore_errors=True)
        if said is None:
            raise
        place = refused_place(error) or run.folder
        if gone:
            raise UserError(
                f"{place} cannot be written ({said}); {MEND}, or choose another --storage"
            ) from error
        raise Unwritable(
            f"{place} cannot be written ({said}); what the run has is kept: {MEND}, then go on "
            f"with: tuner resume {shlex.quote(run.where)}"
        ) from error
