"""A run in a store while it is driven: its working copy on this disk goes up as it changes.

Nothing can be appended in an object store, so the journal is written on the driver's disk and
copied up whole, `JOURNAL_EVERY` seconds after a line at the latest, plus the time that the copy
takes; all else follows more slowly, and everything before the driver ends. When the driver's host
is lost with its disk, the store's journal lacks its last `JOURNAL_EVERY` seconds, at most: trials
that were drawn then are drawn anew, reports and ends that came then are heard again. Checkpoints,
predictions and the logs of trials do not pass through here: whoever trains writes them into the
store. Knows files, and nothing of what stands in them, but that a journal has lines.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner import documents
from tuner.connections import patiently
from tuner.errors import TunerError, UserError
from tuner.runs import SCORES, Run, driven
from tuner.shelves import make_copy_folder
from tuner.stores import Store, is_same

JOURNAL_EVERY = 1.0
"""Seconds between two copies of the journal, at least; a new line waits no longer than that."""

FILES_EVERY = 5.0
"""Seconds between two looks at the other files of the run's folder."""

FOLDERS_EVERY = 30.0
"""Seconds between two looks into the folders in it."""

PATIENCE = 120.0
"""Seconds for which the end of a run waits for a store that does not answer."""

_LOOK = 0.2
_JOURNAL = "journal.jsonl"
_BEST = "best/"
_SCORES = f"{_BEST}{SCORES}"
"""The last file of an exported model to appear: who sees it sees all of the model."""
_THEIRS = ("checkpoints", "predictions", "logs")
"""Folders into which those who train write, in the store itself."""


def work_on(run: Run) -> Run:
    """The run to drive: of one in a store the working copy, whose folder is made."""
    run = driven(run)
    if run.uri is not None:
        make_copy_folder(run.folder)
    return run


def catch_up(run: Run) -> None:
    """Bring the working copy of a run to what its store holds, for its driver alone.

    A journal of this disk that goes on where the store's ends is kept: it is the run, and a driver
    that was killed left it behind. Otherwise the store's counts, and another one is put aside. A
    whole model of this disk that never came to lie in the store is kept, too.
    """
    store = run.store
    if store is None:
        return
    theirs, mine = _whole(store.read(_JOURNAL) or b""), _whole(_content(run.journal_file))
    ahead = len(mine) > len(theirs) and mine.startswith(theirs)
    if not ahead:
        if not theirs.startswith(mine):
            aside = f".{time.strftime('%Y%m%d-%H%M%S')}.{_JOURNAL}"
            documents.write_bytes(run.folder / aside, mine)
        if theirs:
            documents.write_bytes(run.journal_file, theirs)
    _learn_told(run, store)
    if not (ahead and run.settings_file.exists()) and store.entry(run.settings_file.name):
        store.refresh(run.settings_file.name, run.settings_file)
    scores = _content(run.folder / _SCORES)
    newer = scores and mine.startswith(theirs) and scores != store.read(_SCORES)
    if not newer and store.entries(run.best_folder.name):
        store.refresh(run.best_folder.name, run.best_folder)


def _learn_told(run: Run, store: Store) -> None:
    """What trackers were told of stands in a name a line: all names of here and there."""
    for entry in store.entries(run.tracked_folder.relative_to(run.folder).as_posix()):
        file = run.folder / entry.name
        names = [*(store.read(entry.name) or b"").split(), *_content(file).split()]
        documents.write_bytes(file, b"".join(name + b"\n" for name in dict.fromkeys(names)))


def copy_to(run: Run, folder: Path) -> Run:
    """Copy a run from its store to `folder`/NAME, as a run of this disk; one that lies there is
    brought up to date. Raises UserError when what lies there is not the same run."""
    store = run.store
    if store is None:
        return run
    copy = Run(folder / run.name)
    theirs, mine = store.read(_JOURNAL) or b"", _content(copy.journal_file)
    if copy.folder.exists() and not (copy.exists and theirs.startswith(_whole(mine))):
        raise UserError(
            f"{copy.folder} is not a copy of {run.uri}; move it out of the way, or work elsewhere"
        )
    for name in sorted({entry.name.partition("/")[0] for entry in store.entries()}):
        if not name.startswith(".") and name not in ("checkpoints", "lease.json"):
            store.refresh(name, copy.folder / name)
    return copy


