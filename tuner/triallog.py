"""A trial's log: what its process said while it trained, a file a trial that had something to say.

Warnings, the libraries' log records, what Python writes to stderr, and tracebacks. A log goes on
over restarts; one that tells of no trouble is removed when its trial ends well. Knows nothing of
training; writing a log never fails a trial.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from tuner.credentials import masked
from tuner.errors import CrewLost, Preempted, TunerError
from tuner.stores import is_uri, open_store

LIMIT = 1 << 20
"""Bytes of a log, about: the oldest half of one that grows longer is dropped."""

SEND_EVERY = 10.0
"""Seconds between two copies of a growing log to an object store, where nothing is appended."""

Outcome = Literal["finished", "stopped", "left", "failed"]

_LONGEST = 64 << 10  # of one entry
_TROUBLE = re.compile(rb"^\S+ (?:WARNING|ERROR|CRITICAL) ", re.MULTILINE)
_ENDED = b" INFO ended: "
_CUT = b"... (the log was longer)\n"


@contextlib.contextmanager
def recording(where: str | None, title: str) -> Iterator[TrialLog]:
    """Keep the log of one attempt at a trial in the file or at the URI `where`; None keeps none.

    The block says how the trial ended by `log.end`; an exception that leaves it is logged, and then
    the trial has not ended. Whatever this process says meanwhile is taken for the trial's.
    """
    if where is None:
        yield TrialLog(None)
        return
    log = _open(where)
    log.say(f"{title} begins on {socket.gethostname()}, process {os.getpid()}")
    try:
        with _listening(log):
            yield log
    except BaseException as error:
        log.break_off(error)
        raise
    finally:
        log.end("left")  # unless it has ended already


class TrialLog:
    """A log that is written; without a path, nothing is."""

    def __init__(
        self, path: Path | None, before: bytes = b"", courier: _Courier | None = None
    ) -> None:
        self._path = path
        self._courier = courier
        self._trouble = bool(_TROUBLE.search(before))
        self._lock = threading.RLock()
        self._file: int | None = None
        if path is None:
            return
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def say(self, text: str, level: str = "INFO") -> None:
        """Write an entry; its further lines are indented."""
        if self._file is None:
            return
        line = _entry(text, level)
        with self._lock, contextlib.suppress(OSError):
            self._trouble = self._trouble or bool(_TROUBLE.match(line))
            os.write(self._file, line)
            if os.fstat(self._file).st_size > LIMIT:
                content = os.pread(self._file, 2 * LIMIT, 0)
                os.ftruncate(self._file, 0)
                os.write(self._file, _newest(content))

    def failed(self, error: BaseException) -> None:
        """Write an error with its traceback."""
        if self._file is not None:
            self.say("".join(traceback.format_exception(error)).rstrip(), "ERROR")

    def break_off(self, error: BaseException) -> None:
        """The attempt ended, and the trial did not."""
        if isinstance(error, Preempted):
            self.say(str(error))
        elif isinstance(error, CrewLost) and error.__cause__ is None:
            self.say(str(error), "WARNING")
        elif isinstance(error, Exception):
            self.failed(error)

    def end(self, outcome: Outcome) -> None:
        """Write how the attempt ended, and remove a log that is not worth keeping; a log that has
        ended takes nothing more."""
        if self._file is None or self._path is None:
            return
        self.say(f"ended: {outcome}")
        well = outcome in ("finished", "stopped") and not self._trouble
        with self._lock:
            os.close(self._file)
            self._file = None
        if self._courier is not None:
            self._courier.finish(keep=not well)
        elif well:
            with contextlib.suppress(OSError):
                self._path.unlink()


def _open(where: str) -> TrialLog:
    if not is_uri(where):
        path = Path(where)
        before = b""
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            before = _continued(content)
            if before != content:
                path.write_bytes(before)
        return TrialLog(path, before)
    try:
        descriptor, name = tempfile.mkstemp(prefix="tuner-log-")
    except OSError:
        return TrialLog(None)
    os.close(descriptor)
    courier = _Courier(where, Path(name))
    courier.start()
    return TrialLog(Path(name), courier=courier)


def _continued(before: bytes) -> bytes:
    """The log of earlier attempts, ready for another one; a last one that died is told of."""
    if not before:
        return before
    last = before.rstrip(b"\n").rpartition(b"\n")[2]
    if _ENDED not in last:
        before += b"" if before.endswith(b"\n") else b"\n"
        before += _entry("the attempt before broke off: its process died", "WARNING")
    return _newest(before) if len(before) > LIMIT // 2 else before


def _newest(content: bytes) -> bytes:
    """The newest half of a full log."""
    kept = content[-LIMIT // 2 :]
    return _CUT + kept[kept.find(b"\n") + 1 :]


def _entry(text: str, level: str) -> bytes:
    if len(text) > _LONGEST:  # its end tells most: a traceback's error stands there
        text = f"{text[: _LONGEST // 4]}\n...\n{text[-_LONGEST // 2 :]}"
    stamp = datetime.now().astimezone().isoformat(timespec="seconds")
    lines = [
        "".join(letter if letter.isprintable() else " " for letter in line).rstrip()
        for line in masked(text).splitlines()
    ] or [""]
    return (f"{stamp} {level} " + "\n    ".join(lines) + "\n").encode("utf-8", "replace")


class _Courier(threading.Thread):
    """Copies a growing log to a store, behind what earlier attempts left there."""

    def __init__(self, uri: str, path: Path) -> None:
        super().__init__(name="trial-log", daemon=True)
        self._uri = uri
        self._path = path
        self._ended = threading.Event()
        self._keep = True

    def finish(self, keep: bool) -> None:
        """The log is whole; one to be kept is in the store when this returns."""
        self._keep = keep
        self._ended.set()
        if keep:
            self.join()

    def run(self) -> None:
        try:
            self._carry()
        except (OSError, TunerError):
            pass  # a store that does not answer must not fail the trial
        finally:
            self._path.unlink(missing_ok=True)

    def _carry(self) -> None:
        folder, _, name = self._uri.rpartition("/")
        store = open_store(folder)
        before: bytes | None = None
        sent = b""
        last = False
        while not last:
            last = self._ended.wait(SEND_EVERY)
            try:
                if before is None:
                    before = _continued(store.read(name) or b"")
                if last and not self._keep and not _TROUBLE.search(before):
                    if before or sent:
                        store.remove(name)
                    return
                content = before + self._path.read_bytes()
                if content != sent:
                    store.write(name, content)
                    sent = content
            except TunerError:
                if last:
                    raise


class _Records(logging.Handler):
    """Hands log records to a trial's log."""

    def __init__(self, log: TrialLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = f"{record.name}: {record.getMessage()}"
            if record.exc_info and record.exc_info[1] is not None:
                text += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
        except Exception:  # a record whose arguments do not fit its message
            text = f"{record.name}: {record.msg}"
        self._log.say(text, record.levelname)


class _Tee:
    """A stream that also writes whole lines to a trial's log."""

    def __init__(self, stream: TextIO, log: TrialLog) -> None:
        self._stream = stream
        self._log = log
        self._line = ""

    def write(self, text: str) -> int:
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            shown = line.rstrip().rpartition("\r")[2]  # a progress bar's last state
            if shown.strip():
                self._log.say(shown, "STDERR")
        self._line = self._line[-_LONGEST:]
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _listening(log: TrialLog) -> Iterator[None]:
    """Let the log hear what this process says."""
    records = _Records(log)
    # Beside the root, whoever keeps its records to itself, as transformers does.
    known = list(logging.root.manager.loggerDict.values())
    heard: list[logging.Logger] = [logging.root]
    heard += [it for it in known if isinstance(it, logging.Logger) and not it.propagate]
    for logger in heard:
        logger.addHandler(records)
    before, tee = sys.stderr, _Tee(sys.stderr, log)
    sys.stderr = cast(TextIO, tee)
    try:
        with warnings.catch_warnings():  # which also lets every trial warn anew

            def show(
                message: Warning | str, category: type[Warning], file: str, line: int, *_: Any
            ) -> None:
                log.say(f"{file}:{line}: {category.__name__}: {message}", "WARNING")

            warnings.showwarning = cast(Any, show)
            yield
    finally:
        if cast(Any, sys.stderr) is tee:
            sys.stderr = before
        for logger in heard:
            logger.removeHandler(records)
