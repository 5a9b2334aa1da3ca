"""The run folder: what lies where in it, how a run is made and found.

Knows the names of the files, not what stands in them, and nothing of torch or Ray.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuner.errors import UserError, suggestion
from tuner.shelves import Shelf, shelf, shortened, working_copy
from tuner.stores import Store, is_uri, join, open_store

SCORES = "metrics.json"
EVALUATION = "evaluation.json"
"""The final model's evaluation, beside it in `best/`. It holds texts of rows: it stays there."""

LONGEST_NAME = 120
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FILES = ("run.yaml", "journal.jsonl")
_CREATED = re.compile(r"^created:[ \t]*['\"]?([^'\"\n]+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run: its folder, and where everything lies in it.

    With a `uri` the run lies there, and the folder is a copy on this disk: the one that it is
    driven in, or what a reader has brought down.
    """

    folder: Path
    uri: str | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def where(self) -> str:
        """What a person names the run by: its URI or its folder."""
        return self.uri or str(self.folder)

    @property
    def store(self) -> Store | None:
        """Where a run with a URI lies."""
        return None if self.uri is None else open_store(self.uri)

    def place(self, name: str) -> str:
        """What is called `name` in the run, as a path or a URI that any host can use."""
        return join(self.uri or str(self.folder.absolute()), name)

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
    def comparisons_file(self) -> Path:
        """What is known of the scores' errors, and of who is ahead by chance alone."""
        return self.folder / "comparisons.json"

    @property
    def optuna_file(self) -> Path:
        return self.folder / "optuna.journal"

    @property
    def search_folder(self) -> Path:
        """Ray Tune's own files, and TensorBoard's events."""
        return self.folder / "search"

    @property
    def tracked_folder(self) -> Path:
        """A file a tracker: the names of the trials that it was told of, a line each."""
        return self.search_folder / "tracked"

    @property
    def predictions_folder(self) -> Path:
        return self.folder / "predictions"

    @property
    def checkpoints_folder(self) -> Path:
        """The newest checkpoints of the trials that run."""
        return self.folder / "checkpoints"

    @property
    def logs_folder(self) -> Path:
        """The logs of trials that had something to say, a file a trial."""
        return self.folder / "logs"

    @property
    def best_folder(self) -> Path:
        return self.folder / "best"

    @property
    def lock_file(self) -> Path:
        """Locked for an instant by whoever takes or ends the run's lease."""
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
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
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


def check_storage(storage: str | Path) -> None:
    """Whether runs can be kept in `storage`, a folder, which need not exist yet, or a URI.

    Raises UserError when nothing can be written there. In a store that is tried.
    """
    shelf(storage).check()


def create_run(storage: str | Path, task: str, name: str | None = None) -> Run:
    """Make a new run's folder: `name`, or `<task>-<YYYYmmdd-HHMMSS>`, with -2, -3 when taken.

    In a store nothing is made: a run is there once its first file is. Raises UserError when `name`
    is taken or cannot be used.
    """
    kept = shelf(storage)
    kept.check()
    if name is not None:
        if kept.holds(check_name(name)):
            raise _taken(kept, name)
        names = iter([name])
    else:
        names = filter(lambda fresh: not kept.holds(fresh), _fresh_names(task))
    for free in names:
        try:
            return Run(kept.make(free), kept.uri(free))
        except FileExistsError:
            continue  # another driver was quicker
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"storage {kept} cannot be used: {reason}") from None
    raise _taken(kept, str(name))


def _fresh_names(task: str) -> Iterator[str]:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(task).stem).strip("-._")[:80] or "run"
    name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield name
    for count in itertools.count(2):
        yield f"{name}-{count}"


def check_free(storage: str | Path, name: str) -> None:
    """Raises UserError when `storage` holds something called `name` already."""
    kept = shelf(storage)
    if kept.holds(name):
        raise _taken(kept, name)


def _taken(kept: Shelf, name: str) -> UserError:
    return UserError(
        f"the run {name} already exists in {kept}; choose another --name, or go on with it: "
        f"tuner resume {shlex.quote(kept.where(name))}"
    )


def list_runs(storage: str | Path) -> list[Run]:
    """The runs under `storage`, the newest last; what is no run is passed over.

    Of runs in a store run.yaml and the journal are at hand; `bring` gets the rest.
    """
    return _runs(shelf(storage), _FILES)


def _runs(kept: Shelf, files: tuple[str, ...]) -> list[Run]:
    names = kept.names()
    folders = zip(names, kept.at_hand(names, files), strict=True)
    found = [run for name, folder in folders if (run := Run(folder, kept.uri(name))).exists]
    return sorted(found, key=lambda run: (run.created, run.name))


def find_run(storage: str | Path, which: str | Path | None = None) -> Run:
    """A run by its name under `storage`, by its path or URI; the newest when `which` is None.

    Of a run in a store run.yaml and the journal are at hand; `bring` gets the rest. Raises
    UserError when there is none.
    """
    kept = shelf(storage)
    if which is None:
        runs = _runs(kept, _FILES[:1]) or _runs(kept, _FILES)
        if not runs:
            raise UserError(f"there is no run in {kept}; start one: tuner tune")
        return runs[-1] if runs[-1].uri is None else _stored(shelf(storage), runs[-1].name)
    which = str(which)
    if is_uri(which):
        open_store(which)  # whole: a part of a password would not be known as one
        above, _, name = which.rstrip("/").rpartition("/")
        return _stored(shelf(above), name)
    if is_uri(storage) and _NAME.fullmatch(which) and which in kept.names():
        return _stored(kept, which)
    candidates = [Path(os.path.expanduser(which))] if which.strip() else []
    if _NAME.fullmatch(which) and not is_uri(storage):
        candidates.insert(0, Path(kept.where(which)))
    for folder in candidates:
        if os.path.isdir(folder):
            # `.` and `..` are paths, too, and a run must know its name.
            run = Run(folder if folder.name and folder.name != ".." else folder.resolve())
            if not run.exists:
                raise _no_run(run)
            return run
    raise _nowhere(kept, which)


def _stored(kept: Shelf, name: str) -> Run:
    (folder,) = kept.at_hand([name], _FILES)
    run = Run(folder, kept.uri(name))
    # A driver that died at once may have left its working copy only.
    if run.exists or driven(run).exists:
        return run
    raise _no_run(run) if kept.holds(name) else _nowhere(kept, name)


def _nowhere(kept: Shelf, which: str) -> UserError:
    near = suggestion(which, kept.names()) or "; give its name, its path or its URI"
    return UserError(f"there is no run {shortened(which)} in {kept}{near}")


def _no_run(run: Run) -> UserError:
    return UserError(f"{run.where} is no run: it holds neither run.yaml nor journal.jsonl")


def bring(run: Run, name: str) -> bool:
    """Have the file or the folder `name` of the run at hand; False when it has none.

    What lies in a driver's own copy of a run in a store is the newest there is, and stays: the
    store may not have it yet.
    """
    here, store = run.folder / name, run.store
    if store is None or (run.folder == driven(run).folder and here.exists()):
        return here.exists()
    return store.refresh(name, here)


def driven(run: Run) -> Run:
    """The run as its driver has it: one in a store in its working copy on this disk."""
    return run if run.uri is None else Run(working_copy(run.uri), run.uri)
