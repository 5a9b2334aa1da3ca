"""The commands: parse, call one function each, print. Knows nothing of how anything is done.

The exit code is 0 when done, 2 when the user's input is at fault (one line on stderr, no
traceback), and 1 for anything else. Commands that only read import nothing heavy.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from tuner.errors import TunerError, UserError
from tuner.options import settings_command
from tuner.settings import STORAGE, Settings, parse_duration, read_run_file

if TYPE_CHECKING:
    import pyarrow as pa

    from tuner.pipeline import Result
    from tuner.runs import Run
    from tuner.tasks import Task

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DONE, FAILED, USAGE = 0, 1, 2
COPIES = "runs"
"""The folder for copies of runs that lie elsewhere, and for runs where nothing else is said."""

INTERRUPTED = 130
"""Typer's own code for Ctrl-C; ours is FAILED, as for all that is not done."""

Which = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="A run's name, path or URI (default: the newest)."),
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="DIR|URI", envvar=STORAGE, help="The folder or the store that holds the runs."
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script, on `arguments` or its own. SIGTERM, a batch system's Ctrl-C, is one."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a character cannot be shown, "?" is
    sys.exit(run_guarded(sys.argv[1:] if arguments is None else arguments))


def run_guarded(arguments: Sequence[str]) -> int:
    """Run a command line; errors become one line on stderr and an exit code."""
    try:
        code = app(list(arguments), prog_name="tuner", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _complain(f"{error.format_message()} (see tuner --help)", error.exit_code)
    except UserError as error:
        return _complain(error, USAGE)
    except TunerError as error:
        return _complain(error, FAILED)
    except typer.Abort:
        return _complain("interrupted", FAILED)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if code == INTERRUPTED:
        return _complain("interrupted", FAILED)
    return int(code or DONE)


def _complain(what: object, code: int) -> int:
    print("tuner:", " ".join(str(what).split()), file=sys.stderr)
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        from tuner import __version__

        print(f"tuner {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """From a task name to a tuned, honestly scored, exported text classifier."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
@settings_command
def tune(settings: Settings) -> int:
    """Search for the best configuration, retrain it on all rows, and export the model."""
    from tuner import pipeline, progress

    return _conclude(pipeline.tune(settings, progress.watcher(sys.stdout)))


@app.command()
@settings_command
def plan(
    settings: Settings,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Time a few steps and an evaluation on one slot."),
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
    """Go on with a run that was interrupted or killed, or extend one that is complete."""
    from tuner import pipeline, progress

    seconds = None if budget is None else parse_duration(budget)
    return _conclude(
        pipeline.resume(
            run,
            storage=storage,
            trials=trials,
            budget=seconds,
            address=address,
            take_over=take_over,
            watcher=progress.watcher(sys.stdout),
        )
    )


def _conclude(result: Result) -> int:
    print(_board(result.run, "table", None), end="")
    for line in _closing(result):
        print(line)
    return FAILED if result.interrupted else DONE


def _closing(result: Result) -> list[str]:
    """What came out, where it lies and what can be done with it."""
    from tuner.journal import read_history
    from tuner.outlook import comparison
    from tuner.rendering import configuration

    run, best = result.run, result.best
    file = read_run_file(run)
    where = shlex.quote(run.where)
    address = file.settings.address
    on = "" if address is None else f" --address {shlex.quote(address)}"
    lines = ["", f"run        {run.where}"]
    if result.interrupted:
        return [*lines, f"go on      tuner resume {where}{on}"]
    if best is not None:
        lines.append(f"winner     {best.trial}: {configuration(best.hyperparameters)}")
    lines += comparison(file.facts, read_history(run.journal_file))
    if result.metrics is not None and result.model_dir is not None:
        facts = file.facts.get("data") or {}
        majority = (facts.get("majority") or {}).get("validation") or {}
        lines += [
            f"validation {_scores(result.metrics)}, retrained on all training rows",
            f"           {_scores(majority)} for always the majority class (or the mean)",
            f"model      {result.model_dir}",
            f"use it     pipeline('text-classification', model={str(result.model_dir)!r})",
            f"predict    tuner predict {where} --input FILE --output predictions.tsv",
        ]
    return [*lines, f"extend     tuner resume {where}{on} --trials {len(result.rows) * 2}"]


def _scores(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


@app.command()
def leaderboard(
    run: Which = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json|md", help="How to print it.")
    ] = "table",
    top: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N rows.")
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch", help=f"Copy a run that lies in a store to {COPIES}/NAME here, too."
        ),
    ] = False,
    storage: Storage = "runs",
) -> int:
    """Print a run's leaderboard: finished trials, best first, then stopped, then failed ones."""
    from tuner.runs import find_run

    found = find_run(storage, run)
    print(_board(found, form, top), end="")
    if fetch:
        from tuner.mirror import copy_to

        copy = copy_to(found, Path(COPIES))
        done = "lies here already, in" if copy == found else "copied to"
        print(f"{done} {copy.folder}", file=sys.stderr)
    return DONE


def _board(run: Run, form: str, top: int | None) -> str:
    from tuner.headings import heading
    from tuner.journal import read_history
    from tuner.leaderboard import rows
    from tuner.leases import is_held
    from tuner.rendering import render
    from tuner.tasks import direction, find_task

    file, history = read_run_file(run), read_history(run.journal_file)
    task = str(file.settings.task)
    objective = file.settings.objective or find_task(task).objective
    better = direction(objective)
    about = heading(
        run.name,
        task,
        objective,
        better,
        file.facts,
        history,
        live=is_held(run),
        resume=shlex.quote(run.where),
    )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    colour = width is not None and not os.environ.get("NO_COLOR")
    return render(rows(history, better), form, about, top=top, width=width, colour=colour)


@app.command()
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, path or URI.")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's name, such as t003.")],
    storage: Storage = "runs",
) -> int:
    """Print what became of a trial: the journal's lines about it, then its process's log."""
    from tuner.logs import trial_lines
    from tuner.runs import find_run

    for line in trial_lines(find_run(storage, run), trial):
        print(line)
    return DONE


