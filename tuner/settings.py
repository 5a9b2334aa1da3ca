"""Everything a run needs, typed and checked, written to `run.yaml` and read back.

Knows nothing of Ray, torch or transformers, nor whether a name (a task, a metric) exists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tuner import forms
from tuner.addresses import is_here, parse_data
from tuner.credentials import masked, value_without_credentials, without_credentials
from tuner.documents import Document, read_document, write_yaml
from tuner.errors import UserError, suggestion
from tuner.facts import checked_facts
from tuner.forms import RULES, Count, Seconds, Share, Text
from tuner.rules import parse_rules
from tuner.runs import Run, check_name

TINY = "tiny"
"""What the built-in model is called."""

AUTO = "auto"
"""What leaves the choice of the search space to the model's kind and size."""

DEFAULT_MODEL = "distilbert/distilbert-base-uncased"
"""What is fine-tuned where no model is named, but for the task `demo`."""

STORAGE = "TUNER_STORAGE"
"""The environment variable that says where runs go when nothing else does."""

_NO_SEARCH: dict[str, Any] = {
    "fraction": 1.0,
    "select_on": "validation",
    "trials": 1,
    "budget": None,
    "scheduler": "none",
    "rungs": 1,
    "finalists": 0,
    "reseeds": 0,
    "slots": 1,
    "workers_per_trial": 1,
    "retrain": True,
}
OF_A_SEARCH = frozenset(_NO_SEARCH)
"""The settings that say nothing about a training without a search."""

TRAINING = "training"
"""The `kind` in the run.yaml of a training without a search."""


class SettingError(UserError):
    """A setting cannot be used; `key` is its name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def default_storage() -> str:
    """What the environment says, as a cluster's set-up does for its hosts; else `runs`."""
    return os.environ.get(STORAGE) or "runs"


