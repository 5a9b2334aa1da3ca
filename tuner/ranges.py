"""One hyperparameter of a search space: read from YAML, drawn from, handed to Optuna.

Knows nothing of files, nor of transformers: names and types are handed over.
"""

from __future__ import annotations

import enum
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tuner.errors import UserError, suggestion
from tuner.hyperparameters import EPOCHS, SEED, Value
from tuner.parameters import WHOLE, Fields, check_name, check_value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_T = TypeVar("_T")
Where = Callable[..., str]
"""`file:line` of a value, by the keys and positions that lead to it from the parameter."""

_KEYS = ("min", "max", "distribution", "step", "values", "value")
_DISTRIBUTIONS: dict[str, tuple[bool, bool]] = {
    "uniform": (False, False),
    "int_uniform": (False, True),
    "log_uniform": (True, False),
    # What W&B calls it: its own log_uniform takes exponents.
    "log_uniform_values": (True, False),
    "int_log_uniform": (True, True),
}
"""Each distribution's name: is it logarithmic, is it of whole numbers."""
_COUNTED = frozenset({EPOCHS, "warmup_steps"})
"""Fields that take fractions, and that people give whole bounds to draw whole numbers."""


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter: a range from `low` to `high`, both within, or one of `values`.

    `step` is the grid of a range, counted from `low`; None: no grid, or 1 for whole numbers.
    """

    name: str
    low: float = 0
    high: float = 0
    values: tuple[Value, ...] | None = None
    log: bool = False
    integer: bool = False
    step: float | None = None

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to search."""
        return self.values is not None and len(self.values) == 1

    @property
    def smallest(self) -> float:
        """The least number that can be drawn; infinity where there are words only."""
        values = (self.low,) if self.values is None else self.values
        return min((value for value in values if isinstance(value, int | float)), default=math.inf)

    @property
    def greatest(self) -> float:
        """The greatest number that can be drawn; minus infinity where there are words only."""
        values = (self.high,) if self.values is None else self.values
        return max((value for value in values if isinstance(value, int | float)), default=-math.inf)

    def holds(self, value: Value) -> bool:
        """Whether the parameter can take `value`."""
        if self.values is not None:
            # 1 == True, yet a truth value is no number.
            kind = isinstance(value, bool)
            return any(value == mine and kind == isinstance(mine, bool) for mine in self.values)
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        if self.integer and value != int(value):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return math.isclose(steps, round(steps), abs_tol=1e-6)

    def draw(self, rng: random.Random) -> Value:
        """One value at random."""
        if self.values is not None:
            return rng.choice(self.values)
        if self.step:
            return self._at(rng.randint(0, self._steps()))
        if not self.log:
            low, high = self.low, self.high
            return rng.randint(int(low), int(high)) if self.integer else rng.uniform(low, high)
        # Each whole number owns half a unit on both of its sides.
        half = 0.5 if self.integer else 0.0
        value = math.exp(rng.uniform(math.log(self.low - half), math.log(self.high + half)))
        value = min(max(round(value) if self.integer else value, self.low), self.high)
        return int(value) if self.integer else value

    def distribution(self) -> BaseDistribution:
        """The same for Optuna, which is imported for it."""
        from optuna import distributions as optuna

        if self.values is not None:
            return optuna.CategoricalDistribution(self.values)
        high = self._at(self._steps()) if self.step else self.high
        if self.integer:
            step = int(self.step or 1)
            return optuna.IntDistribution(int(self.low), int(high), log=self.log, step=step)
        return optuna.FloatDistribution(self.low, high, log=self.log, step=self.step)

    def _steps(self) -> int:
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9)

    def _at(self, position: int) -> int | float:
        value = self.low + position * (self.step or 1)
        return int(value) if self.integer else round(value, 12)

    def document(self) -> Value | dict[str, Any]:
        """As it is written in a search space: plain data."""
        if self.values is not None:
            return self.values[0] if self.fixed else {"values": list(self.values)}
        kind = "int_" * self.integer + "log_" * self.log + "uniform"
        step = {} if self.step is None else {"step": self.step}
        return {"min": self.low, "max": self.high, "distribution": kind, **step}

    def __str__(self) -> str:
        """In a few characters: `1e-6 … 1e-4 (log)`, `4, 8, 16`, `0.01`."""
        if self.values is not None:
            return ", ".join(map(shown, self.values))
        step = f" by {shown(self.step)}" if self.step else ""
        return f"{shown(self.low)} … {shown(self.high)}{step}{' (log)' if self.log else ''}"


