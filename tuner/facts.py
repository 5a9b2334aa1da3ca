"""What a run.yaml says of its run beside the settings, with the types that its readers rely on.

Knows names and types; nothing of what the facts are good for. Keys of newer versions may stand
there, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuner.credentials import masked
from tuner.documents import Document
from tuner.errors import UserError
from tuner.forms import RULES

_Count = Annotated[int, Field(ge=0)]
_Scores = dict[str, float | None]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Task(_Part):
    name: str | None = None
    objective: str | None = None
    text_columns: list[str] | None = None


class _Data(_Part):
    fingerprints: dict[str, str] | None = None
    max_length: _Count | None = None
    selected_on: str | None = None
    training_rows: _Count | None = None
    selection_rows: _Count | None = None
    full_training_rows: _Count | None = None
    validation_rows: _Count | None = None
    majority: dict[str, _Scores] | None = None


class _Model(_Part):
    name: str | None = None
    fingerprint: str | None = None


class _Layout(_Part):
    slots: _Count | None = None
    workers_per_trial: _Count | None = None
    gpus_per_worker: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    threads_per_worker: _Count | None = None


class _Facts(_Part):
    created: str | None = None
    kind: str | None = None
    task: _Task | None = None
    versions: dict[str, str | None] | None = None
    git: str | None = None
    data: _Data | None = None
    model: _Model | None = None
    space: dict[str, Any] | None = None
    space_chosen_for: str | None = None
    layout: _Layout | None = None
    estimate: dict[str, float | bool | None] | None = None


def checked_facts(document: Document) -> dict[str, Any]:
    """The facts in a run.yaml, a mapping: all but its settings. Raises UserError, naming file and
    line, for one that is not of its type."""
    facts = {key: value for key, value in document.value.items() if key != "settings"}
    try:
        _Facts.model_validate({key: facts[key] for key in _Facts.model_fields if key in facts})
    except ValidationError as error:
        raise _problem(document, facts, error) from None
    return facts


def _problem(document: Document, facts: Mapping[str, Any], error: ValidationError) -> UserError:
    first = error.errors(include_url=False, include_context=False)[0]
    path: list[Any] = []
    value: Any = facts
    for step in first["loc"]:  # beyond the value it names the types that were tried
        try:
            value = value[step]
        except (TypeError, KeyError, IndexError):
            break
        path.append(step)
    rule = RULES.get(first["type"]) or _RULES.get(first["type"]) or first["msg"]
    rule = rule.replace("Input should be", "must be")
    given = masked(repr(value))
    given = given if len(given) <= 80 else given[:80] + "…"
    name = ".".join(map(str, path))
    return UserError(
        f"{document.where(*path)}: {name}: {given} cannot be used: {rule}; restore the line as it "
        "was written, or take it out"
    )


_MAPPING = "must map names to values"
_RULES = {"model_type": _MAPPING, "dict_type": _MAPPING, "list_type": "must be a list"}
