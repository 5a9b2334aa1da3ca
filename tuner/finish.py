"""What becomes of a run's winner: retrained on all training rows, scored, exported. And the one
training of a run without a search, which is exported alike.

Knows nothing of the search.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.comparer import comparisons_of
from tuner.documents import write_json
from tuner.errors import CrewLost, SearchError, UserError
from tuner.grading import LOGITS, final_evaluation, forget
from tuner.history import History
from tuner.journal import Journal, read_history
from tuner.keeping import check_room_left
from tuner.leaderboard import Row, rows
from tuner.plan import model_bytes
from tuner.provenance import versions
from tuner.runs import Run
from tuner.shortfall import Shortfall, shortfall
from tuner.stages import Job, ledger_of
from tuner.swaps import restore
from tuner.views import scores_of

if TYPE_CHECKING:
    from tuner.cards import CardFacts
    from tuner.ledger import Reason
    from tuner.resources import Layout


PLACE = ".retraining-model"
"""Where in a run's folder a model lies between its training and its export."""

_TRAINED = "trained.json"
"""Says whose model lies there, and what it scored: it is whole."""


def train(job: Job) -> Reason:
    """The one training of a run without a search, and its export; why it ended. What was trained
    before is left to `retrain_winner`."""
    from tuner.plain import train_alone

    run, preparation, check = job.run, job.preparation, job.lease.check
    with Journal.open(run.journal_file, check) as journal:
        if journal.history.done:
            return "complete"
        with _place(job) as folder:
            ledger = ledger_of(job, journal, 1, 1)
            trained = train_alone(ledger, run, preparation, job.nodes, folder, job.watcher, check)
            reason = ledger.close()
            if trained is None:
                return reason
            history = read_history(run.journal_file)
            (row,) = rows(history, preparation.direction)
            try:
                _export(job, row, history, trained.folder, trained.report.metrics)
            except KeyboardInterrupt:
                return "interrupted"
    return reason


def retrain_winner(job: Job, winner: Row, history: History) -> None:
    """Retrain and export the winner; again, on the hosts that are left, when a worker is lost or
    finds no room. A model of the winner's that an earlier driver trained is only exported."""
    from tuner import hosts
    from tuner.hyperparameters import BATCH
    from tuner.resources import retrain_layout

    run, preparation = job.run, job.preparation
    if (metrics := _trained(run, winner)) is not None:
        job.watcher.note(f"{winner.trial} is trained already, and only has to be exported")
        return _export(job, winner, history, run.folder / PLACE / "model", metrics)
    if preparation.plain:
        job.watcher.note("the trained model is no longer there: it is trained once more")
    settings, batch = preparation.settings, int(winner.hyperparameters[BATCH])
    losses = 0
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
    with _place(job) as folder:
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
            predictions=run.place(LOGITS),
        )
        _export(job, winner, history, retrained.folder, retrained.report.metrics)


def _export(
    job: Job, winner: Row, history: History, model: Path, metrics: Mapping[str, float]
) -> None:
    """Export the trained `model`, which scored `metrics`; it goes once that is done."""
    said = {"hyperparameters": dict(winner.hyperparameters), "metrics": dict(metrics)}
    with contextlib.suppress(OSError):  # the export itself tells of a disk that takes no more
        write_json(model.parent / _TRAINED, said)
    try:
        _write(job, winner, history, model, metrics)
    except KeyboardInterrupt:
        job.watcher.note("the trained model stays: tuner resume only exports it")
        raise
    shutil.rmtree(model.parent, ignore_errors=True)


def _write(
    job: Job, winner: Row, history: History, model: Path, metrics: Mapping[str, float]
) -> None:
    from tuner.counterparts import score_counterparts
    from tuner.export import export_model

    preparation, watcher = job.preparation, job.watcher
    task, data, base = preparation.task, preparation.data, preparation.base
    place = preparation.settings.data
    more = score_counterparts(task, place, model, base.tokenizer, data.max_length, watcher)
    watcher.stage("exporting")
    job.lease.check()
    logits = job.run.place(LOGITS)
    evaluation = final_evaluation(
        task,
        preparation.validation,
        metrics,
        [logits, f"{job.run.place(job.run.predictions_folder.name)}/{winner.trial}.parquet"],
    )
    intervals = evaluation.plain()["intervals"] if evaluation is not None else {}
    export_model(
        model,
        job.run,
        task,
        base.tokenizer,
        metrics=metrics,
        more=more,
        rows=data.validation.num_rows,
        split="validation",
        hyperparameters=winner.hyperparameters,
        card=_facts(job, winner, history),
        max_length=data.max_length,
        evaluation=evaluation,
        shortfall=_shortfall_of(job, history, metrics, intervals, data.validation.num_rows),
    )
    forget(logits)


