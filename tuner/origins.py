"""What `--data` names, as the parts (splits) that it comes with: a file, a file a split, a folder,
a data set of the Hub, GLUE's original files; without it, what a task brings itself.

Knows which rows there are, not what a task makes of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pyarrow as pa

from tuner.addresses import Data, hub_id, with_config
from tuner.demo import SIZES, Split, demo_rows
from tuner.errors import Absent, UserError
from tuner.folders import class_names, find_parts
from tuner.frames import Frame, Part, Say, joined, read_frame, typed, without_blank
from tuner.glue import headless, holds, path_of, read_glue
from tuner.hub import probe_hub
from tuner.places import Place
from tuner.rules import SPLITS, TEST, TRAIN, split_called
from tuner.tables import form_of
from tuner.tasks import TASKS, GlueFiles, Task

Load = Callable[[Say | None], Frame]


class Source:
    """Data as the parts (splits) that they come with; each is read once, when it is asked for.

    `files` are those of the parts that are made of some, in any of the forms of `tables`."""

    def __init__(
        self,
        shown: str,
        parts: Mapping[str, Load],
        hub: tuple[str, str | None] | None = None,
        files: Mapping[str, Sequence[Place]] | None = None,
    ) -> None:
        self.shown = shown
        self.hub = hub
        self.files = files or {}
        self._loads = dict(parts)
        self._frames: dict[str, Frame] = {}

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self._loads)

    def frame(self, part: str, say: Say | None = None) -> Frame:
        """The rows of a part: of one that is called as the test split, whose rows are to be
        predicted, those of blank fields, too. Raises UserError where they cannot be read."""
        if part not in self._frames:
            frame = self._loads[part](say)
            self._frames[part] = frame if split_called(part) == TEST else without_blank(frame)
        return self._frames[part]

    @property
    def notes(self) -> list[str]:
        """What is to be said of the parts that were read."""
        return [note for frame in self._frames.values() for note in frame.notes]


def open_source(data: Data, task: Task | None = None) -> Source:
    """The data that `data` names, or, without any, those of the `task` itself. No rows are read.

    Raises UserError where there are none.
    """
    if data is None:
        if task is None or (task.hub is None and task.name != "demo"):
            raise UserError("no data are named; pass --data: a file, a folder, or a Hub data set")
        return _hub_source(*task.hub, task=task) if task.hub else _demo_source()
    if task is not None and task.name == "demo" and task.built_in:
        raise UserError(f"the task demo has no files to read from {data}; leave --data out")
    if not isinstance(data, str):
        shown = ", ".join(f"{split}={file}" for split, file in data.items())
        return _files_source(shown, {s: (_file(s, file),) for s, file in data.items()}, {}, task)
    place, config = located(data)
    if place is None:
        if (found := _on_hub(data)) is None:
            raise _nowhere(data, task)
        return _hub_source(*found, task=task)
    if place.is_file():
        return _files_source(str(place), {TRAIN: (place,)}, {}, task)
    glue = None if task is None or config else task.glue
    # Where there is nothing at all, GLUE's files are what is missing.
    if task and glue and (holds(glue, place) or not any(map(form_of, place.files()))):
        return _glue_source(task, glue, place)
    return _folder_source(place, config, task)


def located(data: str) -> tuple[Place | None, str | None]:
    """The file or folder that `data` names, and the configuration behind its `:`; None, None where
    it is neither."""
    place = Place.of(data)
    if place.is_file() or place.is_folder():
        return place, None
    if (split := with_config(data)) is not None:
        folder = Place.of(split[0])
        if folder.is_folder():
            return folder, split[1]
    return None, None


def dataset_of(data: Data, task: Task | None) -> str | None:
    """The Hub data set that would have to be fetched; None where the rows lie elsewhere."""
    if data is None:
        return task.hub[0] if task is not None and task.hub else None
    if not isinstance(data, str) or located(data)[0] is not None:
        return None
    found = _on_hub(data)
    return found[0] if found else None


def probe_data(data: Data, dataset: str) -> None:
    """Return where the Hub can be asked for `dataset`, which `data` or a task names; raise
    UserError where it cannot."""
    try:
        probe_hub(dataset=dataset)
    except UserError as error:
        if data is None:
            raise
        raise UserError(f"{data}: there is no such file or folder here, and {error}") from error


def _on_hub(data: str) -> tuple[str, str | None] | None:
    """The Hub's data set that `data` names; None for what is written as a file."""
    found = hub_id(data)
    return None if found is None or form_of(found[0]) else found


