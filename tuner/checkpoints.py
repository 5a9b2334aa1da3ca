"""A trial's newest checkpoint: where it lies, when it counts, and what is kept beside the weights.

Knows folders and JSON; the Trainer writes the weights. A checkpoint counts once it has its final
name, which it gets by one rename after everything in it is on disk.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tuner.hyperparameters import Value

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


def writing_folder(checkpoints: str) -> str:
    """An empty folder into which the next checkpoint is written."""
    folder = Path(checkpoints) / WRITING
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return str(folder)


def publish(checkpoints: str, progress: Progress) -> None:
    """Make the checkpoint in the writing folder the trial's newest, and drop the one before."""
    name = f"{PREFIX}{progress.step}"
    written = Path(checkpoints) / WRITING / name
    (written / PROGRESS).write_text(json.dumps(asdict(progress)))
    for path in [*written.rglob("*"), written]:
        _sync(path)
    final = Path(checkpoints) / name
    shutil.rmtree(final, ignore_errors=True)
    written.rename(final)
    _sync(Path(checkpoints))
    for older in Path(checkpoints).glob(f"{PREFIX}*"):
        if older != final:
            shutil.rmtree(older, ignore_errors=True)
    shutil.rmtree(Path(checkpoints) / WRITING, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def newest(checkpoints: str | None) -> tuple[str, Progress] | None:
    """The newest checkpoint's folder and its progress; None when there is none that can be read."""
    if checkpoints is None:
        return None
    found = sorted(
        (
            path
            for path in Path(checkpoints).glob(f"{PREFIX}*")
            if path.name[len(PREFIX) :].isdigit()
        ),
        key=lambda path: -int(path.name[len(PREFIX) :]),
    )
    for path in found:
        try:
            return str(path), Progress(**json.loads((path / PROGRESS).read_text()))
        except (OSError, ValueError, TypeError):
            continue
    return None


def note_bound(checkpoints: str | None, most: int) -> None:
    """Leave word for the next attempt: at most so many rows a worker a pass.

    For a worker that ran out of memory and takes its group down with it.
    """
    if checkpoints is not None:
        Path(checkpoints).mkdir(parents=True, exist_ok=True)
        written = Path(checkpoints) / f".{BOUND}"
        written.write_text(json.dumps(most))
        written.replace(Path(checkpoints) / BOUND)


def noted_bound(checkpoints: str | None) -> int | None:
    """The bound that `note_bound` left, if any."""
    if checkpoints is None:
        return None
    try:
        return int(json.loads((Path(checkpoints) / BOUND).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def discard(checkpoints: str | None) -> None:
    """Remove the trial's checkpoints, and the folder itself."""
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
