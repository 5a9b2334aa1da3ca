"""What a folder of data holds: its parts (splits), and the files of each.

Three kinds are known: what `datasets` writes with `save_to_disk`, a copy of a Hub data set's
repository, and files called after their splits. Names only; reads no rows.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tuner.documents import parse_document
from tuner.errors import UserError, suggestion
from tuner.places import Place
from tuner.rules import TRAIN, split_called
from tuner.tables import FORMS, form_of, lines

Parts = dict[str, tuple[Place, ...]]

_SHARD = re.compile(r"(?P<name>.+?)[-_]\d{5}[-_]of[-_]\d{5}([-_][0-9a-f]{16})?")
_DATA = ("", "data")
"""The folders of a repository that hold rows of no configuration in particular."""

_PREFERRED = (".parquet", ".jsonl", ".csv", ".tsv")


def find_parts(folder: Place, config: str | None = None) -> Parts:
    """The parts of the data in `folder` and their files, in order.

    `config` names one of several configurations. Raises UserError where it must, and where no files
    of rows are found.
    """
    files = folder.files()
    if "dataset_dict.json" in files:
        splits = _json(folder.child("dataset_dict.json")).get("splits") or []
        if not isinstance(splits, list) or not all(map(_is_name, splits)):
            raise UserError(
                f"{folder.child('dataset_dict.json')}: splits: {splits!r} are no names of folders "
                "beside it; save the data set again with save_to_disk"
            )
        return {name: _saved(folder.child(name)) for name in splits}
    if "state.json" in files and "dataset_info.json" in files:
        name = _json(folder.child("state.json")).get("_split") or TRAIN
        return {str(name): _saved(folder)}
    configs = _configs(folder) if "README.md" in files else {}
    if configs:
        return _declared(folder, files, configs, config)
    return _by_names(folder, [name for name in files if form_of(name)], config)


def class_names(folder: Place, config: str | None = None) -> dict[str, tuple[str, ...]]:
    """The class names that the repository's README.md declares (`dataset_info`), by column."""
    if not folder.child("README.md").is_file():
        return {}
    found = _front_matter(folder).get("dataset_info")
    infos = [found] if isinstance(found, dict) else found if isinstance(found, list) else []
    for info in infos:
        if isinstance(info, dict) and (len(infos) == 1 or info.get("config_name") == config):
            return dict(_class_labels(info.get("features")))
    return {}


