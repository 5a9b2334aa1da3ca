"""The forms that settings are written in, on a command line, in YAML and from Python: durations,
assignments, columns, trackers.

Knows nothing of which settings there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tuner.documents import read_scalar
from tuner.errors import UserError
from tuner.hyperparameters import Value

TRACKERS = ("tensorboard", "mlflow", "wandb")
"""The experiment trackers that there are."""

NO_TRACKER = "none"
"""What stands alone in the place of trackers."""

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_WHOLE, _TRUTH = "must be a whole number", "must be true or false"
RULES = {
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": _TRUTH,
    "bool_type": _TRUTH,
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
"""Pydantic's error types in our words; its own message serves for the rest."""

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")


def parse_duration(text: str | float) -> float:
    """Seconds: of `30m`, `1h30m`, `90s`, `1.5h`, `2d` or a plain number of seconds.

    Raises UserError when `text` is no duration above zero.
    """
    seconds = 0.0
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text)
    elif isinstance(text, str):
        compact = "".join(text.split()).lower()
        if re.fullmatch(r"\d+(\.\d+)?", compact):
            seconds = float(compact)
        elif _DURATION.fullmatch(compact):
            parts = re.findall(r"([\d.]+)([dhms])", compact)
            if len({unit for _, unit in parts}) == len(parts):
                seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds < float("inf"):
        raise UserError(f"{text!r} is no duration; write it as 30m, 1h30m, 90s or in seconds")
    return seconds


def parse_assignments(texts: Iterable[str]) -> dict[str, Value]:
    """`["learning_rate=2e-5"]` as `{"learning_rate": 2e-5}`; values are typed as YAML's scalars.

    Raises UserError for text of another form, and for a name that is given twice.
    """
    found: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name, value = name.strip(), value.strip()
        scalar = read_scalar(value)
        if not (name and equals) or scalar is None:
            raise UserError(f"--set {text}: must be NAME=VALUE, such as learning_rate=2e-5")
        if name in found:
            raise UserError(f"--set {name}: is given twice ({found[name]}, {value}); leave one")
        found[name] = scalar
    return found


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _duration(value: Any) -> Any:
    try:
        return None if value is None else parse_duration(value)
    except UserError as error:
        raise ValueError(str(error).partition("; ")[2]) from None


def slots(value: Any) -> Any:
    """A number of slots, or `auto`. Raises ValueError."""
    text = str(value).strip().lower()
    if text == "auto":
        return "auto"
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise ValueError("must be a whole number of at least 1, or auto")
    return int(text)


def _text(value: Any) -> Any:
    # `data: Path(...)` from Python, `name: 2024` from YAML.
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def assigned(value: Any) -> Any:
    """Hyperparameters by name, from `NAME=VALUE` texts or a mapping. Raises ValueError."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return parse_assignments(value)
    if not isinstance(value, Mapping):
        raise ValueError("must map hyperparameters to values, such as {learning_rate: 2e-5}")
    for name, item in value.items():
        if not isinstance(name, str) or type(item) not in (bool, int, float, str):
            raise ValueError(f"{name} must be one number, truth value or text")
    return dict(value)


def columns(value: Any) -> Any:
    """The names of one column or of a pair's two. Raises ValueError."""
    names = [value] if isinstance(value, str) else () if value is None else value
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
        raise ValueError("must be a column's name, or two of them")
    if len(names) > 2 or len(set(names)) < len(names):
        raise ValueError("must be a column's name, or two different ones of a pair")
    return tuple(names)


def trackers(value: Any) -> Any:
    """The names of trackers, each once; of `none` alone, no names. Raises ValueError."""
    words = [value] if isinstance(value, str) else () if value is None else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"must be of {', '.join(TRACKERS)}, or none")
    names = [name.strip() for word in words for name in word.split(",")]
    wrong = [name for name in names if name not in (*TRACKERS, NO_TRACKER)]
    if wrong or (NO_TRACKER in names and len(names) > 1):
        raise ValueError(f"must be one or more of {', '.join(TRACKERS)}, or {NO_TRACKER} alone")
    return tuple(dict.fromkeys(name for name in names if name != NO_TRACKER))


Text = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Count = Annotated[int, BeforeValidator(_number)]
Share = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(_duration)]
