"""The run's journal: one JSON line an event, appended and flushed; read back, it is the run.

Knows nothing of Ray, of torch or of how a trial is chosen: it records, repeats and repairs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from tuner.collection import collection_paused
from tuner.credentials import masked
from tuner.disks import MEND
from tuner.errors import TunerError, UserError
from tuner.history import DONE, Direction, History, Record, Score, Session, Status, Stint
from tuner.stores import is_uri

__all__ = [
    "DONE",
    "Direction",
    "History",
    "Journal",
    "Part",
    "Record",
    "Score",
    "Session",
    "Status",
    "Stint",
    "read_history",
    "read_part",
]

_WORDS = frozenset({"error", "warning", "text"})
"""Fields that say what somebody else said, which may hold what must not be shown."""

_SYNCED = frozenset({"session", "drawn", "lost", "finished", "stopped", "failed", "ended"})


class Journal:
    """An open journal: `append` writes an event and takes it into `history`.

    One process appends at a time (the run's lease sees to that); its threads may share the journal.
    """

    def __init__(
        self, path: Path, descriptor: int, history: History, check: Callable[[], None]
    ) -> None:
        self.path = path
        self.history = history
        self.check = check
        self._descriptor = descriptor
        self._broken: str | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, check: Callable[[], None] = lambda: None) -> Journal:
        """Open a journal for appending, and create it when there is none.

        A torn last line is cut off; every byte before it stays. `check` is called before every
        write, and raises when this process may no longer write. Raises UserError when another line
        is broken or the file cannot be opened.
        """
        path = Path(path)
        content = _content(path, str(path)) or b""
        whole = _whole(content)
        history = _history(str(path), content[:whole])
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(
                f"{path}: the journal cannot be written ({error.strerror}); "
                "make the run's folder writable"
            ) from error
        if whole < len(content):
            os.ftruncate(descriptor, whole)
            os.fsync(descriptor)
        return cls(path, descriptor, history, check)

    def append(self, event: str, **fields: Any) -> None:
        """Write an event, with `time` (now, unix seconds) unless it is given.

        NaN and infinity are written as null; numpy's scalars as the numbers they are. Errors,
        warnings and notes are written without what is secret in them. When this
        returns, the line has left the process; events that decide a trial's fate are on the disk.
        Raises TunerError when the line cannot be written; the journal then ends as it did before,
        and takes nothing more: `history` is ahead of it.
        """
        fields.setdefault("time", time.time())
        plain = {"event": event, **{name: _plain(value) for name, value in fields.items()}}
        for name in _WORDS & plain.keys():
            plain[name] = plain[name] and masked(str(plain[name]))
        line = json.dumps(plain, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._lock:
            if self._broken is not None:
                raise TunerError(self._broken)
            self.check()
            self.history.apply(plain)  # first: an event that it refuses must not reach the file
            try:
                self._write(line, sync=event in _SYNCED)
            except OSError as error:
                self._broken = (
                    f"{self.path}: cannot write the journal ({error.strerror}); {MEND}, then go on "
                    f"with: tuner resume {shlex.quote(str(self.path.parent))}"
                )
                raise TunerError(self._broken) from error

    def _write(self, line: bytes, sync: bool) -> None:
        end = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(line):  # a full disk may take a part only
                written += os.write(self._descriptor, line[written:])
            if sync:
                os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                os.ftruncate(self._descriptor, end)
            raise

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_history(path: Path) -> History:
    """Read a journal, also one that is being written; no file is an empty history.

    A torn last line is passed over. Raises UserError naming file and line when another is broken.
    """
    content = _content(path, str(path)) or b""
    return _history(str(path), content[: _whole(content)])


@dataclass(frozen=True)
class Part:
    """What is whole of a journal: `history`, up to a line that is broken. `broken` names that line,
    or says why nothing can be read. `torn` tells that the last line has no end, or has not been
    written to it yet; `missing` that there is no file."""

    history: History
    broken: str | None = None
    torn: bool = False
    missing: bool = False


def read_part(
    path: Path,
    name: str | None = None,
    heard: Callable[[Mapping[str, Any]], None] | None = None,
) -> Part:
    """Read a journal, which people know by `name`, as far as it can be read; raises nothing.

    Every event that the history has taken in is `heard`.
    """
    history = History()
    where = name or str(path)
    try:
        content = _content(Path(path), where)
    except UserError as error:
        return Part(history, str(error))
    if content is None:
        return Part(history, missing=True)
    whole = _whole(content)
    try:
        _take(history, where, content[:whole], heard)
    except UserError as error:
        return Part(history, f"{error}; what stands before it is shown")
    return Part(history, torn=whole < len(content))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):  # a numpy scalar
        return _plain(value.item())
    raise TypeError(f"a journal cannot hold a {type(value).__name__}: {value!r}")


def _content(path: Path, where: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{where}: the journal cannot be read ({error.strerror}); make it a file that this "
            "user may read, or name another run"
        ) from error


def _whole(content: bytes) -> int:
    """The length without a torn last line: one that lacks its end or is no JSON."""
    end = content.rfind(b"\n") + 1
    if end < len(content) or not end:
        return end
    start = content.rfind(b"\n", 0, end - 1) + 1
    return end if _event(content[start:end]) is not None else start


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _history(where: str, content: bytes) -> History:
    history = History()
    _take(history, where, content)
    return history


def _take(
    history: History,
    where: str,
    content: bytes,
    heard: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    with collection_paused():
        for number, event in enumerate(_events(where, content), start=1):
            try:
                history.apply(event)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                raise _broken(where, number, reason) from error
            if heard is not None:
                heard(event)


def _events(where: str, content: bytes) -> Iterator[dict[str, Any]]:
    lines = content.splitlines()
    try:  # all at once takes half the time of line by line
        events = json.loads(b"[" + b",".join(lines) + b"]")
        whole = len(events) == len(lines) and all("event" in event for event in events)
    except (ValueError, TypeError, RecursionError):
        whole = False
    if whole:
        yield from cast(list[dict[str, Any]], events)
        return
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is None:
            raise _broken(where, number, "not a JSON object with an event")
        yield event


def _broken(where: str, line: int, reason: str) -> UserError:
    how = "" if is_uri(where) else f": sed -i '{line},$d' {shlex.quote(where)}"
    return UserError(
        f"{where}:{line}: broken line ({reason}); restore the file, or cut it off before this line"
        f"{how}"
    )