def _nowhere(data: str, task: Task | None) -> UserError:
    holding = f"the folder that holds {task.glue.folder}/" if task and task.glue else "a folder"
    return UserError(
        f"{data}: there is no such folder or file; --data names {holding}, a file, or a data set "
        "of the Hub (user/name:config)"
    )


def _file(split: str, text: str) -> Place:
    place = Place.of(text)
    if form_of(place.name) is None or not place.is_file():
        problem = "there is no such file" if not place.is_folder() else "is a folder"
        if place.is_file():
            return place  # whose suffix is refused when it is read
        raise UserError(f"{place}: {problem}; --data {split}= names a file of rows")
    return place


def _read_files(
    places: Sequence[Place],
    names: Mapping[str, tuple[str, ...]],
    say: Say | None,
    task: Task | None = None,
) -> Frame:
    frame = joined([read_frame(place, say, headless(task, place)) for place in places])
    return dataclasses.replace(frame, names={**names, **frame.names}) if names else frame


def _folder_source(folder: Place, config: str | None, task: Task | None) -> Source:
    implied = task.hub[1] if task is not None and task.hub and task.built_in else None
    if config is None and implied is not None:
        try:
            return _parts_source(folder, implied)
        except UserError:
            pass  # the folder may be the configuration's own
    return _parts_source(folder, config)


def _parts_source(folder: Place, config: str | None) -> Source:
    parts, names = find_parts(folder, config), class_names(folder, config)
    return _files_source(f"{folder}:{config}" if config else str(folder), parts, names)


def _files_source(
    shown: str,
    parts: Mapping[str, Sequence[Place]],
    names: Mapping[str, tuple[str, ...]],
    task: Task | None = None,
) -> Source:
    loads = {part: partial(_read_files, places, names, task=task) for part, places in parts.items()}
    files = {part: places for part, places in parts.items() if all(form_of(p.name) for p in places)}
    return Source(shown, loads, files=files)


def _glue_source(task: Task, files: GlueFiles, folder: Place) -> Source:
    def load(split: str) -> Load:
        return lambda say: read_glue(files, path_of(files, split, folder), split != TEST)

    return Source(str(folder), {_own_part(task, split): load(split) for split in SPLITS})


def _own_part(task: Task, split: str) -> str:
    """What the part of a task built in is called, whatever rows a run made its splits of."""
    return TASKS.get(task.name, task).split(split)


def _demo_source() -> Source:
    def load(split: Split) -> Load:
        def read(say: Say | None) -> Frame:
            first, second, labels = zip(*demo_rows(split), strict=True)
            index = range(len(labels))
            table = {"sentence1": first, "sentence2": second, "label": labels, "index": index}
            rows = pa.table({name: pa.array(values) for name, values in table.items()})
            return Frame(
                rows,
                (Part("demo", len(labels), range(1, len(labels) + 1)),),
                names={"label": TASKS["demo"].label_names},
            )

        return read

    return Source("demo", {split: load(split) for split in SIZES})


# The Hub


def _hub_source(dataset: str, config: str | None, task: Task | None) -> Source:
    own = task is not None and task.built_in and task.hub == (dataset, config)
    names = [_own_part(task, s) for s in SPLITS] if own and task else _hub_parts(dataset, config)
    return Source(
        dataset if config is None else f"{dataset}:{config}",
        {name: partial(_read_hub, dataset, config, name) for name in names},
        hub=(dataset, config),
    )


def _hub_parts(dataset: str, config: str | None) -> Sequence[str]:
    import datasets

    try:
        found: list[str] = datasets.get_dataset_split_names(dataset, config)
    except Exception as error:
        raise _not_loaded(dataset, config, None, error) from error
    return found


def _read_hub(dataset: str, config: str | None, name: str, say: Say | None) -> Frame:
    import datasets

    datasets.disable_progress_bars()
    if say is not None:
        say(f"fetching {dataset} ({name})")
    try:
        rows = datasets.load_dataset(dataset, config, split=name)
        table = rows.with_format("arrow")[:]
    except Exception as error:
        # The library raises whatever its parts raise, from OSError to its own and its client's.
        raise _not_loaded(dataset, config, name, error) from error
    found = {c: getattr(feature, "names", None) for c, feature in rows.features.items()}
    shown = f"{dataset} ({', '.join(part for part in (config, name) if part)})"
    return dataclasses.replace(
        typed(shown, table), names={c: tuple(names) for c, names in found.items() if names}
    )


def _not_loaded(dataset: str, config: str | None, name: str | None, error: Exception) -> Absent:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    which = ", ".join(part for part in (config, name) if part)
    return Absent(
        f"cannot load {dataset}{f' ({which})' if which else ''}: {reason}",
        "pass --data DIR to read it from a folder",
    )
