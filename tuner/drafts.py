"""A task as far as it is known before its rows are read: built in, from a task file, or only named.

Knows nothing of rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.addresses import Data, hub_id, parse_data, with_config
from tuner.documents import Document, read_document
from tuner.errors import UserError, suggestion
from tuner.glue import task_in
from tuner.origins import located
from tuner.rules import TRAIN
from tuner.settings import Settings
from tuner.stores import is_uri
from tuner.tables import form_of
from tuner.tasks import DIRECTIONS, GLUE, SCALE_METRICS, TASKS, Task, find_task

EXAMPLE = """\
name: reviews
title: Is a film review positive
data: movie_data.csv.gz             # from this file's folder; or {train: a.csv, test: b.csv}
text: review                        # or [premise, hypothesis]
label: sentiment
labels: {0: negative, 1: positive}  # names, in their order; or [negative, positive]
metrics: [accuracy, macro_f1]
objective: macro_f1
split:
  train: 0:35000
  validation: 35000:40000
  test: "40000:"
"""
"""A task file with every key that there is. Any may be left out: then the flags say it, or the
data do."""

_KEYS = ("name", "title", "data", "text", "label", "labels", "metrics", "objective", "split")
_SAYS_NOTHING = ("train", "data", "dataset", "training", "all", "rows")


@dataclass(frozen=True)
class Draft:
    """A task before its rows are read.

    `task` is one that is built in; of others only the `name` is sure. `labels` maps what is written
    to the class names, in their order (None: the data tell).
    """

    name: str
    task: Task | None = None
    title: str | None = None
    labels: Mapping[str, str] | None = None
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def draft(settings: Settings) -> tuple[Settings, Draft]:
    """The task that the settings name, and the settings with what a task file says filled in.

    What the settings say goes before the file. No rows are read. Raises UserError where no task is
    named, or the file cannot be used.
    """
    if settings.task is None:
        return _from_data(settings)
    if not _is_file(settings.task):
        return settings, Draft(settings.task, find_task(settings.task))
    return _from_file(settings, settings.task)


def _is_file(task: str) -> bool:
    return re.search(r"[/\\]|\.ya?ml$", task) is not None


def _from_data(settings: Settings) -> tuple[Settings, Draft]:
    data = settings.data
    if data is None:
        raise UserError(
            "no task is named; pass --task, one of those that `tuner tasks` lists, or --data with "
            "rows of your own"
        )
    if isinstance(data, str) and not settings.text:
        place, config = located(data)
        if place is None:
            found = hub_id(data)
            own = find_by_hub(*found) if found else None
        else:
            place = place.child(config or "")
            own = None if place.is_file() else task_in(place)
            settings = settings.model_copy(update={"data": str(place)}) if own else settings
        if own is not None:
            return settings, Draft(own.name, own, notes=(f"{data} is the task {own.name}",))
    return settings, Draft(_slug(data))


def find_by_hub(dataset: str, config: str | None) -> Task | None:
    """The task built in whose rows these are: `nyu-mll/glue` (or `glue`) and the task's name."""
    if dataset not in (GLUE, "glue"):
        return None
    return next((task for task in TASKS.values() if task.hub == (GLUE, config)), None)


def _slug(data: Data) -> str:
    """A name for a run on these data: that of the file, or of the folder where that says more."""
    files = [data or ""] if isinstance(data, str) else list((data or {}).values())
    text = data.get(TRAIN, files[0]) if isinstance(data, Mapping) else files[0]
    if not is_uri(text) and not os.path.exists(os.path.expanduser(text)) and hub_id(text):
        stem = text.partition("/")[2] or text
    else:
        path = Path(os.path.abspath(os.path.expanduser(text)) if not is_uri(text) else text)
        form = form_of(path.name)
        stem = path.name[: path.name.lower().rindex(form)] if form else path.name
        if stem.lower() in _SAYS_NOTHING:
            stem = path.parent.name or stem
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "data"
    return f"my-{name}" if name in TASKS else name[:60]


# Task files


def _from_file(settings: Settings, file: str) -> tuple[Settings, Draft]:
    document = read_document(os.path.expanduser(file))
    values = document.value
    if not isinstance(values, dict) or not values:
        raise UserError(f"{document.where()}: must map keys to values, such as `text: review`")
    for key in values:
        if key not in _KEYS:
            raise UserError(
                f"{document.where(key)}: {key}: is no key of a task file"
                f"{suggestion(str(key), _KEYS) or '; it has ' + ', '.join(_KEYS)}"
            )
    given: dict[str, Any] = {}
    for key in ("data", "text", "label", "objective", "split"):
        if key in values:
            try:
                only: dict[str, Any] = {key: values[key]}
                if key == "data":
                    only = {key: _beside(parse_data(values[key]), Path(file))}
                given[key] = getattr(Settings(**only), key)
            except UserError as error:
                raise UserError(f"{document.where(key)}: {error}") from None
    filled = {key: value for key, value in given.items() if not getattr(settings, key)}
    settings = settings.model_copy(update=filled)
    name = _words(document, values, "name") or Path(file).stem
    if name in TASKS:
        raise UserError(f"{document.where('name')}: {name} is a task built in; choose another name")
    return settings, Draft(
        name,
        title=_words(document, values, "title"),
        labels=_class_names(document, values.get("labels")),
        metrics=_metrics(document, values.get("metrics")),
    )


def _beside(data: Any, file: Path) -> Any:
    """The paths of a task file, which are meant from where it lies."""
    if isinstance(data, dict):
        return {split: _beside(path, file) for split, path in data.items()}
    folder = os.path.dirname(os.path.abspath(os.path.expanduser(file)))
    path = os.path.join(folder, os.path.expanduser(data))
    parent = with_config(path)
    here = os.path.exists(path) or (parent is not None and os.path.isdir(parent[0]))
    return path if not is_uri(data) and (here or form_of(data)) else data


def _words(document: Document, values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise UserError(f"{document.where(key)}: {key}: must be text, not {value!r}")
    return value


def _class_names(document: Document, given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    if isinstance(given, list):
        given = {name: name for name in map(_written, given)} if len(given) > 1 else None
    elif isinstance(given, dict):
        given = {_written(key): _written(name) for key, name in given.items()}
    if (
        not isinstance(given, dict)
        or len(given) < 2
        or not all(given.values())
        or len(set(given.values())) < len(given)
    ):
        raise UserError(
            f"{document.where('labels')}: labels: must name two classes or more, each once, as "
            "[negative, positive] or as {0: negative, 1: positive}"
        )
    return given


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _metrics(document: Document, given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given or []
    if not isinstance(names, list):
        raise UserError(f"{document.where('metrics')}: metrics: must be a list of names")
    for name in names:
        if not isinstance(name, str) or name not in DIRECTIONS:
            near = suggestion(str(name), DIRECTIONS) or f"; choose from {', '.join(DIRECTIONS)}"
            raise UserError(f"{document.where('metrics')}: metrics: there is no {name!r}{near}")
    if len({name in SCALE_METRICS for name in names}) > 1:
        raise UserError(
            f"{document.where('metrics')}: metrics: {', '.join(names)} belong to classes and to "
            "regressions; keep those of one"
        )
    return tuple(names)
