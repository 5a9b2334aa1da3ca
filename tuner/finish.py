"""What becomes of a run's winner: retrained on all training rows, scored, exported. And the one
training of a run without a search, which is exported alike.

Knows nothing of the search.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import CrewLost, SearchError, UserError
from tuner.history import History
from tuner.journal import Journal, read_history
from tuner.keeping import check_room_left
from tuner.leaderboard import Row, rows
from tuner.plan import model_bytes
from tuner.predict import scores_of
from tuner.provenance import versions
from tuner.runs import Run
from tuner.stages import Job, ledger_of

if TYPE_CHECKING:
    from tuner.ledger import Reason
    from tuner.resources import Layout
    from tuner.retrain import Trained


def train(job: Job) -> Reason:
    """The one training of a run without a search, and its export; why it ended."""
    from tuner.plain import train_alone

    run, preparation, check = job.run, job.preparation, job.lease.check
    with _scratch(run) as folder:
        with Journal.open(run.journal_file, check) as journal:
            trained = None
            reason: Reason = "complete"
            if not journal.history.done:
                check_room_left(run, 2 * model_bytes(preparation))
                ledger = ledger_of(job, journal, 1, 1)
                trained = train_alone(
                    ledger, run, preparation, job.nodes, folder, job.watcher, check
                )
                reason = ledger.close()
        if trained is not None:
            history = read_history(run.journal_file)
            (row,) = rows(history, preparation.direction)
            _export(job, row, history, trained)
    return reason


def retrain_winner(job: Job, winner: Row, history: History) -> None:
    """Retrain and export the winner; again, on the hosts that are left, when a worker is lost or
    finds no room."""
    from tuner import hosts
    from tuner.hyperparameters import BATCH
    from tuner.resources import retrain_layout

    run, preparation = job.run, job.preparation
    settings, batch = preparation.settings, int(winner.hyperparameters[BATCH])
    losses = 0
    # Other things may have filled the disk since the start.
    check_room_left(run, 2 * model_bytes(preparation))
    while True:
        there = (
            hosts.staying(hosts.alive()) or job.nodes
        )  # not all that the search began on are left
        layout = retrain_layout(there, settings.gpus_per_worker, batch)
        try:
            return _retrain_once(job, layout, winner, history)
        except CrewLost as error:
            losses += 1
            alone = settings.address is None and layout.workers == 1  # this very process
            if alone or losses > settings.max_failures:
                raise SearchError(
                    f"the retraining has no workers: {error}; do it again with "
                    f"tuner resume {shlex.quote(run.where)}"
                ) from error
            job.watcher.note(f"the retraining begins again: {error}")


def _retrain_once(job: Job, layout: Layout, winner: Row, history: History) -> None:
    from tuner.retrain import RETRAINED, retrain

    run, preparation, watcher = job.run, job.preparation, job.watcher
    settings, data = preparation.settings, preparation.data
    spread = f", on {layout.workers} workers" if layout.workers > 1 else ""
    rows_of_all = f"all {data.full_train.num_rows} training rows"
    watcher.stage(f"retraining {winner.trial} on {rows_of_all}{spread}")
    with _scratch(run) as folder:
        retrained = retrain(
            preparation.materials(layout, data.full_train, data.validation),
            winner.hyperparameters,
            layout,
            folder,
            watcher,
            run=run.where,
            local=settings.address is None,
            check=job.lease.check,
            handover=None if settings.address is None or run.uri is None else run.place(RETRAINED),
        )
        _export(job, winner, history, retrained)


def _export(job: Job, winner: Row, history: History, trained: Trained) -> None:
    from tuner.cards import CardFacts
    from tuner.counterparts import score_counterparts
    from tuner.export import export_model

    preparation, watcher = job.preparation, job.watcher
    task, data, base = preparation.task, preparation.data, preparation.base
    place = preparation.settings.data
    more = score_counterparts(task, place, trained.folder, base.tokenizer, data.max_length, watcher)
    watcher.stage("exporting")
    job.lease.check()
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
        searched=not preparation.plain,
    )
    export_model(
        trained.folder,
        job.run,
        task,
        base.tokenizer,
        metrics=trained.report.metrics,
        more=more,
        rows=data.validation.num_rows,
        split="validation",
        hyperparameters=winner.hyperparameters,
        card=facts,
        max_length=data.max_length,
    )


@contextmanager
def _scratch(run: Run) -> Iterator[Path]:
    """A folder for a model on its way to the export; what a killed driver left of one goes."""
    for leftover in run.folder.glob(".retraining-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".retraining-", dir=run.folder.absolute()) as folder:
        yield Path(folder)


def exported(run: Run, winner: Row) -> dict[str, Any] | None:
    """The scores of the model exported before; None when there is none of this winner."""
    try:
        scores = scores_of(run.best_folder)
        return scores if scores["hyperparameters"] == winner.hyperparameters else None
    except (UserError, KeyError):
        return None
