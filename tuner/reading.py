"""From settings to a task and its rows, as they are before anything is tokenised.

Knows nothing of models or of the search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from tuner.custom import complete
from tuner.drafts import Draft
from tuner.origins import Source, open_source
from tuner.rules import TRAIN
from tuner.settings import Settings
from tuner.sources import LABEL, Split, take_split
from tuner.splits import subset
from tuner.tasks import Task

TRAINED_ON: tuple[Split, ...] = ("train", "validation")
"""The splits that a run reads: nothing of it sees the test rows."""


@dataclass(frozen=True)
class Reading:
    """A task and the rows of its training and validation split, as `sources.read_split` has them.

    `settings` are those that give the same task again, also where it was inferred. `notes` say
    aloud what nobody had asked for.
    """

    task: Task
    settings: Settings
    source: Source
    splits: Mapping[str, pa.Table]
    notes: tuple[str, ...]

    def read(self, split: Split) -> pa.Table:
        """The rows of any split, those of the test split for one. Raises UserError."""
        rows = take_split(self.task, self.source, split)
        return _drawn(self.task, rows, _most(self.settings, split)[1], self.settings.seed)


def read_task(draft: Draft, settings: Settings, say: Callable[[str], None]) -> Reading:
    """Read what a run is trained and scored on, and infer what the draft leaves open from the
    training rows.

    `train_rows` and `eval_rows` of the settings draw from them, by class. `say` hears how far it
    is. Raises UserError for whatever cannot be used.
    """
    say(f"reading {draft.name}")
    source = open_source(settings.data, draft.task)
    completed = complete(draft, settings, source, say)
    task, settings, notes = completed.task, completed.settings, list(completed.notes)
    tables: dict[str, pa.Table] = {}
    for split in TRAINED_ON:
        rows = take_split(task, source, split, say)
        name, most = _most(settings, split)
        tables[split] = _drawn(task, rows, most, settings.seed)
        if most is not None and most > rows.num_rows:
            notes.append(
                f"{name} is {most:,}, but the {split} split has {rows.num_rows:,} rows: "
                "all are used"
            )
    notes += [note for note in source.notes if note not in notes]
    return Reading(task, settings, source, tables, tuple(notes))


def _most(settings: Settings, split: Split) -> tuple[str, int | None]:
    """The setting that bounds the rows of a split."""
    if split == TRAIN:
        return "train_rows", settings.train_rows
    return "eval_rows", settings.eval_rows


def _drawn(task: Task, rows: pa.Table, size: int | None, seed: int) -> pa.Table:
    if size is None:
        return rows
    # Labels that are missing are refused later on, with the row that lacks one.
    labels = rows[LABEL].fill_null(0).to_numpy()
    return rows.take(pa.array(subset(labels, task.regression, size, seed)))