@app.command()
def predict(
    which: Annotated[
        str,
        typer.Argument(metavar="RUN|DIR", help="A run's name, path or URI, or a model's folder."),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write: .tsv (GLUE's form), .csv, .jsonl.")
    ],
    split: Annotated[
        str | None, typer.Option(metavar="train|validation|test", help="A split of the task.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Rows of your own: TSV, CSV, JSONL."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="A column a label instead of the prediction.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="GLUE's files for --split (default: the run's)."),
    ] = None,
    storage: Storage = "runs",
) -> int:
    """Predict the rows of a split or of a file with an exported model."""
    from tuner import predict as model
    from tuner.inputs import row_index

    model.check_output(output)
    folder, files = _exported(which, storage)
    task = model.task_of(folder)
    rows = _rows_to_predict(task, split, file, data or files)
    logits = model.predict(folder, task, rows)
    write = model.write_probabilities if probabilities else model.write_submission
    write(output, task, logits, row_index(rows))
    print(f"wrote {rows.num_rows} predictions to {output}")
    return DONE


def _exported(which: str, storage: str) -> tuple[Path, str | None]:
    """The model's folder, and the folder of GLUE's files that its run was given."""
    from tuner.runs import bring, find_run

    folder = Path(os.path.expanduser(which))
    if os.path.isfile(folder / "config.json"):
        return folder, None
    run = find_run(storage, which)
    settings = read_run_file(run).settings
    if not bring(run, run.best_folder.name):
        unless = (
            "" if settings.retrain else f"set `retrain: true` in {run.place('run.yaml')}, then "
        )
        raise UserError(
            f"the run {run.name} has exported no model; {unless}finish it: "
            f"tuner resume {shlex.quote(run.where)}"
        )
    return run.best_folder, settings.data


def _rows_to_predict(
    task: Task, split: str | None, file: Path | None, data: str | None
) -> pa.Table:
    from tuner.hub import probe_hub
    from tuner.inputs import read_input
    from tuner.sources import Split, read_split

    if (split is None) == (file is None):
        raise UserError("pass one of --split NAME and --input FILE: which rows to predict")
    if file is not None:
        return read_input(file, task)
    if split not in get_args(Split):
        raise UserError(f"--split {split}: must be train, validation or test")
    if task.hub is not None and data is None:
        probe_hub(dataset=task.hub[0])
    return read_split(task, cast(Split, split), data)


@app.command()
def tasks() -> int:
    """List the tasks that are built in."""
    from tuner.tasks import TASKS

    for task in TASKS.values():
        labels = ", ".join(task.label_names) or "a number"
        others = [name for name in task.metrics if name != task.objective]
        print(f"{task.name:8}  {task.title}")
        print(f"{'':8}  labels: {labels}")
        print(
            f"{'':8}  objective: {task.objective}"
            + (f"; also {', '.join(others)}" if others else "")
        )
    return DONE


@app.command()
def spaces() -> int:
    """List the search spaces that are built in."""
    from tuner.spaces import built_in_spaces

    for space in built_in_spaces():
        print(f"{space.name}: {space.description}")
        for parameter in space.parameters:
            print(f"  {parameter.name:28} {parameter}")
        print(f"  {'start points':28} {len(space.start)}")
    return DONE
