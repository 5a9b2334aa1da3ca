"""The trackers that `--track` names: TensorBoard's files, and Ray's own callbacks for the others.

Ray's callbacks (https://docs.ray.io/en/latest/tune/api/logging.html) are driven here, from the
journal's trials, and not by Tune: there a callback that raises ends the search, one that waits for
a server holds up every slot, and a resumed search starts every trial's record anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.endings import Ending
from tuner.errors import TunerError, UserError
from tuner.eventfiles import has_events, write_events
from tuner.runs import Run
from tuner.tracking import PATIENCE, Tracker

if TYPE_CHECKING:
    from ray.tune.logger import LoggerCallback

PROJECT = "tuner"
"""The project in Weights & Biases where WANDB_PROJECT names none."""

_SETTINGS = ("api_key", "mode", "entity", "base_url")


def check_installed(names: tuple[str, ...]) -> None:
    """Raises UserError where a tracker's package is missing; imports none of them."""
    for name in names:
        if name in ("mlflow", "wandb") and find_spec(name) is None:
            raise UserError(
                f"--track {name} needs the package {name}, which the extra brings: "
                f"pip install 'tuner[{name}]'"
            )


def trackers_of(names: tuple[str, ...], run: Run) -> list[Tracker]:
    """The trackers for a run's trials."""
    made: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: EventFiles(run.search_folder),
        "mlflow": lambda: Told("mlflow", run, _mlflow, mlflow_place),
        "wandb": lambda: Told("wandb", run, _wandb, wandb_place),
    }
    return [made[name]() for name in names]


class EventFiles:
    """TensorBoard: a folder a trial in the run's `search/`."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> str | None: ...

    def has(self, trial: str) -> bool:
        return has_events(self._folder, trial)

    def take(self, ending: Ending) -> None:
        write_events(self._folder, ending)

    def close(self) -> None: ...


class Told:
    """A tracker behind one of Ray's callbacks. What it was told of stands in a file of the run,
    `search/tracked/NAME.txt`: a trial's name a line."""

    def __init__(
        self,
        name: str,
        run: Run,
        make: Callable[[Run], LoggerCallback],
        place: Callable[[Run], str],
    ) -> None:
        self.name = name
        self._run = run
        self._make = make
        self._place = place
        self._file = run.tracked_folder / f"{name}.txt"

    def open(self) -> str:
        self._names = set(_names(self._file))
        self._callback = self._make(self._run)
        self._callback.setup()
        return self._place(self._run)

    def has(self, trial: str) -> bool:
        return trial in self._names

    def take(self, ending: Ending) -> None:
        callback, trial = self._callback, _trial(ending, self._run)
        callback.log_trial_start(trial)
        for number, point in enumerate(ending.points, start=1):
            # Both callbacks take the iteration for the step.
            result = {**point.values, "training_iteration": point.step}
            callback.log_trial_result(number, trial, result)
        callback.log_trial_end(trial, failed=ending.failed)
        callback.on_experiment_end([trial])  # waits for what W&B has in hand
        self._names.add(ending.name)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{ending.name}\n")

    def close(self) -> None:
        self._callback.on_experiment_end([])


