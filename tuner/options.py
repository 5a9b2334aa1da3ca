"""The options that say what a run does: one flag for every field of `Settings`, with its help.

Each defaults to None, so that a settings file shows through where no flag is given; the defaults in
the help are those of `Settings`. Knows nothing of what the settings do.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.settings import OF_A_SEARCH, Settings, load_settings

LEARN = "What is learned"
SEARCH = "The search"
SLOTS = "Slots and devices"
RUN = "The run"


@dataclass(frozen=True)
class Flag:
    """The flag of one field of `Settings`; a bool gets a `--no-` form too."""

    field: str
    kind: Any
    metavar: str | None
    panel: str
    help: str

    @property
    def name(self) -> str:
        """As it is typed: `--max-length`."""
        return "--" + self.field.replace("_", "-")

    @property
    def parameter(self) -> inspect.Parameter:
        """The parameter that typer reads."""
        name = f"{self.name}/--no-{self.name[2:]}" if self.kind is bool else self.name
        default = Settings.model_fields[self.field].get_default(call_default_factory=True)
        shown = "" if default in (None, (), {}) else f" (default: {_plain(default)})"
        option = typer.Option(
            name, metavar=self.metavar, help=self.help + shown + ".", rich_help_panel=self.panel
        )
        return inspect.Parameter(
            self.field,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[self.kind | None, option],
        )


FLAGS = (
    Flag(
        "task",
        str,
        "NAME|FILE",
        LEARN,
        "The task, which `tuner tasks` lists, or a task file (default: what --data suggests)",
    ),
    Flag(
        "data",
        list[str],
        "PLACE|SPLIT=FILE",
        LEARN,
        "The rows: a file (CSV, TSV, JSONL, Parquet), a folder, a Hub data set (user/name:config) "
        "or a URI; or the file of each split, given as train=FILE (default: the task's own)",
    ),
    Flag("text", list[str], "COLUMN", LEARN, "The column of texts; given twice, those of a pair"),
    Flag("label", str, "COLUMN", LEARN, "The column of labels"),
    Flag(
        "split",
        list[str],
        "SPLIT=ROWS",
        LEARN,
        "The rows of train, validation or test: a split of the data by its name (dev), rows "
        "(0:35000), a share drawn by class (0.8), or either of a split (train[0.1])",
    ),
    Flag("train_rows", int, "N", LEARN, "Of the training rows, N drawn by class"),
    Flag("eval_rows", int, "N", LEARN, "Of the validation and of the test rows, N drawn by class"),
    Flag(
        "model",
        str,
        "tiny|ID|DIR",
        LEARN,
        "The model to fine-tune: the built-in tiny one, a Hub id or a folder "
        "(default: tiny for demo, distilbert/distilbert-base-uncased otherwise)",
    ),
    Flag("fraction", float, "F", LEARN, "The share of the training rows that the search uses"),
    Flag(
        "max_length",
        int,
        "N",
        LEARN,
        "Tokens a row at most (default: what 99.5 % of the training rows need, "
        "within the model's limit)",
    ),
    Flag("select_on", str, "holdout|validation", LEARN, "The rows that trials are scored on"),
    Flag("objective", str, "METRIC", LEARN, "One of the task's metrics (default: the task's own)"),
    Flag(
        "space",
        str,
        "auto|NAME|FILE",
        SEARCH,
        "The search space; `tuner spaces` lists them, auto picks by the model's kind and size",
    ),
    Flag("trials", int, "N", SEARCH, "How many trials to run"),
    Flag("budget", str, "30m", SEARCH, "The most time to search, such as 90s, 30m or 1h30m"),
    Flag("scheduler", str, "asha|none", SEARCH, "Whether ASHA stops the weaker trials early"),
    Flag("rungs", int, "N", SEARCH, "How often a trial is judged, its end included"),
    Flag(
        "finalists",
        int,
        "K",
        SEARCH,
        "How many of the best configurations run again under --reseeds new seeds when the trials "
        "are done, to be ranked by their mean; --budget covers them, too",
    ),
    Flag(
        "reseeds", int, "R", SEARCH, "Under how many new seeds each of the --finalists runs again"
    ),
    Flag(
        "set",
        list[str],
        "NAME=VALUE",
        SEARCH,
        "A hyperparameter's value for every trial; may be repeated",
    ),
    Flag("seed", int, "N", SEARCH, "The seed of the search and of the split"),
    Flag("slots", str, "N|auto", SLOTS, "How many trials run at once (auto: one a GPU, or a core)"),
    Flag("workers_per_trial", int, "K", SLOTS, "How many workers train one trial together"),
    Flag(
        "gpus_per_worker",
        float,
        "G",
        SLOTS,
        "GPUs a worker, 0.25 packs four (default: 1 where there are any)",
    ),
    Flag("precision", str, "auto|fp32|bf16|fp16", SLOTS, "auto is bf16 where the GPU has it"),
    Flag(
        "checkpoint_every",
        str,
        "10m",
        SLOTS,
        "How often a long trial keeps a checkpoint, while it runs",
    ),
    Flag("max_failures", int, "N", SLOTS, "How often a trial whose slot died runs again"),
    Flag(
        "track",
        list[str],
        "tensorboard|mlflow|wandb|none",
        RUN,
        "Who is told of trials as they end: event files in the run, a tracker, or nobody; may be "
        "repeated",
    ),
    Flag("name", str, "NAME", RUN, "The run's name (default: the task and the time)"),
    Flag("storage", str, "DIR|URI", RUN, "The folder or the store (s3://, gs://) for the runs"),
    Flag("address", str, "ADDRESS", RUN, "A Ray cluster to use (default: a local Ray is started)"),
    Flag("retrain", bool, None, RUN, "Whether the best is trained on all rows and exported"),
)

CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="A YAML file of settings, or a run's run.yaml; flags win over it.",
            rich_help_panel=RUN,
        ),
    ],
)


def settings_command(command: Callable[..., int]) -> Callable[..., int]:
    """A typer command that takes every flag and `--config`, and hands `command` the settings.

    What `command` takes beside them become flags of its own.
    """
    return _with_flags(command, FLAGS)


def training_command(command: Callable[..., int]) -> Callable[..., int]:
    """The same without the flags that say nothing about a training without a search."""
    return _with_flags(command, [flag for flag in FLAGS if flag.field not in OF_A_SEARCH])


def data_command(command: Callable[..., int]) -> Callable[..., int]:
    """The same with the flags alone that say which rows are learned from, and how they are read."""
    wanted = {flag.field for flag in FLAGS if flag.panel == LEARN} | {"seed"}
    return _with_flags(command, [flag for flag in FLAGS if flag.field in wanted])


def _with_flags(command: Callable[..., int], offered: Sequence[Flag]) -> Callable[..., int]:
    _, *own = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def with_flags(*, config: Path | None = None, **flags: Any) -> int:
        mine = {parameter.name: flags.pop(parameter.name) for parameter in own}
        return command(load_settings(config, flags), **mine)

    parameters = [
        *(flag.parameter for flag in offered),
        CONFIG,
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
    ]
    with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_flags


def _plain(default: object) -> str:
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)
