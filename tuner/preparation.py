"""From settings to what a search needs: the task, its space, its data and the base model.

The driver does this once, before Ray starts and before any folder is made, so that whatever is
wrong with the user's input is said first. Knows nothing of Ray.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.collection import collection_paused
from tuner.drafts import Draft, draft
from tuner.errors import UserError
from tuner.finalists import Finals
from tuner.history import Direction
from tuner.hub import probe_hub
from tuner.hyperparameters import BATCH, LAYER_DECAY, OUR_OWN, REINIT_LAYERS, SMOOTHING
from tuner.kinds import Choice, Kind, choose, choose_here
from tuner.origins import dataset_of, probe_data
from tuner.reading import Reading, read_task
from tuner.settings import AUTO, DEFAULT_MODEL, TINY, Settings
from tuner.spaces import Space, load_space
from tuner.tasks import Task, direction

if TYPE_CHECKING:
    import pyarrow as pa

    from tuner.bases import Base
    from tuner.data import Prepared
    from tuner.materials import Materials
    from tuner.resources import Layout
    from tuner.tokens import Progress

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class Preparation:
    """Everything that a search and its retraining are made from."""

    settings: Settings
    task: Task
    space: Space
    base: Base
    data: Prepared
    warnings: tuple[str, ...]
    choice: Choice | None = None
    """The search space that the model was given; None where it was named."""
    plain: bool = False
    """Whether there is no search: see `plain`."""
    validation: pa.Table | None = None
    """The validation rows, with their texts, as `sources.read_split` has them."""

    @property
    def direction(self) -> Direction:
        """Whether the objective is to be maximised or minimised."""
        return direction(self.task.objective)

    @property
    def finals(self) -> Finals:
        """Which of the best configurations run again, and how often."""
        return Finals(self.settings.finalists, self.settings.reseeds, self.settings.seed)

    def materials(self, layout: Layout, train: pa.Table, selection: pa.Table) -> Materials:
        """What a slot of `layout` is given to train on `train` and to score `selection`."""
        from tuner.materials import Materials

        return Materials(
            weights=self.base.weights,
            train=train,
            selection=selection,
            metrics=self.task.metrics,
            regression=self.task.regression,
            precision=self.settings.precision,
            threads=layout.threads,
            gpus=layout.gpus,
        )


def resolve(settings: Settings) -> tuple[Settings, Draft]:
    """Settings with the defaults that depend on others filled in, and the task that they name, as
    far as it is known before its rows are read.

    Raises UserError for an unknown task or objective, and when no task is named.
    """
    settings, task = draft(settings)
    if (settings.finalists > 0) != (settings.reseeds > 0):
        given, other = ("finalists", "reseeds") if settings.finalists else ("reseeds", "finalists")
        raise UserError(
            f"--{given} {getattr(settings, given)}: needs --{other}, too, such as --{other} 3: the "
            "best configurations run again under new seeds"
        )
    filled: dict[str, Any] = {}
    if task.task is not None:
        objective = settings.objective or task.task.objective
        filled["objective"] = task.task.with_objective(objective).objective
    filled["model"] = settings.model or (TINY if task.name == "demo" else DEFAULT_MODEL)
    return settings.model_copy(update=filled), task


def prepare(settings: Settings, task: Draft, watcher: Progress) -> Preparation:
    """Read, check and tokenise the data, load the base model and the search space.

    `settings` are resolved ones; those of the preparation name the space that `auto` stands for,
    and the columns and splits that were inferred. `watcher` hears what is being done. Cheap checks
    come first, before any heavy import. Raises UserError for whatever is wrong with the input.
    """
    automatic = settings.space == AUTO
    choice = choose_here(str(settings.model)) if automatic else None
    # Whatever can be seen without knowing transformers' fields is said before it is imported.
    named = _space_name(settings, choice)
    seen = load_space(named or "default", fixed=settings.set)
    if named is not None:
        _check_open(seen, settings)
    reading = None if reach_hub(settings, task) else read_task(task, settings, watcher.stage)
    watcher.stage("loading libraries")
    from tuner import parameters

    if automatic and choice is None:
        from tuner.bases import read_config

        choice = choose(Kind.of(read_config(str(settings.model))))
    space = load_space(str(_space_name(settings, choice)), parameters.fields(), settings.set)
    _check_open(space, settings)
    _check_batches(space, settings.workers_per_trial)
    reading = reading or read_task(task, settings, watcher.stage)
    return _prepared(reading, space, choice, watcher)


def _prepared(
    reading: Reading, space: Space, choice: Choice | None, watcher: Progress
) -> Preparation:
    with collection_paused():
        from tuner.bases import load_base
        from tuner.cache import token_cache
        from tuner.checks import VALIDATION, check_rows
        from tuner.data import prepare_data

    task, splits = reading.task, reading.splits
    name = _space_name(reading.settings, choice)
    settings = reading.settings.model_copy(update={"space": name})
    warnings = check_rows(task, splits)
    watcher.stage(f"loading the model {Path(str(settings.model)).name}")
    base = load_base(str(settings.model), task, lambda: texts_of(task, splits["train"]))
    fit = _check_layers(space, base)
    _check_smoothing(space, task)
    data = prepare_data(
        task,
        splits,
        base.tokenizer,
        model_limit=base.model_limit,
        fraction=settings.fraction,
        select_on=settings.select_on,
        max_length=settings.max_length,
        seed=settings.seed,
        progress=watcher,
        cache=token_cache(),
    )
    notes = (*reading.notes, *_said(choice), *fit, *warnings, *data.notes)
    return Preparation(
        settings, task, space, base, data, notes, choice, validation=splits[VALIDATION]
    )


def reach_hub(settings: Settings, task: Draft) -> bool:
    """Whether rows must be fetched from the Hub. Raises UserError where it is needed, for rows or
    the model, and cannot be reached."""
    dataset = dataset_of(settings.data, task.task)
    model = settings.model if _is_hub_id(str(settings.model)) else None
    if dataset:
        probe_data(settings.data, dataset)
    if model:
        probe_hub(model=model)
    return dataset is not None


def _space_name(settings: Settings, choice: Choice | None) -> str | None:
    """The space to be read; None where that is still to be found out."""
    if settings.space != AUTO:
        return settings.space
    return choice.space if choice else None


def _said(choice: Choice | None) -> tuple[str, ...]:
    return (f"the search space is {choice.space}, for {choice.why}",) if choice else ()


def _is_hub_id(model: str) -> bool:
    """Whether `model` must be fetched; what is neither here nor an id is refused later on."""
    here = model == TINY or os.path.exists(os.path.expanduser(model))
    return not here and _HUB_ID.fullmatch(model) is not None


def texts_of(task: Task, rows: pa.Table) -> Iterator[str]:
    """All texts of a split."""
    for column in task.text_columns:
        yield from rows[column].to_pylist()


def _check_layers(space: Space, base: Base) -> list[str]:
    """Whether the model has the layers that the space's hyperparameters are about; what to know."""
    from tuner.layers import refusal
    from tuner.models import blank_model

    mine = [parameter for parameter in space.parameters if parameter.name in OUR_OWN]
    network = blank_model(base.weights) if mine else None
    for parameter in mine:
        off = (parameter.name, parameter.values) in ((LAYER_DECAY, (1,)), (REINIT_LAYERS, (0,)))
        why = (
            None if off or network is None else refusal(network, parameter.name, parameter.greatest)
        )
        if why is not None:
            raise UserError(
                f"the space {space.name} sets {parameter.name}, which the model {base.name} cannot "
                f"have: {why}; leave it out, or give less, or another --model"
            )
    if base.weights.state is None and any(p.name == REINIT_LAYERS for p in mine):
        return [f"{REINIT_LAYERS} changes nothing: {base.name} is trained from scratch"]
    return []


def _check_smoothing(space: Space, task: Task) -> None:
    for parameter in space.parameters:
        if task.regression and parameter.name == SMOOTHING and parameter.greatest > 0:
            raise UserError(
                f"the space {space.name} sets {SMOOTHING}, which is about classes, but "
                f"{task.name} is a regression; leave it out"
            )


def _check_open(space: Space, settings: Settings) -> None:
    """Whether trials can differ, as they cannot with the settings of a training alone."""
    if settings.trials > 1 and not space.searched and space.seeds is None:
        raise UserError(
            f"every hyperparameter is fixed, and so is the seed: {settings.trials} trials would "
            "all be the same; fix fewer of them (--set, or `set` in the file of --config), or "
            "train once: tuner train"
        )


def _check_batches(space: Space, workers: int) -> None:
    smallest = space.smallest(BATCH)
    if smallest < workers:
        raise UserError(
            f"the space {space.name} draws batches of {smallest} rows, fewer than the {workers} "
            f"workers of a trial; pass --set {BATCH}=N, N at least {workers}, or fewer workers"
        )
