"""The run folder: what lies where in it, how a run is made, found and held.

Knows the names of the files, not what stands in them, and nothing of torch or Ray.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from tuner.errors import UserError, suggestion

LONGEST_NAME = 120
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CREATED = re.compile(r"^created:[ \t]*['\"]?([^'\"\n]+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run: its folder, and where everything lies in it."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def settings_file(self) -> Path:
        return self.folder / "run.yaml"

    @property
    def journal_file(self) -> Path:
        return self.folder / "journal.jsonl"

    def leaderboard_file(self, suffix: str) -> Path:
        """`suffix` is parquet, csv or json."""
        return self.folder / f"leaderboard.{suffix.removeprefix('.')}"

    @property
    def optuna_file(self) -> Path:
        return self.folder / "optuna.journal"

    @property
    def search_folder(self) -> Path:
        """Ray Tune's own files."""
        return self.folder / "search"

    @property
    def predictions_folder(self) -> Path:
        return self.folder / "predictions"

    @property
    def checkpoints_folder(self) -> Path:
        """The newest checkpoints of the trials that run."""
        return self.folder / "checkpoints"

    @property
    def best_folder(self) -> Path:
        return self.folder / "best"

    @property
    def lock_file(self) -> Path:
        return self.folder / ".lock"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run; one that only just begins does not."""
        return any(os.path.isfile(file) for file in (self.settings_file, self.journal_file))

    @property
    def created(self) -> float:
        """Unix seconds: what run.yaml says, else the journal's first event, else the file's age."""
        return _created_in_settings(self) or _created_in_journal(self) or _age(self)


def _created_in_settings(run: Run) -> float | None:
    try:
        # Not parsed: a listing of many runs must stay quick, and a broken file must not stop it.
        with open(run.settings_file, encoding="utf-8", errors="replace") as file:
            found = _CREATED.search(file.read(4096))
        return datetime.fromisoformat(found.group(1).strip()).timestamp() if found else None
    except (OSError, ValueError):
        return None


def _created_in_journal(run: Run) -> float | None:
    try:
        with open(run.journal_file, encoding="utf-8", errors="replace") as file:
            return float(json.loads(file.readline(65536))["time"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _age(run: Run) -> float:
    for path in (run.settings_file, run.journal_file):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def check_name(name: str) -> str:
    """`name`, when a run may be called so. Raises UserError."""
    shown = name if len(name) <= 40 else name[:40] + "…"
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"the run name {shown!r} has {len(name)} characters; use at most {LONGEST_NAME}"
        )
    if not _NAME.fullmatch(name):
        raise UserError(
            f"the run name {shown!r} is no folder name; use letters, digits, '.', '_' and '-', "
            "a letter or digit first"
        )
    return name


def check_storage(storage: str | Path) -> Path:
    """The folder that holds the runs; it need not exist yet.

    Raises UserError when it is no folder of this machine, or nothing can be written there.
    """
    if "://" in str(storage):
        raise UserError(
            f"storage {without_credentials(str(storage))} is a URI; give a folder, "
            "such as one on a mounted disk"
        )
    folder = Path(os.path.expanduser(storage))
    nearest = folder
    try:
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        usable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except (OSError, ValueError) as error:
        raise UserError(f"storage {_short(storage)} cannot be used: {_reason(error)}") from None
    if not usable:
        what = "cannot be written" if nearest.is_dir() else "is no folder"
        raise UserError(f"storage {_short(storage)}: {nearest} {what}; choose another --storage")
    return folder


def create_run(storage: str | Path, task: str, name: str | None = None) -> Run:
    """Make a new run's folder: `name`, or `<task>-<YYYYmmdd-HHMMSS>`, with -2, -3 when taken.

    Raises UserError when `name` is taken or cannot be used.
    """
    folder = check_storage(storage)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name is not None:
            return _create_named(folder, check_name(name))
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(task).stem).strip("-._")[:80] or "run"
        return _create_fresh(folder, f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    except OSError as error:
        raise UserError(f"storage {_short(storage)} cannot be used: {_reason(error)}") from None


def check_free(storage: str | Path, name: str) -> None:
    """Raises UserError when `storage` holds something called `name` already."""
    folder = Path(os.path.expanduser(storage)) / name
    if os.path.lexists(folder):
        raise _taken(folder)


def _taken(folder: Path) -> UserError:
    return UserError(
        f"the run {folder.name} already exists in {folder.parent}; choose another --name, "
        f"or go on with it: tuner resume {shlex.quote(str(folder))}"
    )


def _create_named(storage: Path, name: str) -> Run:
    try:
        (storage / name).mkdir()
    except FileExistsError:
        raise _taken(storage / name) from None
    return Run(storage / name)


def _create_fresh(storage: Path, name: str) -> Run:
    count = 1
    while True:
        folder = storage / (name if count == 1 else f"{name}-{count}")
        try:
            folder.mkdir()
            return Run(folder)
        except FileExistsError:
            count += 1


def list_runs(storage: str | Path) -> list[Run]:
    """The runs under `storage`, the newest last; what is no run is passed over."""
    try:
        folders = [entry for entry in Path(os.path.expanduser(storage)).iterdir() if entry.is_dir()]
    except (OSError, ValueError):
        return []
    found = [run for run in map(Run, folders) if run.exists]
    return sorted(found, key=lambda run: (run.created, run.name))


def find_run(storage: str | Path, which: str | Path | None = None) -> Run:
    """A run by its name under `storage` or by its path; the newest when `which` is None.

    Raises UserError when there is none.
    """
    if which is None:
        runs = list_runs(storage)
        if not runs:
            raise UserError(f"there is no run in {_short(storage)}; start one: tuner tune")
        return runs[-1]
    which = str(which)
    candidates = [Path(os.path.expanduser(which))] if which.strip() else []
    if _NAME.fullmatch(which):
        candidates.insert(0, Path(os.path.expanduser(storage)) / which)
    for folder in candidates:
        if os.path.isdir(folder):
            # `.` and `..` are paths, too, and a run must know its name.
            run = Run(folder if folder.name and folder.name != ".." else folder.resolve())
            if not run.exists:
                raise UserError(f"{folder} is no run: it holds neither run.yaml nor journal.jsonl")
            return run
    near = suggestion(which, [run.name for run in list_runs(storage)])
    raise UserError(
        f"there is no run {_short(which)} in {_short(storage)}{near or '; give its name or path'}"
    )


@contextlib.contextmanager
def hold(run: Run) -> Iterator[None]:
    """Be the run's only driver while the block runs: an exclusive lock that ends with the process.

    Raises UserError when another process holds the run.
    """
    try:
        file = open(run.lock_file, "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"the run {run.name} cannot be written: {_reason(error)}") from None
    with file:
        if not _locked(file):
            file.seek(0)
            holder = file.read(64).strip()
            by = f"process {holder}" if holder else "another process"
            raise UserError(
                f"the run {run.name} is being driven by {by}; wait for it to end, or stop it"
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    """Whether the lock could be had. Whoever only looks holds it for an instant: try again."""
    for attempt in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.02 * attempt)
    return False


def is_held(run: Run) -> bool:
    """Whether a process drives the run now. The lock is looked at and at once let go."""
    try:
        with open(run.lock_file, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def without_credentials(text: str) -> str:
    """`text` with the user name and the password of a URI in it left out."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def _short(value: str | Path) -> str:
    text = without_credentials(str(value))
    text = text if len(text) <= 60 else text[:60] + "…"
    return text if text.strip() and text.isprintable() else repr(text)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