def keep_model(job: Job, winner: Row, history: History, scores: Mapping[str, Any]) -> None:
    """Have the exported model of a winner that won again tell of the search as it is now.
    `scores` are those in its metrics.json."""
    from tuner.export import tell_again

    intervals = scores.get("intervals") or {}
    found = _shortfall_of(job, history, scores["metrics"], intervals, scores["rows"])
    preparation = job.preparation
    job.lease.check()
    tell_again(
        job.run,
        preparation.task,
        scores,
        card=_facts(job, winner, history),
        max_length=preparation.data.max_length,
        shortfall=found,
    )
    job.watcher.note(f"{winner.trial} is still the winner: its model stays")


def _shortfall_of(
    job: Job,
    history: History,
    metrics: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]],
    count: int,
) -> Shortfall | None:
    """How far the final model falls short of its trial, if it does (`tuner.shortfall`). A training
    without a search has no trial beside its model."""
    if job.preparation.plain:
        return None
    objective, direction = job.preparation.task.objective, job.preparation.direction
    found = comparisons_of(job.run, history, objective, direction)
    table = rows(history, direction, found)
    same = job.preparation.settings.select_on == "validation"
    return shortfall(table, objective, direction, metrics, intervals, count, same_rows=same)


def _facts(job: Job, winner: Row, history: History) -> CardFacts:
    """What the model's card tells of the search."""
    from tuner.cards import CardFacts

    preparation = job.preparation
    data, base = preparation.data, preparation.base
    mean = winner.objective_mean
    statuses = [record.status for record in history.records.values()]
    return CardFacts(
        base_model=base.name,
        hub_id=base.hub_id,
        finished=statuses.count("finished"),
        stopped=statuses.count("stopped"),
        failed=statuses.count("failed"),
        seconds=history.seconds,
        space=preparation.space.name,
        objective=preparation.task.objective,
        direction=preparation.direction,
        selected_on=data.selected_on,
        train_rows=data.train.num_rows,
        selection_rows=data.selection.num_rows,
        full_train_rows=data.full_train.num_rows,
        winner=winner.trial,
        winner_score=float((winner.objective if mean is None else mean) or 0.0),
        winner_seeds=winner.seeds,
        majority=data.majority["validation"],
        seed=preparation.settings.seed,
        versions=versions(),
        searched=not preparation.plain,
    )


@contextmanager
def _place(job: Job) -> Iterator[Path]:
    """A folder for a model on its way to the export, on a disk with room for both; what a killed
    driver left of one goes. A model that is whole stays there until it is exported."""
    run = job.run
    _tidy(run)
    # Other things may have filled the disk since the start.
    check_room_left(run, 2 * model_bytes(job.preparation))
    folder = run.folder.absolute() / PLACE
    folder.mkdir()
    try:
        yield folder
    finally:
        if not (folder / _TRAINED).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _tidy(run: Run) -> None:
    for leftover in run.folder.glob(".retraining-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _trained(run: Run, winner: Row) -> Mapping[str, float] | None:
    """What the winner's model scored that waits for its export; None when there is none."""
    place = run.folder / PLACE
    try:
        said = json.loads((place / _TRAINED).read_text(encoding="utf-8"))
        metrics: Mapping[str, float] = said["metrics"]
        whole = (place / "model" / "config.json").is_file()
        return metrics if whole and said["hyperparameters"] == winner.hyperparameters else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def exported(run: Run, winner: Row) -> dict[str, Any] | None:
    """The scores of the model exported before; None when there is none of this winner."""
    restore(run.best_folder)
    try:
        scores = scores_of(run.best_folder)
        if scores["hyperparameters"] != winner.hyperparameters:
            return None
    except (UserError, KeyError):
        return None
    _tidy(run)
    return scores