def shown(value: Value) -> str:
    """A value as people write it: 1e-6, not 1e-06."""
    if not isinstance(value, float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    text = f"{value:.6g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.5e}"
    return re.sub(r"\.?0*e([-+])0*", r"e\1", text).replace("e+", "e")


def read_parameter(name: str, given: Any, fields: Fields | None, where: Where) -> Parameter:
    """The parameter that `given`, a value or a mapping from YAML, describes.

    Raises UserError, beginning with `where` of the culprit and the name.
    """
    _placed(where(), lambda: check_name(name, fields))
    if isinstance(given, list) or given is None:
        raise UserError(
            f"{where()}: {name}: must be one value, or a mapping such as {{min: …, max: …}} "
            "or {values: […]}"
        )
    if not isinstance(given, dict):
        return Parameter(name, values=(_value(name, given, fields, where()),))
    for key in given:
        if key not in _KEYS:
            near = suggestion(str(key), _KEYS) or f"; there are {', '.join(_KEYS)}"
            raise UserError(f"{where(key)}: {name}: {key} is no part of a range{near}")
    if "value" in given or "values" in given:
        return _read_values(name, given, fields, where)
    return _read_range(name, given, fields, where)


def _read_values(
    name: str, given: dict[str, Any], fields: Fields | None, where: Where
) -> Parameter:
    key = "value" if "value" in given else "values"
    listed = [given["value"]] if key == "value" else given["values"]
    kinds = ("constant",) if key == "value" else ("categorical", "constant")
    kind = given.get("distribution", kinds[0])
    other = [each for each in given if each not in (key, "distribution")]
    if other or kind not in kinds:
        raise UserError(
            f"{where(other[0] if other else 'distribution')}: {name}: {key} stands beside "
            f"{other[0] if other else f'distribution {kind}'}; leave one of them out"
        )
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{where(key)}: {name}: values must list at least one, such as [8, 16, 32]")
    values: list[Value] = []
    for position, item in enumerate(listed):
        at = where() if key == "value" else where(key, position)
        value = _value(name, item, fields, at)
        if value in values:
            raise UserError(f"{at}: {name}: {shown(value)} is listed twice; leave one")
        values.append(value)
    if name == SEED and len(values) > 1:
        # Seeds are drawn by a trial's number, not searched.
        raise UserError(f"{where(key)}: {name}: takes a range, not values; give min and max")
    return Parameter(name, values=tuple(values))


def _read_range(name: str, given: dict[str, Any], fields: Fields | None, where: Where) -> Parameter:
    for key in ("min", "max"):
        if key not in given:
            raise UserError(
                f"{where()}: {name}: has no {key}; a range must have min and max, "
                "a choice must have values"
            )
        if isinstance(given[key], bool) or not isinstance(given[key], int | float):
            raise UserError(f"{where(key)}: {name}: {key} {given[key]!r} must be a number")
    kind = None if fields is None else fields[name]
    if kind is not None and (kind is bool or issubclass(kind, str | enum.Enum)):
        raise UserError(f"{where()}: {name}: takes no range; list what it may be under values")
    log, integer = _distribution(name, given, kind, where)
    if given["min"] > given["max"]:
        raise UserError(
            f"{where('min')}: {name}: min {shown(given['min'])} is above max "
            f"{shown(given['max'])}; swap them"
        )
    if given["min"] == given["max"]:
        raise UserError(
            f"{where('min')}: {name}: min and max are both {shown(given['min'])}, an empty range; "
            f"write `{name}: {shown(given['min'])}` to fix it"
        )
    if log and given["min"] <= 0:
        raise UserError(
            f"{where('min')}: {name}: min {shown(given['min'])} has no logarithm; give the bounds "
            "themselves, above 0 (such as 1e-6), or use distribution: uniform"
        )
    low, high = (_bound(name, given[key], integer, fields, where(key)) for key in ("min", "max"))
    step = _step(name, given, log, integer, where)
    return Parameter(name, low, high, log=log, integer=integer, step=step)


def _distribution(
    name: str, given: dict[str, Any], kind: type | None, where: Where
) -> tuple[bool, bool]:
    whole = isinstance(given["min"], int) and isinstance(given["max"], int)
    must = name in WHOLE or kind is int
    if "distribution" not in given:
        if whole and kind is float and name not in _COUNTED:
            raise UserError(
                f"{where()}: {name}: whole bounds draw whole numbers only; say which is meant: "
                "distribution: uniform or int_uniform"
            )
        return False, must or whole
    asked = given["distribution"]
    if asked not in _DISTRIBUTIONS:
        near = suggestion(str(asked), _DISTRIBUTIONS) or f"; there are {', '.join(_DISTRIBUTIONS)}"
        raise UserError(f"{where('distribution')}: {name}: no distribution {asked!r}{near}")
    log, integer = _DISTRIBUTIONS[asked]
    return log, integer or must


def _bound(name: str, value: float, integer: bool, fields: Fields | None, at: str) -> int | float:
    if integer and isinstance(value, float):
        if not value.is_integer():
            raise UserError(
                f"{at}: {name}: {shown(value)} must be a whole number, as all are that are drawn"
            )
        value = int(value)
    checked = _value(name, value, fields, at)
    assert isinstance(checked, int | float)
    return checked


def _step(name: str, given: dict[str, Any], log: bool, integer: bool, where: Where) -> float | None:
    if "step" not in given:
        return None
    step, width = given["step"], given["max"] - given["min"]
    number = isinstance(step, int | float) and not isinstance(step, bool)
    if not number or not 0 < step <= width or (integer and step != int(step)):
        whole = "a whole number" if integer else "a number"
        raise UserError(
            f"{where('step')}: {name}: step {step!r} must be {whole} above 0, "
            f"at most {shown(width)}, the width of the range"
        )
    if log:
        raise UserError(f"{where('step')}: {name}: a logarithmic range has no step; leave it out")
    return int(step) if integer else float(step)


def _value(name: str, value: Any, fields: Fields | None, at: str) -> Value:
    return _placed(at, lambda: check_value(name, value, fields))


def _placed(at: str, check: Callable[[], _T]) -> _T:
    try:
        return check()
    except UserError as error:
        raise UserError(f"{at}: {error}") from None
