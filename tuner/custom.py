"""A task of one's own, from its draft and its rows: columns, classes, splits and metrics.

What was not said is inferred from the training rows, and said aloud. Knows nothing of models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.columns import check_names, find_columns
from tuner.drafts import Draft
from tuner.errors import UserError, suggestion
from tuner.frames import Say
from tuner.labels import Labels, alike, class_names, is_regression, read_labels, shown, spelling
from tuner.origins import Source
from tuner.rules import TEST, TRAIN, VALIDATION, Rule, assign
from tuner.settings import Settings
from tuner.sources import marks, rows_for, rules_in
from tuner.tasks import CLASS_METRICS, F1, MACRO_F1, SCALE_METRICS, Task, direction


@dataclass(frozen=True)
class Completed:
    """The task, the settings that would give it again, and what is to be said aloud."""

    task: Task
    settings: Settings
    notes: tuple[str, ...]


def complete(draft: Draft, settings: Settings, source: Source, say: Say | None = None) -> Completed:
    """The task of a draft, from the rows of `source`.

    Raises UserError where columns, labels or splits cannot be told, and for data that are not to
    be classified.
    """
    if draft.task is not None:
        return _built_in(draft, draft.task, settings, source)
    assigned = assign(settings.split, source.parts, settings.seed)
    rules = assigned.rules
    frame = source.frame(str(rules[TRAIN].base), say)
    if not frame.rows.num_rows:
        raise UserError(f"{frame.place}: has no rows; there is nothing to learn from")
    columns = find_columns(frame, settings.text, settings.label)
    wanted = _wanted(draft, settings)
    everything = read_labels(frame, columns.label, np.arange(frame.rows.num_rows))
    regression = is_regression(everything, wanted)
    rows = rows_for(TRAIN, rules, frame, columns.label, regression, settings.seed)
    labels = read_labels(frame, columns.label, rows)
    written, names = ((), ()) if regression else _classes(draft, labels)
    metrics, objective = _scored(draft, settings, regression, len(names))
    task = Task(
        name=draft.name,
        title=draft.title or f"{columns.label} from {' and '.join(columns.text)}",
        text_columns=columns.text,
        label_column=columns.label,
        label_names=names,
        label_values=() if written == names else written,
        metrics=metrics,
        objective=objective,
        split_seed=settings.seed,
        hub=source.hub,
    )
    notes = [*draft.notes, *frame.notes, *columns.notes]
    if wanted is None:
        notes.append(_told(task, labels))
    if assigned.note is not None:
        notes.append(assigned.note)
    if twins := alike(names):
        notes.append(f"the labels {twins[0]!r} and {twins[1]!r} are two classes; is one misspelt?")
    update = {"text": columns.text, "label": columns.label, "objective": objective}
    return _completed(task, rules, settings.model_copy(update=update), source, notes)


def _completed(
    task: Task,
    rules: Mapping[str, Rule],
    settings: Settings,
    source: Source,
    notes: Sequence[str],
) -> Completed:
    written = {split: str(rule) for split, rule in rules.items()}
    task = dataclasses.replace(
        task,
        train_split=written.get(TRAIN, task.train_split),
        validation_split=written.get(VALIDATION, task.validation_split),
        test_split=written.get(TEST, task.test_split),
        split_seed=settings.seed,
    )
    task = dataclasses.replace(task, drawn_from=marks(task, source, rules))
    return Completed(task, settings.model_copy(update={"split": written}), tuple(notes))


def _built_in(draft: Draft, task: Task, settings: Settings, source: Source) -> Completed:
    """A task built in, on its own data or, by the columns and splits of the settings, on others."""
    text = settings.text or task.text_columns
    if len(text) != len(task.text_columns):
        raise UserError(
            f"--text {' '.join(text)}: the task {task.name} has {len(task.text_columns)} columns "
            f"of text ({', '.join(task.text_columns)}); name as many"
        )
    check_names(text)
    if settings.text or settings.label:
        # What GLUE's files call the columns is no longer looked for.
        task = dataclasses.replace(
            task,
            text_columns=text,
            label_column=settings.label or task.label_column,
            label_values=task.glue.labels if task.glue else (),
            glue=None,
        )
    if settings.objective is not None:
        task = task.with_objective(settings.objective)
    update = {"objective": task.objective}
    settings = settings.model_copy(update=update)
    if not settings.split and {TRAIN, VALIDATION} <= set(rules_in(task, source.parts)):
        return Completed(task, settings, draft.notes)
    assigned = assign(settings.split, source.parts, settings.seed)
    notes = [*draft.notes, *([assigned.note] if assigned.note else [])]
    return _completed(task, assigned.rules, settings, source, notes)


def _wanted(draft: Draft, settings: Settings) -> bool | None:
    """Whether a regression is asked for, by the objective, the metrics or the class names."""
    if settings.objective is not None:
        direction(settings.objective)  # says what is unknown
        return settings.objective in SCALE_METRICS
    if draft.metrics:
        return draft.metrics[0] in SCALE_METRICS
    return None if draft.labels is None else False


def _classes(draft: Draft, labels: Labels) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is written for each class, and the classes' names."""
    if draft.labels is None:
        names = class_names(labels)
        return names, names
    written, names = tuple(draft.labels), tuple(draft.labels.values())
    carried = labels.frame.names.get(labels.column)
    places = [str(place) for place in range(len(written))]
    if carried and sorted(written) == sorted(map(str, range(len(carried)))):
        written = tuple(carried[int(place)] for place in written)
    elif written == names and set(labels.present) <= set(places):
        written = tuple(places)
    found = {value: spelling(value, written) for value in labels.present}
    unknown = next((value for value, said in found.items() if said not in written), None)
    if unknown is not None:
        raise UserError(
            f"{labels.where(unknown)}: the label {unknown!r} is none of {shown(written)}, "
            f"which the task {draft.name} names{suggestion(unknown, written)}"
        )
    return written, names


def _scored(
    draft: Draft, settings: Settings, regression: bool, classes: int
) -> tuple[tuple[str, ...], str]:
    """The metrics that are recorded, and the one that a search goes by."""
    metrics = draft.metrics or (SCALE_METRICS if regression else CLASS_METRICS)
    objective = settings.objective or metrics[0]
    metrics = metrics if objective in metrics else (*metrics, objective)
    for name in metrics:
        if (name in SCALE_METRICS) != regression:
            kind, fit = ("numbers", SCALE_METRICS) if regression else ("classes", CLASS_METRICS)
            raise UserError(
                f"the labels of {draft.name} are {kind}, which {name} does not score; "
                f"choose from {', '.join(fit)}"
            )
    if F1 in metrics and classes != 2:
        raise UserError(
            f"{F1} is that of the second of two classes, and {draft.name} has {classes}; "
            f"take {MACRO_F1}"
        )
    return metrics, objective


def _told(task: Task, labels: Labels) -> str:
    if task.regression:
        numbers = labels.numbers or [0.0]
        return (
            f"{task.label_column} holds numbers from {min(numbers):g} to {max(numbers):g}: a "
            f"regression, scored by {task.objective}; --objective {CLASS_METRICS[0]} makes them "
            "classes"
        )
    count = len(task.label_names)
    return (
        f"{task.label_column} has {count} class{'es' * (count != 1)} ({shown(task.label_names)}), "
        f"scored by {task.objective}; --objective says otherwise"
    )