def _names(file: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(encoding="utf-8").split()
    return []


def _trial(ending: Ending, run: Run) -> Any:
    """A trial as Ray's callbacks take it: one of Tune's, with the hyperparameters as its
    configuration, under its own name."""
    from ray.tune.experiment import Trial

    class Ended(Trial):
        @property
        def experiment_dir_name(self) -> str:
            return run.name

        @property
        def local_path(self) -> str:
            return str(run.folder.absolute())

        def __str__(self) -> str:
            return ending.name

    # The same at every attempt, and another for another run of the same name.
    seed = f"{run.name} {run.created} {ending.name}"
    return Ended(
        "tuner",
        config=dict(ending.configuration),
        trial_id=hashlib.sha256(seed.encode()).hexdigest()[:16],
        stub=True,
    )


def _mlflow(run: Run) -> LoggerCallback:
    """An experiment a run, a run a trial, at MLFLOW_TRACKING_URI or where MLflow keeps them."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    # It tells on stderr of the tables that it makes.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    callback: LoggerCallback = MLflowLoggerCallback(
        tracking_uri=_mlflow_uri(),
        experiment_name=_experiment(run),
        tags={"tuner.run": run.name},
    )
    return callback


def _mlflow_uri() -> str:
    # MLflow itself goes by what this process has set last.
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    import mlflow

    return str(mlflow.get_tracking_uri())


def _experiment(run: Run) -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.name


def mlflow_place(run: Run) -> str:
    """Where MLflow keeps the run's trials, and how to look at them from any folder."""
    uri = _mlflow_uri()
    if uri.startswith(("http://", "https://")):
        return f"experiment {_experiment(run)} at {uri}"
    scheme, mark, path = uri.partition("sqlite:///")
    if mark and not scheme and not path.startswith(("/", ":")):
        uri = f"sqlite:///{os.path.abspath(path)}"
    elif "://" not in uri and not uri.startswith("databricks"):
        uri = os.path.abspath(uri.removeprefix("file:"))
    return (
        f"experiment {_experiment(run)} in {uri}; look at it with: "
        f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    )


def _project() -> str:
    return os.environ.get("WANDB_PROJECT") or PROJECT


def _wandb_folder() -> str:
    return os.environ.get("WANDB_DIR") or os.getcwd()


def wandb_place(run: Run) -> str:
    """Where Weights & Biases keeps the run's trials, and how to look at them."""
    mode = os.environ.get("WANDB_MODE", "online")
    if mode == "disabled":
        return "WANDB_MODE is disabled, and nothing is kept"
    group = f"group {run.name} of the project {_project()}"
    if mode in ("offline", "dryrun"):
        folder = Path(_wandb_folder(), "wandb").absolute()
        runs = f"{shlex.quote(str(folder))}/offline-run-*"
        return f"{group}, offline in {folder}; send it with: wandb sync {runs}"
    host = (os.environ.get("WANDB_BASE_URL") or "https://wandb.ai").replace("//api.", "//", 1)
    names = [name for name in (os.environ.get("WANDB_ENTITY"), _project()) if name]
    return f"{group} at {'/'.join([host.rstrip('/'), *names] if len(names) > 1 else [host])}"


def _wandb(run: Run) -> LoggerCallback:
    """A group a run, a run a trial, in the folder `wandb` and the project that its own variables
    name."""
    from ray.air.integrations.wandb import WandbLoggerCallback, _WandbLoggingActor

    class Whole(_WandbLoggingActor):
        """Ray's actor is killed when this returns, and W&B's own process with it, which may not
        have written everything by then."""

        def run(self) -> None:
            super().run()  # type: ignore[no-untyped-call]
            self._wandb.teardown()

    class Careful(WandbLoggerCallback):
        """Ray's callback, but for two things: it hands the key to its actors in a runtime
        environment, which Ray writes to its logs; and it never asks how they ended."""

        _logger_actor_cls = Whole

        def setup(self, *given: Any, **named: Any) -> None:
            super().setup(*given, **named)  # type: ignore[no-untyped-call]
            self._remote_logger_class = _actor(self._logger_actor_cls)

        def _cleanup_logging_actor(self, trial: Any) -> None:
            future = self._trial_logging_futures[trial]
            super()._cleanup_logging_actor(trial)
            _check(future)

    # Its actors have the environment of this host's Ray, which may be older than these.
    settings = {name: os.environ.get(f"WANDB_{name.upper()}") for name in _SETTINGS}
    callback: LoggerCallback = Careful(
        project=_project(),
        group=run.name,
        upload_timeout=int(PATIENCE),
        dir=_wandb_folder(),
        resume="allow",
        settings={"silent": True, **{name: value for name, value in settings.items() if value}},
    )
    return callback


def _actor(kind: type) -> Any:
    """An actor class whose actors run on this host and take no slot's place."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(kind)
    return actor.options(num_cpus=0, scheduling_strategy=here)


def _check(future: Any) -> None:
    """Raise what an actor has raised; one that was ended in the midst of its work raises, too."""
    import ray

    try:
        ray.get(future, timeout=5.0)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError:
        raise TunerError(f"W&B's process did not end within {PATIENCE:g} s") from None
