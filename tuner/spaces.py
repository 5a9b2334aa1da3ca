"""Search spaces: YAML in the form that W&B users know, to parameters, start points and draws.

    description: one line
    parameters:
      learning_rate: {min: 1e-6, max: 1e-4, distribution: log_uniform}
      num_train_epochs: {min: 1, max: 5}           # whole bounds: whole numbers
      per_device_train_batch_size: {values: [8, 16, 32]}
      weight_decay: 0.01                           # one value: fixed
    start:                                         # full configurations, tried first
      - {learning_rate: 2e-5, num_train_epochs: 3, per_device_train_batch_size: 16}

`distribution` is uniform, int_uniform, log_uniform or int_log_uniform; `step` makes a grid; bounds
are the values themselves. `name` may stand at the top; else the file's name is the space's. The
names of hyperparameters and their types are handed over: nothing here knows transformers.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.documents import Document, read_document
from tuner.errors import UserError, suggestion
from tuner.hyperparameters import DEFAULTS, SEED, Configuration, Value
from tuner.parameters import Fields, check_value
from tuner.ranges import Parameter, read_parameter, shown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Parameter", "Space", "built_in_spaces", "load_space", "parse_space", "space_from"]

_KEYS = ("name", "description", "parameters", "start")


@dataclass(frozen=True)
class Space:
    """What a search draws from, and the known good configurations that it tries first.

    `parameters` are those of the file and, fixed, the defaults of learning rate, epochs, seed and
    batch size that it leaves out. Start points are full, except for a seed that is not fixed.
    """

    name: str
    parameters: tuple[Parameter, ...]
    start: tuple[Configuration, ...] = ()
    description: str = ""
    source: str = field(default="", compare=False)
    """The file it was read from."""

    @property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that the study models: neither fixed nor the seed."""
        return tuple(p for p in self.parameters if not p.fixed and p.name != SEED)

    @property
    def fixed(self) -> dict[str, Value]:
        """The parameters of one value."""
        return {p.name: p.values[0] for p in self.parameters if p.fixed and p.values}

    @property
    def seeds(self) -> tuple[int, int] | None:
        """The least and the greatest seed of a trial; None when the seed is fixed."""
        seed = self.parameter(SEED)
        return None if seed.fixed else (int(seed.low), int(seed.high))

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name. Raises KeyError."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    def smallest(self, name: str) -> float:
        """The least number that a trial can have for `name`."""
        return self.parameter(name).smallest

    def complete(self, configuration: Configuration) -> dict[str, Value]:
        """`configuration` with the fixed values in the places that it leaves open.

        A seed that is not fixed is drawn by the search and stays open here.
        """
        return {**self.fixed, **configuration}

    def distributions(self) -> dict[str, BaseDistribution]:
        """What is searched, as Optuna writes it: without the seed and without fixed values."""
        return {parameter.name: parameter.distribution() for parameter in self.searched}

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """One configuration drawn at random, complete but for a seed that is not fixed."""
        return self.complete({p.name: p.draw(rng) for p in self.searched})

    def document(self) -> dict[str, Any]:
        """The whole space as plain data; `space_from` reads it back."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": {p.name: p.document() for p in self.parameters},
            "start": [dict(point) for point in self.start],
        }


def load_space(
    name_or_file: str | Path, fields: Fields | None = None, fixed: Configuration | None = None
) -> Space:
    """Read a built-in space by its name, or a YAML file.

    `fields`: the names that a trial may set and their types (None: neither is checked). `fixed`:
    values that replace the space's own, in its start points, too. Raises UserError naming file,
    line and the way out.
    """
    return parse_space(read_document(_find(str(name_or_file))), fields, fixed)


def space_from(document: Mapping[str, Any], source: str = "run.yaml") -> Space:
    """The space that `Space.document` wrote. Raises UserError."""
    return parse_space(Document(dict(document), source))


def built_in_spaces() -> list[Space]:
    """The spaces that come with tuner, by name."""
    return [load_space(name) for name in sorted(_built_in())]


def _built_in() -> dict[str, Path]:
    folder = Path(__file__).parent / "search_spaces"  # where the wheel has them
    if not folder.is_dir():
        folder = Path(__file__).parents[1] / "search_spaces"
    return {path.stem: path for path in folder.glob("*.yaml")}


def _find(name_or_file: str) -> Path:
    built_in = _built_in()
    if name_or_file in built_in:
        return built_in[name_or_file]
    path = os.path.expanduser(name_or_file)
    if os.path.isfile(path):
        return Path(path)
    short = name_or_file if len(name_or_file) <= 60 else name_or_file[:60] + "…"
    near = suggestion(name_or_file, built_in) or f"; there are {', '.join(sorted(built_in))}"
    raise UserError(f"there is no search space {short!r}{near}; or give a YAML file")


def parse_space(
    document: Document, fields: Fields | None = None, fixed: Configuration | None = None
) -> Space:
    """The space that a document describes; see `load_space`."""
    top = document.value
    if not isinstance(top, dict) or "parameters" not in top:
        raise UserError(
            f"{document.where()}: a search space must have `parameters:`, "
            "which maps hyperparameters to ranges"
        )
    for key in top:
        if key not in _KEYS:
            near = suggestion(str(key), _KEYS) or f"; there are {', '.join(_KEYS)}"
            raise UserError(f"{document.where(key)}: {key}: is no part of a search space{near}")
    name, description = (_text(document, key) for key in ("name", "description"))
    space = Space(
        name or Path(document.source).stem,
        _parameters(document, fields),
        description=description,
        source=document.source,
    )
    space = replace(space, start=_start_points(document, space, fields))
    return _with_fixed(space, fields, fixed or {})


def _text(document: Document, key: str) -> str:
    value = document.value.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{document.where(key)}: {key}: {value!r} must be text; put it in quotes")
    return value or ""


def _parameters(document: Document, fields: Fields | None) -> tuple[Parameter, ...]:
    given = document.value["parameters"]
    if not isinstance(given, dict) or not given:
        raise UserError(
            f"{document.where('parameters')}: parameters: must map hyperparameters to ranges, "
            "such as `learning_rate: {min: 1e-5, max: 1e-4, distribution: log_uniform}`"
        )
    found = [
        read_parameter(
            str(name), value, fields, functools.partial(document.where, "parameters", name)
        )
        for name, value in given.items()
    ]
    missing = [Parameter(name, values=(DEFAULTS[name],)) for name in DEFAULTS if name not in given]
    return (*found, *missing)


def _start_points(
    document: Document, space: Space, fields: Fields | None
) -> tuple[Configuration, ...]:
    given = document.value.get("start")
    if given is None:
        return ()
    if not isinstance(given, list):
        raise UserError(
            f"{document.where('start')}: start: must list configurations, "
            "each a mapping of hyperparameters to values"
        )
    points = [_start_point(document, position, space, fields) for position in range(len(given))]
    return _distinct(points)


def _start_point(
    document: Document, position: int, space: Space, fields: Fields | None
) -> dict[str, Value]:
    where = functools.partial(document.where, "start", position)
    given = document.value["start"][position]
    title = f"start point {position + 1}"
    if not isinstance(given, dict) or not given:
        raise UserError(f"{where()}: {title} must map hyperparameters to values")
    names = [parameter.name for parameter in space.parameters]
    point: dict[str, Value] = {}
    for name, value in given.items():
        if name not in names:
            near = suggestion(str(name), names) or "; add it there, or leave it out"
            raise UserError(f"{where(name)}: {title}: {name} is not among the parameters{near}")
        try:
            point[name] = check_value(name, value, fields)
        except UserError as error:
            raise UserError(f"{where(name)}: {title}: {error}") from None
        parameter = space.parameter(name)
        if not parameter.holds(point[name]):
            raise UserError(
                f"{where(name)}: {title}: {name}: {shown(point[name])} is not within the "
                f"parameter's own {parameter}; widen that, or change this"
            )
    missing = [parameter.name for parameter in space.searched if parameter.name not in point]
    if missing:
        raise UserError(f"{where()}: {title} has no {', '.join(missing)}; add a value to try")
    return space.complete(point)


def _with_fixed(space: Space, fields: Fields | None, fixed: Configuration) -> Space:
    values: dict[str, Value] = {}
    for name, value in fixed.items():
        try:
            values[name] = check_value(name, value, fields)
        except UserError as error:
            raise UserError(f"--set {error}") from None
    new = {name: Parameter(name, values=(value,)) for name, value in values.items()}
    kept = [new.pop(parameter.name, parameter) for parameter in space.parameters]
    start = _distinct([{**point, **values} for point in space.start])
    return replace(space, parameters=(*kept, *new.values()), start=start)


def _distinct(points: list[dict[str, Value]]) -> tuple[Configuration, ...]:
    return tuple(point for index, point in enumerate(points) if point not in points[:index])
