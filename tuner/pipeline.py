"""The stages in order: prepare, search, leaderboard, retrain, export. `tune` and `resume` return a
`Result`; nothing here prints, and each stage's insides are its module's.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import SearchError
from tuner.history import History
from tuner.identity import check_same, describe, extended, plain_layout, time_left
from tuner.journal import Journal, read_history
from tuner.leaderboard import LeaderboardFiles, Row, best, rows, to_frame, write_leaderboard
from tuner.preparation import Preparation, prepare, resolve
from tuner.progress import Silent, Watcher
from tuner.provenance import versions
from tuner.runs import Run, check_free, check_storage, create_run, find_run, hold
from tuner.settings import Settings, read_run_file, write_run_file

if TYPE_CHECKING:
    import pandas as pd

    from tuner.ledger import Reason
    from tuner.resources import Layout, Node


@dataclass(frozen=True)
class Result:
    """What came out of a run. `metrics` are the retrained model's on the validation split; they and
    `model_dir` are None when nothing was retrained. `reason` tells why the search ended:
    "complete", "budget", "interrupted" or "lost"."""

    run: Run
    rows: tuple[Row, ...]
    reason: str
    metrics: Mapping[str, float] | None = None
    model_dir: Path | None = None

    @property
    def best(self) -> Row | None:
        """The winner: the best finished trial."""
        return best(self.rows)

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended by hand; `tuner resume` goes on with it."""
        return self.reason == "interrupted"

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The leaderboard as a frame, a row a trial, best first."""
        return to_frame(self.rows)


def tune(settings: Settings, watcher: Watcher | None = None) -> Result:
    """Search, retrain the best configuration on all training rows, and export it.

    Raises UserError for input that cannot be used, leaving no run folder behind, and SearchError
    when no trial finishes. `watcher` is told what happens while it happens.
    """
    settings, task = resolve(settings)
    check_storage(settings.storage)
    if settings.name is not None:
        check_free(settings.storage, settings.name)
    with watcher or Silent() as watching:
        preparation = prepare(settings, task, watching.stage)
        with _devices(settings, watching) as (nodes, layout):
            run = create_run(settings.storage, task.name, settings.name)
            with hold(run):
                describe(run, preparation, layout)
                return _run(run, preparation, nodes, layout, watching)


def resume(
    which: str | None = None,
    *,
    storage: str = "runs",
    trials: int | None = None,
    budget: float | None = None,
    address: str | None = None,
    watcher: Watcher | None = None,
) -> Result:
    """Go on with a run that was interrupted, killed or is to be extended to `trials` trials.

    Trials that are done stay as they are; begun ones run again under their own names. A run whose
    search is complete is only retrained and exported, where that is missing. `trials` or `budget`
    give the run a new limit of time (`budget` seconds, or none). Raises UserError when there is no
    such run, when another process drives it, or when its data or search space have changed.
    """
    run = find_run(storage, which)
    with hold(run):
        file = read_run_file(run)
        history = read_history(run.journal_file)
        settings = extended(file.settings, history, trials, budget, address)
        settings, task = resolve(settings)
        with watcher or Silent() as watching:
            watching.stage(f"resuming {run.name}")
            preparation = prepare(settings, task, watching.stage)
            check_same(run, preparation, file.facts)
            with _devices(settings, watching) as (nodes, layout):
                write_run_file(run, settings, {**file.facts, "layout": plain_layout(layout)})
                return _run(run, preparation, nodes, layout, watching)


@contextmanager
def _devices(settings: Settings, watcher: Watcher) -> Iterator[tuple[tuple[Node, ...], Layout]]:
    """Ray, its hosts, and the slots laid out on them."""
    from tuner.resources import lay_out
    from tuner.session import ray_session

    watcher.stage("starting Ray")
    with ray_session(settings.address) as nodes:
        yield (
            nodes,
            lay_out(
                nodes,
                slots=None if settings.slots == "auto" else settings.slots,
                workers=settings.workers_per_trial,
                gpus_per_worker=settings.gpus_per_worker,
            ),
        )


def _run(
    run: Run,
    preparation: Preparation,
    nodes: tuple[Node, ...],
    layout: Layout,
    watcher: Watcher,
) -> Result:
    """Search, retrain, export: what `tune` and `resume` share once everything is checked."""
    for warning in preparation.warnings:
        watcher.note(warning)
    watcher.aim(preparation.task.objective, preparation.direction)
    reason, news = _search(run, preparation, layout, watcher)
    history = read_history(run.journal_file)
    table = tuple(rows(history, preparation.direction))
    write_leaderboard(run, table)
    winner = best(table)
    if winner is None and reason != "interrupted":
        raise SearchError(_nothing_finished(run, table))
    result = Result(run, table, reason)
    if winner is None or result.interrupted or not preparation.settings.retrain:
        return result
    metrics = None if news else _exported(run, winner)
    if metrics is None:
        try:
            metrics = _retrain(run, preparation, nodes, winner, history, watcher)
        except KeyboardInterrupt:
            return Result(run, table, "interrupted")
    return Result(run, table, reason, metrics, run.best_folder)


def _nothing_finished(run: Run, table: tuple[Row, ...]) -> str:
    errors = [row.error for row in table if row.error]
    if not errors:
        return (
            f"no trial finished in {run.name}; give it more time: "
            f"tuner resume {shlex.quote(str(run.folder))} --budget 30m"
        )
    return f"no trial finished in {run.name}; {len(errors)} failed, the first with: {errors[0]}"


def _search(
    run: Run, preparation: Preparation, layout: Layout, watcher: Watcher
) -> tuple[Reason, bool]:
    """Run the search; also says whether any trial ended in it."""
    import ray

    from tuner.ledger import Ledger
    from tuner.scheduler import Judge
    from tuner.search import run_search
    from tuner.slots import CrewPlan, SlotPlan
    from tuner.study import Study

    settings, data = preparation.settings, preparation.data
    train_files = run.search_folder.absolute() / "train"
    shutil.rmtree(train_files, ignore_errors=True)  # of a driver that was killed
    with Journal.open(run.journal_file) as journal:
        done = journal.history.done
        if done >= settings.trials and journal.history.reason == "complete":
            return "complete", False
        study = Study(
            run.optuna_file,
            run.name,
            preparation.space,
            preparation.direction,
            settings.seed,
            list(journal.history.records.values()),
            layout.slots,
        )
        files = LeaderboardFiles(run, preparation.direction)
        ledger = Ledger(
            journal,
            study,
            Judge(settings.rungs, preparation.direction, asha=settings.scheduler == "asha"),
            (watcher, files),
            objective=preparation.task.objective,
            direction=preparation.direction,
            planned=settings.trials,
            slots=layout.slots,
            seconds=time_left(settings, journal.history),
            attempts=settings.max_failures + 1,
        )
        watcher.stage("starting the slots")
        materials = _materials(preparation, layout, data.train, data.selection)
        plan = SlotPlan(
            CrewPlan(
                (ray.put(materials),),
                workers=layout.workers,
                cpus=layout.cpus,
                gpus=layout.gpus,
                folder=str(train_files),
            ),
            rungs=settings.rungs,
            checkpoints=str(run.checkpoints_folder.absolute()),
            checkpoint_every=settings.checkpoint_every,
            predictions=str(run.predictions_folder.absolute()),
        )
        reason = run_search(ledger, plan, layout, run.search_folder.absolute())
        shutil.rmtree(train_files, ignore_errors=True)
        if run.checkpoints_folder.is_dir() and not any(run.checkpoints_folder.iterdir()):
            run.checkpoints_folder.rmdir()
        return reason, journal.history.done > done


def _materials(preparation: Preparation, layout: Layout, train: Any, selection: Any) -> Any:
    from tuner.bench import Materials

    return Materials(
        weights=preparation.base.weights,
        train=train,
        selection=selection,
        metrics=preparation.task.metrics,
        regression=preparation.task.regression,
        precision=preparation.settings.precision,
        threads=layout.threads,
        gpus=layout.gpus,
    )


def _retrain(
    run: Run,
    preparation: Preparation,
    nodes: tuple[Node, ...],
    winner: Row,
    history: History,
    watcher: Watcher,
) -> Mapping[str, float]:
    from tuner.hyperparameters import BATCH
    from tuner.resources import retrain_layout
    from tuner.retrain import retrain

    settings, data = preparation.settings, preparation.data
    watcher.stage(f"retraining {winner.trial} on all {data.full_train.num_rows} training rows")
    layout = retrain_layout(nodes, settings.gpus_per_worker, int(winner.hyperparameters[BATCH]))
    for leftover in run.folder.glob(".retraining-*"):  # of a driver that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".retraining-", dir=run.folder.absolute()) as folder:
        retrained = retrain(
            _materials(preparation, layout, data.full_train, data.validation),
            winner.hyperparameters,
            layout,
            Path(folder),
            watcher,
            local=settings.address is None,
        )
        watcher.stage("exporting")
        _export(run, preparation, winner, history, retrained.folder, retrained.report.metrics)
    return retrained.report.metrics


def _export(
    run: Run,
    preparation: Preparation,
    winner: Row,
    history: History,
    trained: Path,
    metrics: Mapping[str, float],
) -> None:
    from tuner.export import CardFacts, export_model

    task, data, base = preparation.task, preparation.data, preparation.base
    statuses = [record.status for record in history.records.values()]
    facts = CardFacts(
        base_model=base.name,
        hub_id=base.hub_id,
        finished=statuses.count("finished"),
        stopped=statuses.count("stopped"),
        failed=statuses.count("failed"),
        seconds=history.seconds,
        space=preparation.space.name,
        objective=task.objective,
        direction=preparation.direction,
        selected_on=data.selected_on,
        train_rows=data.train.num_rows,
        selection_rows=data.selection.num_rows,
        full_train_rows=data.full_train.num_rows,
        winner=winner.trial,
        winner_score=float(winner.objective or 0.0),
        majority=data.majority["validation"],
        seed=preparation.settings.seed,
        versions=versions(),
    )
    export_model(
        trained,
        run,
        task,
        base.tokenizer,
        metrics=metrics,
        rows=data.validation.num_rows,
        split="validation",
        hyperparameters=winner.hyperparameters,
        card=facts,
        max_length=data.max_length,
    )


def _exported(run: Run, winner: Row) -> Mapping[str, float] | None:
    """The metrics of the model exported before; None when there is none of this winner."""
    import json

    try:
        said = json.loads((run.best_folder / "metrics.json").read_text())
        found: dict[str, float] = said["metrics"]
        return found if said["hyperparameters"] == winner.hyperparameters else None
    except (OSError, ValueError, KeyError):
        return None