def _class_labels(features: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    for feature in features if isinstance(features, list) else []:
        kind = feature.get("dtype") if isinstance(feature, dict) else None
        names = (kind.get("class_label") or {}).get("names") if isinstance(kind, dict) else None
        if isinstance(names, dict) and all(str(key).isdigit() for key in names):
            ordered = sorted(names.items(), key=lambda item: int(item[0]))
            yield str(feature.get("name")), tuple(str(name) for _, name in ordered)
        elif isinstance(names, list):
            yield str(feature.get("name")), tuple(map(str, names))


def _json(place: Place) -> Mapping[str, Any]:
    try:
        found = json.loads("\n".join(lines(place)))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{place}: cannot be read; save the data set again with save_to_disk")
    return found


def _is_name(value: Any) -> bool:
    """Whether a value names something in a folder, and leads nowhere else."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {*value} & {*"/\\\0"}


def _saved(folder: Place) -> tuple[Place, ...]:
    """The Arrow files of a data set that was saved, in order."""
    state = folder.child("state.json")
    found = _json(state).get("_data_files") or []
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in found]
    if not names or not all(map(_is_name, names)):
        raise UserError(f"{state}: names no files; save the data set again with save_to_disk")
    return tuple(folder.child(str(name)) for name in names)


# A repository that says which files are whose
# (https://huggingface.co/docs/hub/datasets-manual-configuration)


def _front_matter(folder: Place) -> Mapping[str, Any]:
    """The YAML on top of README.md; nothing where there is none that can be read."""
    card = folder.child("README.md")
    text = [line.rstrip() for line in lines(card)]
    if text[:1] != ["---"] or "---" not in text[1:]:
        return {}
    try:
        found = parse_document("\n".join(text[1 : text.index("---", 1)]), str(card)).value
    except UserError:
        return {}  # of a card that says more than we read: the files' names must do
    return found if isinstance(found, dict) else {}


def _configs(folder: Place) -> dict[str, Mapping[str, Any]]:
    """The configurations that README.md declares, in its order."""
    found = _front_matter(folder).get("configs")
    return {
        str(entry["config_name"]): entry
        for entry in (found if isinstance(found, list) else [])
        if isinstance(entry, dict) and "config_name" in entry and "data_files" in entry
    }


def _declared(
    folder: Place,
    files: list[str],
    configs: Mapping[str, Mapping[str, Any]],
    wanted: str | None,
) -> Parts:
    name = wanted
    if name is None:
        standard = [each for each, entry in configs.items() if entry.get("default") is True]
        name = next(iter(standard or (["default"] if "default" in configs else [])), None)
        name = next(iter(configs)) if len(configs) == 1 else name
    if name is None or name not in configs:
        raise _choose(folder, list(configs), wanted)
    parts: Parts = {}
    below = str(configs[name].get("data_dir") or "").strip("/")
    for part, patterns in _patterns(folder, configs[name]["data_files"]):
        found: list[Place] = []
        for pattern in patterns:
            path = f"{below}/{pattern}" if below else pattern
            matching = [file for file in files if _matches(file, path)]
            found += [folder.child(file) for file in matching]
            if not matching:
                raise UserError(
                    f"{folder}: README.md names {path} for {part}, and no such file is there; "
                    "copy it, too"
                )
        parts[part] = tuple(found)
    return parts


def _patterns(folder: Place, said: Any) -> Iterable[tuple[str, list[str]]]:
    """`data_files` in its forms: a path, paths, a mapping of splits to theirs, or a list of a split
    and its path or paths each. Raises UserError for any other."""
    if isinstance(said, dict):
        entries = list(said.items())
    elif isinstance(said, list) and any(isinstance(entry, dict) for entry in said):
        entries = [
            (entry.get("split") or TRAIN, entry.get("path")) if isinstance(entry, dict) else entry
            for entry in said
        ]
    else:
        entries = [(TRAIN, said)]
    for entry in entries:
        part, given = entry if isinstance(entry, tuple) else (TRAIN, entry)
        paths = given if isinstance(given, list) else [given]
        if not paths or not all(isinstance(path, str) and path for path in paths):
            raise UserError(
                f"{folder.child('README.md')}: data_files: {given!r} names no files for {part}; "
                "write a path, a list of paths, or the paths of each split, as {train: train.csv}"
            )
        yield str(part), paths


def _matches(name: str, pattern: str) -> bool:
    # `**/` is any number of folders, none among them.
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, pattern.replace("**/", ""))


def _choose(folder: Place, names: list[str], wanted: str | None) -> UserError:
    if wanted is None:
        return UserError(
            f"{folder}: holds several configurations ({', '.join(names)}); "
            f"name one: --data {folder}:{names[0]}"
        )
    return UserError(
        f"{folder}: has no configuration {wanted!r}, but {', '.join(names)}"
        f"{suggestion(wanted, names)}"
    )


# Files called after their splits


def _by_names(folder: Place, files: list[str], config: str | None) -> Parts:
    tops: dict[str, list[str]] = {}
    for name in files:
        tops.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    if config is not None:
        if config not in tops:
            raise _choose(folder, [top for top in tops if top] or ["none"], config)
        chosen = tops[config]
    else:
        chosen = next((tops[top] for top in _DATA if top in tops), [])
        folders = list(tops)
        if not chosen and len(folders) == 1:
            chosen = tops[folders[0]]
        elif not chosen and folders and all(split_called(top) for top in folders):
            return {top: _one_form(folder, names) for top, names in tops.items()}
        elif not chosen and folders:
            raise _choose(folder, folders, None)
    if not chosen:
        raise UserError(f"{folder}: holds no files of rows; use {FORMS}")
    parts: dict[str, list[str]] = {}
    for name in chosen:
        part = _part_of(name)
        if part is not None:
            parts.setdefault(part, []).append(name)
    if not parts and len(chosen) == 1:
        parts = {TRAIN: chosen}
    if not parts:
        raise UserError(
            f"{folder}: its files are not called after splits ({', '.join(chosen[:5])}); "
            "name them: --data train=FILE --data validation=FILE"
        )
    return {part: _one_form(folder, names) for part, names in parts.items()}


def _part_of(name: str) -> str | None:
    """The part that a file belongs to, by its name: the first word in it that is a split's."""
    file = name.rpartition("/")[2]
    stem = file[: file.lower().rindex(str(form_of(name)))]
    if shard := _SHARD.fullmatch(stem):
        return shard["name"]
    if split_called(stem):
        return stem
    words = [word for word in re.split(r"[^A-Za-z]+", stem) if split_called(word)]
    return words[0].lower() if len(set(words)) == 1 else None


def _one_form(folder: Place, names: list[str]) -> tuple[Place, ...]:
    """The files of a part; where the same rows lie there in several forms, those of one."""
    forms = {form_of(name) for name in names}
    form = next(form for form in _PREFERRED if form in forms)
    return tuple(folder.child(name) for name in sorted(names) if form_of(name) == form)