@contextlib.contextmanager
def mirrored(
    run: Run,
    lease_is_ours: Callable[[], bool],
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[None]:
    """Copy the run's working copy up to its store while the block runs, and all of it at the end.

    Nothing is written while `lease_is_ours` says no. `note` is told when the store takes no files,
    and when it does again. Raises TunerError when the end of the run cannot be copied. Does nothing
    for a run that lies in no store.
    """
    if run.store is None:
        yield
        return
    mirror = _Mirror(run, run.store, lease_is_ours, note)
    try:
        yield
    except BaseException as error:
        # Whoever is in a hurry gets one try with the journal; the working copy has it all.
        with contextlib.suppress(TunerError):
            if isinstance(error, Exception):
                mirror.end(PATIENCE / 4 if lease_is_ours() else 0.0)
            else:
                mirror.leave()
        raise
    mirror.end(PATIENCE)


class _Mirror:
    """Two threads: one for the journal, which nothing may hold up, one for the rest."""

    def __init__(
        self,
        run: Run,
        store: Store,
        lease_is_ours: Callable[[], bool],
        note: Callable[[str], None],
    ) -> None:
        self._run = run
        self._store = store
        self._ours = lease_is_ours
        self._note = note
        self._sent: dict[str, tuple[int, int]] = {}
        self._trouble: set[str] = set()
        self._troubled = threading.Lock()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_journal, name="mirror-journal", daemon=True),
            threading.Thread(target=self._keep_files, name="mirror-files", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def end(self, patience: float) -> None:
        """Copy what is left. Raises TunerError when that fails for so many seconds."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        try:
            patiently(self._send_all, patience)
        except TunerError as error:
            raise TunerError(
                f"the end of the run {self._run.name} is not in its store: {error}; it lies in "
                f"{self._run.folder} and goes up with: tuner resume {self._run.uri}"
            ) from error

    def leave(self) -> None:
        """Copy the last of the journal, if that goes at once."""
        self._ending.set()
        self._threads[0].join()
        if self._ours():
            self._send_journal()

    def _send_all(self) -> None:
        if not self._ours():
            raise TunerError("the run's lease there cannot be read, or is another driver's")
        self._send_journal()
        self._send_files(folders=True)

    def _keep_journal(self) -> None:
        began = 0.0
        while not self._ending.wait(_LOOK):
            if time.monotonic() - began >= JOURNAL_EVERY and self._has_changed(_JOURNAL):
                began = time.monotonic()
                self._try(self._send_journal)

    def _keep_files(self) -> None:
        self._try(self._know_best)
        into_folders = time.monotonic() + FOLDERS_EVERY
        while True:
            due = time.monotonic() >= into_folders
            self._try(functools.partial(self._send_files, folders=due))
            if due:
                into_folders = time.monotonic() + FOLDERS_EVERY
            if self._ending.wait(FILES_EVERY):
                return

    def _try(self, send: Callable[[], None]) -> None:
        """Send what the lease allows. A store that fails is tried again at the next look."""
        trouble = None
        try:
            if not self._ours():
                return
            send()
        except TunerError as error:
            trouble = str(error)
        me = threading.current_thread().name
        with self._troubled:
            before = bool(self._trouble)
            (self._trouble.add if trouble else self._trouble.discard)(me)
            if trouble and not before:
                self._note(f"the run goes on here while its store takes no files: {trouble}")
            elif before and not self._trouble:
                self._note(f"{self._run.uri} takes files again")

    def _send_journal(self) -> None:
        mark = self._mark(_JOURNAL)
        content = _whole(_content(self._run.journal_file))
        if mark is not None and self._sent.get(_JOURNAL) != mark:
            self._store.write(_JOURNAL, content)
            self._sent[_JOURNAL] = mark

    def _send_files(self, folders: bool) -> None:
        marks = {name: self._mark(name) for name in self._names(folders)}
        changed = {name for name, mark in marks.items() if mark and self._sent.get(name) != mark}
        best = {name for name in changed if name.startswith(_BEST)}
        if best:
            self._store.remove(_SCORES)
            self._sent.pop(_SCORES, None)
        self._send(changed - {_SCORES}, marks)
        if best:
            self._forget_old(marks)
            self._send({_SCORES} & set(marks), marks)

    def _send(self, names: set[str], marks: dict[str, tuple[int, int] | None]) -> None:
        self._store.send_files({name: self._run.folder / name for name in sorted(names)})
        self._sent |= {name: mark for name in names if (mark := marks[name])}

    def _forget_old(self, here: dict[str, tuple[int, int] | None]) -> None:
        """Remove the files of an older model that the new one does not have."""
        for entry in self._store.entries(_BEST):
            if entry.name not in here:
                self._store.remove(entry.name)

    def _know_best(self) -> None:
        """A model that came from the store as it is need not go up again."""
        for entry in self._store.entries(_BEST):
            mark = self._mark(entry.name)
            if mark is not None and is_same(self._run.folder / entry.name, entry):
                self._sent[entry.name] = mark

    def _names(self, folders: bool) -> list[str]:
        """What there is to send: files, and those in folders with them. What is hidden is not."""
        found: list[str] = []
        root = self._run.folder
        for path, below, files in os.walk(root):
            here = Path(path).relative_to(root)
            top = here == Path()
            below[:] = [
                name
                for name in below
                if folders and not name.startswith(".") and not (top and name in _THEIRS)
            ]
            found += [(here / name).as_posix() for name in files if not name.startswith(".")]
        return [name for name in found if name != _JOURNAL]

    def _has_changed(self, name: str) -> bool:
        return self._mark(name) not in (None, self._sent.get(name))

    def _mark(self, name: str) -> tuple[int, int] | None:
        """What tells one state of a file from the next; None when it is not there."""
        try:
            found = os.stat(self._run.folder / name)
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns


def _content(path: Path) -> bytes:
    """A file's content, empty where there is no such file. Raises TunerError."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise TunerError(f"{path} cannot be read ({error.strerror})") from error


def _whole(journal: bytes) -> bytes:
    """A journal without a torn last line."""
    return journal[: journal.rfind(b"\n") + 1]
