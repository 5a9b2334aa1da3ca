"""The commands that drive a run: tune, train, plan, resume."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.commands import DONE, FAILED, Storage, Which, app
from tuner.errors import UserError
from tuner.forms import parse_duration
from tuner.options import settings_command, training_command
from tuner.settings import Settings, read_run_file

if TYPE_CHECKING:
    from tuner.leaderboard import Row
    from tuner.pipeline import Result
    from tuner.shortfall import Shortfall

NOTHING: Mapping[str, tuple[float, float]] = MappingProxyType({})


@app.command()
@settings_command
def tune(settings: Settings) -> int:
    """Search for the best configuration, retrain it on all rows, and export the model."""
    from tuner import pipeline, progress

    return _conclude(pipeline.tune(settings, progress.watcher(sys.stdout)))


@app.command()
@training_command
def train(settings: Settings) -> int:
    """Train one configuration on all training rows, without a search, and export the model.

    What --set leaves open comes from the first start point of the search space (for --space auto,
    the space that suits the model), and the seed from --seed; a note says which. After each epoch
    the validation rows are scored, and as many of the training rows. Nothing is chosen: the model
    is that of the end of the schedule. Settings of a search in the file of --config are passed
    over.
    """
    from tuner import pipeline, progress

    return _conclude(pipeline.train(settings, progress.watcher(sys.stdout)))


@app.command()
@settings_command
def plan(
    settings: Settings,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Time a few steps and an evaluation on the slots."),
    ] = False,
    price_per_slot_hour: Annotated[
        float | None,
        typer.Option(metavar="X", min=0, help="What an hour of a slot costs."),
    ] = None,
) -> int:
    """Say what `tuner tune` with the same options would do and cost, without starting it."""
    from tuner import outlook, progress
    from tuner.plan import plan as planned

    found = planned(settings, probe=probe, watcher=progress.watcher(sys.stderr))
    if price_per_slot_hour is not None and found.estimate.seconds is None:
        raise UserError(
            f"--price-per-slot-hour {price_per_slot_hour:g}: a cost needs a time; add --probe, "
            "which times a few steps and an evaluation"
        )
    for line in outlook.outlook(found, price_per_slot_hour):
        print(line)
    return DONE


@app.command()
def resume(
    run: Which = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many trials there shall be in all.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="30m", help="The most time to search from now on.")
    ] = None,
    finalists: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=0,
            help="How many of the best configurations run again under --reseeds new seeds.",
        ),
    ] = None,
    reseeds: Annotated[
        int | None,
        typer.Option(
            metavar="R", min=0, help="Under how many new seeds each of the --finalists runs again."
        ),
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="How many trials run at once from now on."),
    ] = None,
    storage: Storage = "runs",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A Ray cluster to use (default: a local Ray is started)."
        ),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the run from a driver that still has it.")
    ] = False,
) -> int:
    """Go on with a run that was interrupted or killed, or extend one that is complete.

    With --finalists and --reseeds, the best configurations of the search run again under new seeds
    and are ranked by their means. A winner that is another one than before is retrained and
    exported; the model of one that stays is kept.
    """
    from tuner import pipeline, progress

    seconds = None if budget is None else parse_duration(budget)
    return _conclude(
        pipeline.resume(
            run,
            storage=storage,
            trials=trials,
            budget=seconds,
            finalists=finalists,
            reseeds=reseeds,
            address=address,
            slots=slots,
            take_over=take_over,
            watcher=progress.watcher(sys.stdout),
        )
    )


def _conclude(result: Result) -> int:
    from tuner.commands.boards import board

    print(board(result.run), end="")
    for line in _closing(result):
        print(line)
    return FAILED if result.interrupted else DONE


def _closing(result: Result) -> list[str]:
    """What came out, where it lies and what can be done with it."""
    from tuner.cells import configuration
    from tuner.headings import baseline
    from tuner.journal import read_history
    from tuner.outlook import comparison

    run, best = result.run, result.best
    file = read_run_file(run)
    where = shlex.quote(run.where)
    address = file.settings.address
    on = "" if address is None else f" --address {shlex.quote(address)}"
    lines = ["", f"run        {run.where}"]
    if result.interrupted:
        return [*lines, f"go on      tuner resume {where}{on}"]
    if best is not None:
        name = "trained" if file.plain else "winner"
        lines.append(f"{name:11}{best.trial}: {configuration(best.hyperparameters)}{_over(best)}")
    lines += comparison(file.facts, read_history(run.journal_file))
    if result.metrics is not None and result.model_dir is not None:
        how = "trained" if file.plain else "retrained"
        facts = file.facts.get("data") or {}
        majority = (facts.get("majority") or {}).get("validation") or {}
        regression = (file.facts.get("task") or {}).get("label_names") == []
        lines += [
            f"validation {_scores(result.metrics, result.intervals)}, {how} on all training rows",
            *(f"           {_scores(more)} on {split}" for split, more in result.more.items()),
            f"           {_scores(majority)} for {baseline(regression)}",
            *([f"beware     {_short(result.shortfall)}"] if result.shortfall else []),
            f"model      {result.model_dir}",
            f"use it     pipeline('text-classification', model={str(result.model_dir)!r})",
            f"predict    tuner predict {where} --input FILE --output predictions.tsv",
        ]
    if file.plain:
        return lines
    searched = sum(row.reseed_of is None for row in result.rows)
    return [*lines, f"extend     tuner resume {where}{on} --trials {2 * searched}"]


def _short(found: Shortfall) -> str:
    return (
        f"that is {abs(found.expected - found.score):.4f} worse than its trial, more than the rows "
        "explain: what to do stands above the leaderboard"
    )


def _over(best: Row) -> str:
    return f"; the best mean over {best.seeds} seeds" if best.seeds > 1 else ""


def _scores(
    metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]] = NOTHING
) -> str:
    """Each metric with its value and, where it is known, its 95 % interval."""
    bounds = {name: f" ({low:.4f} to {high:.4f})" for name, (low, high) in intervals.items()}
    return ", ".join(f"{name} {value:.4f}{bounds.get(name, '')}" for name, value in metrics.items())
