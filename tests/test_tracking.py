"""Experiment trackers: each trial is told once, what fails fails alone, nothing secret is said."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ray.tune import Callback
from ray.tune.callback import CallbackList

import tuner.trackers
from tests.journals import Told, drawn, journal_of, run_trial
from tuner import Settings, tune
from tuner.endings import Ending, of_trial, of_winner
from tuner.errors import UserError
from tuner.history import History, Record, Score
from tuner.journal import Journal
from tuner.progress import Silent
from tuner.runs import Run, create_run
from tuner.trackers import mlflow_place, trackers_of, wandb_place
from tuner.tracking import Tracking

TOLD = (
    Told(values=(0.5, 0.6, 0.7)),
    Told("stopped", (0.4,)),
    Told("failed", (0.3,), error="the loss became nan"),
    Told("running", (0.2,)),
)


class Noting(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def say(self, text: str) -> None:
        self.said.append(text)


class Listening:
    """A tracker that keeps names; `failing` names the method that raises, `hanging` the one that
    does not come back."""

    def __init__(
        self,
        name: str,
        failing: str = "",
        hanging: str = "",
        error: str = "no",
        taking: float = 0.0,
    ) -> None:
        self.name = name
        self._taking = taking
        self.names: list[str] = []
        self.calls: list[str] = []
        self.over = threading.Event()
        self._failing, self._hanging, self._error = failing, hanging, error

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if method == self._hanging:
            self.over.wait(60)
        if method == self._failing:
            raise RuntimeError(self._error)

    def open(self) -> None:
        self._called("open")

    def has(self, trial: str) -> bool:
        self._called("has")
        return trial in self.names

    def take(self, ending: Ending) -> None:
        self._called("take")
        self.over.wait(self._taking)
        self.names.append(ending.name)

    def close(self) -> None:
        self._called("close")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "runs", "rte", "rte-1")


@pytest.fixture
def history(run: Run) -> History:
    return journal_of(run.journal_file, TOLD, reason="interrupted")


def test_an_ending_says_what_a_trial_was_in_plain_finite_values() -> None:
    scores = [
        Score(1, 10, 90, 0.5, 0.7, {"accuracy": 0.5}, total_seconds=2.0, effective_batch_size=16),
        Score(3, 30, 90, 0.6, float("nan"), {"accuracy": 0.6}, total_seconds=5.0),
    ]
    record = Record("t003", 3, {"learning_rate": 1e-5}, status="stopped", scores=scores)
    record.reported_at, record.reseed_of = 1000.0, "t001"
    ending = of_trial(record)
    assert (ending.name, ending.failed, ending.began, ending.ended) == ("t003", False, 995, 1000)
    assert ending.configuration == {
        "learning_rate": 1e-5,
        "status": "stopped",
        "reseed_of": "t001",
    }
    assert [(point.step, point.time) for point in ending.points] == [(10, 997), (30, 1000)]
    assert ending.points[1].values == {
        "accuracy": 0.6,
        "objective": 0.6,
        "progress": 30 / 90,
        "total_seconds": 5.0,
    }


def test_a_trial_is_told_once_when_it_is_done(history: History) -> None:
    tracker = Listening("one")
    with Tracking([tracker], Silent()) as tracking:
        for record in history.records.values():
            tracking.event("report", record, history)
        tracking.catch_up(history)
    assert tracker.names == ["t000", "t001", "t002"]
    assert tracker.calls[0] == "open"
    assert tracker.calls[-1] == "close"


@pytest.mark.parametrize("method", ["open", "has", "take", "close"])
def test_a_tracker_that_raises_fails_alone_with_one_note(history: History, method: str) -> None:
    bad, good, noting = Listening("bad", failing=method), Listening("good"), Noting()
    with Tracking([bad, good], noting) as tracking:
        tracking.catch_up(history)
    assert good.names == ["t000", "t001", "t002"]
    assert bad.calls.count(method) == 1
    (note,) = noting.notes
    assert note.startswith("--track bad is left alone (no); ")


@pytest.mark.parametrize("method", ["open", "take", "close"])
def test_a_tracker_that_hangs_is_left_after_a_while(history: History, method: str) -> None:
    bad, good, noting = Listening("bad", hanging=method), Listening("good"), Noting()
    began = time.monotonic()
    with Tracking([bad, good], noting, patience=0.2) as tracking:
        tracking.catch_up(history)
    assert time.monotonic() - began < 10
    assert good.names == ["t000", "t001", "t002"]
    told = len(bad.names)
    bad.over.set()
    time.sleep(0.1)
    assert len(bad.names) <= told + 1  # what it had in hand, and nothing after it
    (note,) = noting.notes
    assert "took in nothing for 0.2 s" in note


def test_trackers_that_go_on_taking_their_time_share_one_budget(tmp_path: Path) -> None:
    many = journal_of(tmp_path / "many.jsonl", [Told()] * 60)
    slow = [Listening(name, taking=0.05) for name in ("one", "two")]
    noting, began = Noting(), time.monotonic()
    with Tracking(slow, noting, patience=60, budget=0.1) as tracking:
        tracking.catch_up(many)
    assert time.monotonic() - began < 2  # and not 2 x 60 x 0.05 s
    assert [note.partition("; ")[0] for note in noting.notes] == [
        f"--track {name} is left alone "
        "(the 0.1 s for which a run's end waits for its trackers are up)"
        for name in ("one", "two")
    ]
    assert all(0 < len(each.names) < 60 for each in slow)


def test_an_interrupt_waits_for_no_tracker(history: History) -> None:
    bad, began = Listening("bad", hanging="open"), time.monotonic()
    with pytest.raises(KeyboardInterrupt), Tracking([bad], Silent()):
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
    bad.over.set()


def test_no_secret_is_in_a_note(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    error = "https://me:secret@mlflow.example/api refuses the key 0123456789\nand more"
    noting = Noting()
    with Tracking([Listening("bad", failing="open", error=error)], noting):
        pass
    assert "https://mlflow.example/api refuses the key … and more" in noting.notes[0]


def test_tune_lets_a_callbacks_error_end_the_search() -> None:
    class Failing(Callback):
        def on_trial_result(self, *given: Any, **named: Any) -> None:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        CallbackList([Failing()]).on_trial_result(iteration=1, trials=[], trial=None, result={})


def test_mlflow_gets_every_trial_and_after_a_resume_only_the_new_ones(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    place = f"file://{tmp_path}/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    noting = Noting()
    first = journal_of(run.journal_file, TOLD, reason="interrupted")
    with Tracking(trackers_of(("mlflow",), run), noting) as tracking:
        tracking.catch_up(first)
    with Journal.open(run.journal_file) as journal:
        run_trial(journal, "t003", Told())
        run_trial(journal, drawn(journal, 4), Told())
        second = journal.history
    scores = {"validation": {"accuracy": 0.65}}
    for _ in range(2):
        with Tracking(trackers_of(("mlflow",), run), noting) as tracking:
            tracking.catch_up(second)
            tracking.tell(of_winner("t000", TOLD[0].configuration, scores, 1e9))
    assert noting.notes == []
    assert set(noting.said) == {
        f"--track mlflow: experiment rte-1 in {place}; look at it with: "
        f"mlflow ui --backend-store-uri {place}"
    }
    client = MlflowClient(place)
    experiment = client.get_experiment_by_name("rte-1")
    runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    names = [one.info.run_name for one in client.search_runs([experiment.experiment_id])]
    assert sorted(names) == ["retrained-t000", "t000", "t001", "t002", "t003", "t004"]
    assert {name: runs[name].info.status for name in ("t000", "t001", "t002")} == {
        "t000": "FINISHED",
        "t001": "FINISHED",
        "t002": "FAILED",
    }
    assert runs["t000"].data.params == {
        "learning_rate": "3.14e-05",
        "num_train_epochs": "3",
        "seed": "7",
        "per_device_train_batch_size": "16",
        "effective_batch_size": "16",
        "status": "finished",
    }
    assert runs["t002"].data.params["error"] == "the loss became nan"
    assert runs["t000"].data.tags["tuner.run"] == "rte-1"
    curve = client.get_metric_history(runs["t000"].info.run_id, "objective")
    assert [(point.step, point.value) for point in curve] == [(10, 0.5), (30, 0.6), (90, 0.7)]
    assert runs["retrained-t000"].data.metrics["validation/accuracy"] == 0.65


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:secret@host:5000", "rte-1 at http://me:secret@host:5000"),
        ("sqlite:///mlflow.db", "rte-1 in sqlite:///{here}/mlflow.db; look at it with: "),
        ("sqlite:////data/m.db", "mlflow ui --backend-store-uri sqlite:////data/m.db"),
        ("./ml runs", "mlflow ui --backend-store-uri '{here}/ml runs'"),
        ("databricks://profile", "mlflow ui --backend-store-uri databricks://profile"),
    ],
)
def test_where_mlflow_keeps_a_run_is_said_for_any_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert said.format(here=tmp_path) in mlflow_place(run)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WANDB_MODE": "offline"}, "offline in {here}/wandb; send it with: wandb sync {here}/"),
        ({"WANDB_ENTITY": "team"}, "of the project tuner at https://wandb.ai/team/tuner"),
        ({"WANDB_BASE_URL": "https://api.wandb.ai"}, "of the project tuner at https://wandb.ai"),
        ({"WANDB_MODE": "disabled"}, "nothing is kept"),
    ],
)
def test_where_wandb_keeps_a_run_is_said(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MODE", "ENTITY", "BASE_URL", "PROJECT", "DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said.format(here=tmp_path) in wandb_place(run)


def test_a_tracker_s_place_is_said_without_what_is_secret() -> None:
    class Placed(Listening):
        def open(self) -> str:
            return "experiment x at http://me:secret@host:5000"

    noting = Noting()
    with Tracking([Placed("placed")], noting):
        pass
    assert noting.said == ["--track placed: experiment x at http://host:5000"]


def test_what_a_tracker_missed_it_is_told_when_the_run_goes_on(
    run: Run, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting:
        """Ray's callback, as far as it is used; its server goes away after a trial."""

        names: list[str]
        left = 1

        def __init__(self) -> None:
            self.names = []

        def setup(self) -> None: ...

        def log_trial_start(self, trial: Any) -> None:
            if not self.left:
                raise ConnectionError("no answer")
            self.left -= 1

        def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None: ...

        def log_trial_end(self, trial: Any, failed: bool) -> None:
            self.names.append(str(trial))

        def on_experiment_end(self, trials: list[Any]) -> None: ...

    noting = Noting()
    for left, expected in ((1, ["t000"]), (9, ["t001", "t002"])):
        callback = Counting()
        callback.left = left
        monkeypatch.setattr(tuner.trackers, "_mlflow", lambda run, callback=callback: callback)
        with Tracking(trackers_of(("mlflow",), run), noting) as tracking:
            tracking.catch_up(history)
        assert callback.names == expected
    assert [note.partition(";")[0] for note in noting.notes] == [
        "--track mlflow is left alone (no answer)"
    ]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_an_error_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tuner.trackers, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=rf"--track {name} .* pip install 'tuner\[{name}\]'"):
        tune(Settings(task="demo", storage=str(tmp_path / "runs"), track=(name,)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "track"),
    [
        ("none", ()),
        ("mlflow", ("mlflow",)),
        ("mlflow, wandb", ("mlflow", "wandb")),
        (["wandb", "tensorboard", "wandb"], ("wandb", "tensorboard")),
    ],
)
def test_trackers_are_named_one_by_one_or_in_a_list(given: Any, track: tuple[str, ...]) -> None:
    assert Settings(track=given).track == track
    assert Settings(**Settings(track=given).plain()).track == track


@pytest.mark.parametrize("given", ["comet", "none,mlflow", ["none", "wandb"], "", 3])
def test_a_tracker_that_is_unknown_is_refused_in_a_line(given: Any) -> None:
    with pytest.raises(UserError, match=r"track: .* must be"):
        Settings(track=given)