class Settings(BaseModel):
    """Everything a run needs. Raises UserError, in one line, for a value that cannot be used.

    Durations are seconds and are read from `30m`, `1h30m` and `90s`, too. None stands for what the
    task, the model and the machine suggest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Text | None = None
    """A task's name or a task file; None: what `data`, `text` and `label` say."""
    data: Annotated[str | dict[str, str] | None, BeforeValidator(parse_data)] = None
    """A file, a folder, a Hub data set, or a file for every split; None: the task's own rows."""
    text: Annotated[tuple[str, ...], BeforeValidator(forms.columns)] = ()
    """The column of texts, or a pair's two; empty: the task's own, or what the data suggest."""
    label: Text | None = None
    """The column of labels; None: the task's own, or what the data suggest."""
    split: Annotated[dict[str, str], BeforeValidator(parse_rules)] = {}
    """Which rows train, validate and test (see `rules`); empty: what the data's own splits say."""
    train_rows: Annotated[Count, Field(gt=0)] | None = None
    """Of the training rows, so many, drawn by class; None: all."""
    eval_rows: Annotated[Count, Field(gt=0)] | None = None
    """Of the rows that are scored, so many, drawn by class; None: all."""
    model: Text | None = None
    """`tiny`, a Hub id or a folder."""
    space: Text = AUTO
    """A built-in search space's name or a YAML file; `auto`: the one that suits the model."""
    trials: Annotated[Count, Field(gt=0, le=1_000_000)] = 20
    budget: Seconds | None = None
    """Wall-clock seconds for the search, over all its sessions; None: no limit."""
    fraction: Annotated[Share, Field(gt=0, le=1)] = 1.0
    """Of the training rows, how many the search trains on."""
    max_length: Annotated[Count, Field(ge=8)] | None = None
    """In tokens."""
    select_on: Literal["holdout", "validation"] = "holdout"
    objective: Text | None = None
    """One of the task's metrics; None: the task's own choice."""
    scheduler: Literal["asha", "none"] = "asha"
    rungs: Annotated[Count, Field(ge=1, le=6)] = 2
    finalists: Annotated[Count, Field(ge=0, le=1000)] = 0
    """So many of the best configurations run again under other seeds; 0: none."""
    reseeds: Annotated[Count, Field(ge=0, le=1000)] = 0
    """Under so many new seeds each."""
    slots: Annotated[int | Literal["auto"], BeforeValidator(forms.slots)] = "auto"
    workers_per_trial: Annotated[Count, Field(ge=1)] = 1
    gpus_per_worker: Annotated[Share, Field(ge=0)] | None = None
    """None: 1 where there are GPUs, else 0."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    checkpoint_every: Seconds = 600.0
    max_failures: Annotated[Count, Field(ge=0)] = 3
    """How often a trial whose slot died runs again, or a retraining that lost a worker."""
    seed: Annotated[Count, Field(ge=0, le=2**32 - 1)] = 0
    track: Annotated[tuple[str, ...], BeforeValidator(forms.trackers)] = ("tensorboard",)
    """The experiment trackers that are told of trials, of TRACKERS; empty: none."""
    name: Text | None = None
    """The run's name; None: the task and the time."""
    storage: Text = Field(default_factory=default_storage)
    """Where runs are kept; see `default_storage`."""
    address: Text | None = None
    """A Ray cluster's address; None: a Ray of this machine's own."""
    retrain: bool = True
    set: Annotated[dict[str, bool | int | float | str], BeforeValidator(forms.assigned)] = {}
    """Hyperparameters that are fixed for every trial."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, values: Any, handler: Callable[[Any], Settings]) -> Settings:
        try:
            return handler(values)
        except ValidationError as error:
            raise _problem(error) from None

    @field_validator("name")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        return name if name is None else check_name(name)

    @field_validator("task", "data", "model", "space", "storage", "address")
    @classmethod
    def _no_credentials(cls, given: str | dict[str, str] | None) -> str | dict[str, str] | None:
        # What stands here is written to run.yaml, the model card and the log.
        for text in given.values() if isinstance(given, dict) else [given or ""]:
            if without_credentials(text, whole=True) != text:
                raise ValueError("carries a user name or a password; keep them in the environment")
        return given

    def plain(self) -> dict[str, Any]:
        """As plain data: `Settings(**settings.plain()) == settings`."""
        return self.model_dump(mode="python")

    def without_search(self) -> Settings:
        """Of one training on all training rows, whatever these say of a search."""
        return self.model_copy(update=_NO_SEARCH)

    def resolved(self, **changes: Any) -> Settings:
        """With `changes`, and with local paths made absolute, so that any folder can repeat it."""
        values = {**self.plain(), **changes}
        for key in ("task", "data", "model", "space"):
            value = values[key]
            if isinstance(value, dict):
                values[key] = {name: _from_anywhere(key, text) for name, text in value.items()}
            elif value is not None:
                values[key] = _from_anywhere(key, value)
        return Settings(**values)


def _from_anywhere(key: str, text: str) -> str:
    """A local path made absolute; all else as it is."""
    return os.path.abspath(os.path.expanduser(text)) if _is_local(key, text) else text


def _is_local(key: str, text: str) -> bool:
    if "://" in text:
        return False
    if key == "data":
        return is_here(text)
    # The names of tasks and spaces, and `tiny`, go before what lies in the working directory.
    word = key in ("task", "space") and not re.search(r"[/\\]|\.ya?ml$", text)
    named = word or (key == "model" and text == TINY)
    return not named and os.path.exists(os.path.expanduser(text))


def _problem(error: ValidationError) -> SettingError:
    first = error.errors(include_url=False, include_context=False)[0]
    key = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        return _unknown(key)
    given = masked(repr(value_without_credentials(first["input"])))
    given = given if len(given) <= 80 else given[:80] + "…"
    rule = RULES.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    rule = rule.replace("Input should be", "must be")
    return SettingError(key, f"{key}: {given} cannot be used: {rule}")


def _unknown(key: str) -> SettingError:
    near = suggestion(key, Settings.model_fields) or "; tuner tune --help lists them"
    return SettingError(key, f"{key}: is no setting{near}")


def load_settings(file: str | Path | None, flags: Mapping[str, Any]) -> Settings:
    """The defaults, overridden by `file`, overridden by `flags`; a flag that is None is absent.

    `file` is a YAML mapping of settings, or a run's `run.yaml`, whose name is not taken over: the
    repeated run gets a fresh one. `set` is merged key by key. Raises UserError, naming file and
    line where the file is at fault.
    """
    values = {} if file is None else _read_settings(file)
    given = {key: value for key, value in flags.items() if value is not None}
    if "set" in given:
        given["set"] = {**values.get("set", {}), **_checked({"set": given["set"]}).set}
    return _checked({**values, **given})


def _read_settings(file: str | Path) -> dict[str, Any]:
    document = read_document(file)
    path: tuple[str, ...] = ()
    values = document.value
    if isinstance(values, dict) and isinstance(values.get("settings"), dict):
        path, values = ("settings",), {**values["settings"], "name": None}
    if not isinstance(values, dict):
        raise UserError(
            f"{document.where()}: must map settings to values, such as `task: rte`; "
            f"it holds {'nothing' if values is None else type(values).__name__}"
        )
    checked = _checked(values, document, path).plain()
    return {key: checked[key] for key in values}


def _checked(
    values: Mapping[Any, Any], document: Document | None = None, path: tuple[str, ...] = ()
) -> Settings:
    for key in values:
        if key not in Settings.model_fields:
            raise _placed(_unknown(str(key)), document, path, key)
    for key in values:
        # One at a time, so that an error knows whose it is whatever raised it.
        try:
            Settings(**{key: values[key]})
        except UserError as error:
            raise _placed(error, document, path, key) from None
    return Settings(**values)


def _placed(
    error: UserError, document: Document | None, path: tuple[str, ...], key: Any
) -> UserError:
    return UserError(f"{document.where(*path, key)}: {error}") if document else error


@dataclass(frozen=True)
class RunFile:
    """What a `run.yaml` holds: the settings, and the facts of the run (versions, data, …)."""

    settings: Settings
    facts: Mapping[str, Any]

    @property
    def plain(self) -> bool:
        """Whether the run is a training without a search."""
        return self.facts.get("kind") == TRAINING


def write_run_file(run: Run, settings: Settings, facts: Mapping[str, Any]) -> None:
    """Write `run.yaml`: when it was made, the settings, then `facts` under their own keys.

    `created` is kept when `facts` has it. The run's name is its folder's and is not written.
    """
    created = facts.get("created") or datetime.now(UTC).isoformat()
    rest = {key: value for key, value in facts.items() if key not in ("created", "settings")}
    values = settings.plain()
    del values["name"]
    write_yaml(run.settings_file, {"created": created, "settings": values, **rest})


def read_run_file(run: Run) -> RunFile:
    """Read `run.yaml`; `created` is among the facts. Raises UserError when it cannot be read."""
    document = read_document(run.settings_file)
    value = document.value
    if not isinstance(value, dict) or not isinstance(value.get("settings"), dict):
        raise UserError(f"{document.where()}: is no run.yaml: it has no `settings`")
    settings = _checked(value["settings"], document, ("settings",))
    return RunFile(settings, checked_facts(document))
