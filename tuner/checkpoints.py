"""A trial's newest checkpoint: where it lies, when it counts, and what is kept beside the weights.

Knows folders, URIs and JSON; the Trainer writes the weights. In a folder a checkpoint counts once
it has its final name, which it gets by one rename after everything in it is on disk; in a store,
once its progress is there, which goes up last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tuner.connections import patiently
from tuner.disks import refusal, refused_place
from tuner.errors import TunerError
from tuner.hyperparameters import Value
from tuner.stores import Store, is_uri, join, open_store, write_file

PREFIX = "checkpoint-"
WRITING = "writing"
PROGRESS = "tuner.json"
BOUND = "most-rows.json"


@dataclass(frozen=True)
class Progress:
    """How far a trial was when its checkpoint was written.

    `most` is the bound on rows a worker a pass that running out of memory has left, `loss_sums` the
    training loss since the last report, one sum a rank.
    """

    configuration: dict[str, Value]
    workers: int
    step: int
    total_steps: int
    most: int | None = None
    loss_sums: list[float] = field(default_factory=list)
    loss_steps: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    total_seconds: float = 0.0

    def belongs_to(self, configuration: dict[str, Value], workers: int, steps: int) -> bool:
        """Whether the trial at hand can go on from here, to the very end it would have had."""
        mine = (self.configuration, self.workers, self.total_steps)
        return mine == (configuration, workers, steps)


def keep(checkpoints: str, progress: Progress, write: Callable[[str], None]) -> str | None:
    """Have `write` fill an empty folder, and make what it leaves the trial's newest checkpoint.

    Returns None, or why the disk or the store did not take it. Training need not end for that: the
    checkpoint before, if any, is still the newest.
    """
    try:
        write(writing_folder(checkpoints))
        publish(checkpoints, progress)
        return None
    except TunerError as error:
        why = str(error)
    except Exception as error:
        said = refusal(error)
        if said is None:
            raise
        why = f"{refused_place(error) or checkpoints} cannot be written ({said})"
    shutil.rmtree(_here(checkpoints) / WRITING, ignore_errors=True)
    return f"no checkpoint is kept at step {progress.step}: {why}"


def writing_folder(checkpoints: str) -> str:
    """An empty folder into which the next checkpoint is written."""
    folder = _here(checkpoints) / WRITING
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return str(folder)


def publish(checkpoints: str, progress: Progress) -> None:
    """Make the checkpoint in the writing folder the trial's newest, and drop the one before.

    Raises TunerError or OSError where it cannot be; the one before then stays the newest.
    """
    name = f"{PREFIX}{progress.step}"
    written = _here(checkpoints) / WRITING / name
    told = json.dumps(asdict(progress))
    if is_uri(checkpoints):
        try:
            _send(open_store(checkpoints), written, name, told)
        finally:
            shutil.rmtree(_here(checkpoints), ignore_errors=True)
        return
    (written / PROGRESS).write_text(told)
    for path in [*written.rglob("*"), written]:
        _sync(path)
    final = Path(checkpoints) / name
    shutil.rmtree(final, ignore_errors=True)
    written.rename(final)
    _sync(Path(checkpoints))
    for leftover in Path(checkpoints).glob(f"{PREFIX}*"):
        if leftover != final:
            shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(Path(checkpoints) / WRITING, ignore_errors=True)


def _send(store: Store, written: Path, name: str, told: str) -> None:
    store.remove(name)  # what an attempt before left of it, if anything
    store.send(written, name)
    store.write(f"{name}/{PROGRESS}", told.encode())
    for older in store.folders():
        if older.startswith(PREFIX) and older != name:
            store.remove(older)


def _here(checkpoints: str) -> Path:
    """Where this process writes a checkpoint before it counts."""
    if not is_uri(checkpoints):
        return Path(checkpoints)
    code = hashlib.sha256(checkpoints.encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"tuner-{os.getpid()}-{code}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def newest(checkpoints: str | None) -> tuple[str, Progress] | None:
    """Where the newest checkpoint lies, and its progress; None when none can be read."""
    if checkpoints is None:
        return None
    try:
        names = _names(checkpoints)
    except TunerError as error:
        warnings.warn(f"the trial begins anew: {error}", stacklevel=2)
        return None
    found = [name for name in names if name[len(PREFIX) :].isdigit() and name.startswith(PREFIX)]
    for name in sorted(found, key=lambda name: -int(name[len(PREFIX) :])):
        told = _read(join(checkpoints, name), PROGRESS)
        with contextlib.suppress(ValueError, TypeError):
            return join(checkpoints, name), Progress(**json.loads(told or ""))
    return None


def at_hand(checkpoint: str, folder: str) -> str:
    """The checkpoint's folder on this host: where it lies, or `folder`, into which one in a store
    is then copied."""
    if is_uri(checkpoint):
        store = open_store(checkpoint)
        patiently(lambda: store.fetch("", Path(folder)))
        return folder
    return checkpoint


def _names(checkpoints: str) -> list[str]:
    if is_uri(checkpoints):
        return patiently(open_store(checkpoints).folders)
    return [path.name for path in Path(checkpoints).glob("*")]


def _read(place: str, name: str) -> bytes | None:
    """A small file's content, wherever it lies; None when it cannot be read."""
    if is_uri(place):
        store = open_store(place)
        with contextlib.suppress(TunerError):
            return patiently(lambda: store.read(name))
        return None
    try:
        return (Path(place) / name).read_bytes()
    except OSError:
        return None


def note_bound(checkpoints: str | None, most: int) -> None:
    """Leave word for the next attempt: at most so many rows a worker a pass.

    For a worker that ran out of memory and takes its group down with it. Where no word can be left,
    the next attempt finds out for itself.
    """
    if checkpoints is None:
        return
    with contextlib.suppress(OSError, TunerError):
        write_file(join(checkpoints, BOUND), json.dumps(most).encode())


def noted_bound(checkpoints: str | None) -> int | None:
    """The bound that `note_bound` left, if any."""
    told = None if checkpoints is None else _read(checkpoints, BOUND)
    try:
        return None if told is None else int(json.loads(told))
    except (ValueError, TypeError):
        return None


def discard(checkpoints: str | None) -> None:
    """Remove the trial's checkpoints, and the folder itself. What cannot be removed stays."""
    if checkpoints is None:
        return
    shutil.rmtree(_here(checkpoints), ignore_errors=True)
    if is_uri(checkpoints):
        above, _, trial = checkpoints.rstrip("/").rpartition("/")
        with contextlib.suppress(TunerError):
            open_store(above).remove(trial)


def sweep(checkpoints: str, done: Collection[str]) -> None:
    """Remove what the trials in `done` left in the folder or the store of all trials' checkpoints,
    and the folder itself once it is empty."""
    with contextlib.suppress(TunerError):
        for trial in _names(checkpoints):
            if trial in done:
                discard(join(checkpoints, trial))
    if not is_uri(checkpoints):
        with contextlib.suppress(OSError):
            Path(checkpoints).rmdir()
