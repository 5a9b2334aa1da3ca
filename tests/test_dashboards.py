"""The files of a run in the tools that they are for: optuna-dashboard and TensorBoard, their own
servers or readers."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.journals import Told, journal_of
from tuner.endings import of_trial, of_winner
from tuner.eventfiles import NAME, has_events, write_events
from tuner.history import History
from tuner.progress import Silent
from tuner.runs import Run, create_run
from tuner.spaces import load_space
from tuner.study import Study
from tuner.trackers import trackers_of
from tuner.tracking import Tracking

CONFIGURATION = {
    "learning_rate": 3e-5,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 16,
    "seed": 7,
}
TOLD = (
    Told(values=(0.5, 0.6, 0.7), configuration=CONFIGURATION),
    Told("stopped", (0.4,), configuration={**CONFIGURATION, "learning_rate": 1e-5}),
    Told("failed", (0.3,), error="the loss became nan", configuration=CONFIGURATION),
    Told("running", (0.2,), configuration=CONFIGURATION),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return create_run(tmp_path_factory.mktemp("runs"), "rte", "rte-1")


@pytest.fixture(scope="module")
def history(run: Run) -> History:
    return journal_of(run.journal_file, TOLD)


@contextmanager
def serving(module: str, main: str, *arguments: str) -> Iterator[str]:
    """The address of a server on loopback that `module`'s `main` starts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {module} import {main}; {main}()", *arguments, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.communicate()


def asked(address: str, body: Any = None) -> Any:
    request = urllib.request.Request(address, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_optuna_dashboard_opens_the_study(run: Run, history: History) -> None:
    space = load_space("default")
    records = list(history.records.values())
    Study(run.optuna_file, run.name, space, "max", 0, records, 2)
    with serving("optuna_dashboard._cli", "main", str(run.optuna_file)) as address:
        (study,) = asked(f"{address}/api/studies")["study_summaries"]
        trials = asked(f"{address}/api/studies/{study['study_id']}")["trials"]
    assert (study["study_name"], study["directions"]) == ("rte-1", ["maximize"])
    assert [trial["state"] for trial in trials] == ["Complete", "Pruned", "Fail"]
    finished, stopped, _ = trials
    assert finished["values"] == [0.7]
    seen = {point["step"]: point["value"] for point in finished["intermediate_values"]}
    assert seen == {1: 0.5, 3: 0.6, 9: 0.7}
    assert [point["value"] for point in stopped["intermediate_values"]] == [0.4]
    parameters = {it["name"]: float(it["param_external_value"]) for it in finished["params"]}
    assert parameters["learning_rate"] == 3e-5
    attributes = [{it["key"]: it["value"] for it in trial["user_attrs"]} for trial in trials]
    assert attributes[0] == {"trial": "t000", "seed": "7"}
    assert attributes[2]["error"] == "the loss became nan"


WINNER = of_winner("t000", CONFIGURATION, {"validation": {"accuracy": 0.65, "f1": 0.6}}, 1e9)


def test_tensorboard_shows_the_curves_and_the_hyperparameters(run: Run, history: History) -> None:
    with Tracking(trackers_of(("tensorboard",), run), Silent()) as tracking:
        tracking.catch_up(history)
        tracking.tell(WINNER)
    expected = {"search/t000", "search/t001", "search/t002", "search/retrained-t000"}
    place = ["--logdir", str(run.folder), "--load_fast", "false"]
    with serving("tensorboard.main", "run_main", *place) as address:
        scalars = f"{address}/data/plugin/scalars"
        until = time.monotonic() + 60
        while set(tags := asked(f"{scalars}/tags")) != expected and time.monotonic() < until:
            time.sleep(0.2)
        curve = asked(f"{scalars}/scalars?run=search/t000&tag=objective")
        hparams = f"{address}/data/plugin/hparams"
        experiment = asked(f"{hparams}/experiment", {"experimentName": ""})
        names = [info["name"] for info in experiment["hparamInfos"]]
        metrics = [info["name"] for info in experiment["metricInfos"]]
        wanted = {
            "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE"],
            "colParams": [{"metric": {"tag": "objective", "group": ""}}],
            "startIndex": 0,
            "sliceSize": 100,
        }
        groups = asked(f"{hparams}/session_groups", wanted)["sessionGroups"]
    assert set(tags) == expected
    shown = {"objective", "accuracy", "f1", "loss", "train_loss", "progress", "total_seconds"}
    assert set(tags["search/t000"]) == shown
    assert [(step, round(value, 6)) for _, step, value in curve] == [
        (10, 0.5),
        (30, 0.6),
        (90, 0.7),
    ]
    assert {*CONFIGURATION, "status", "effective_batch_size", "error"} == set(names)
    assert {metric["tag"] for metric in metrics} >= shown | {"validation/accuracy"}
    sessions = {group["sessions"][0]["name"]: group["sessions"][0] for group in groups}
    assert set(sessions) == expected
    assert sessions["search/t002"]["status"] == "STATUS_FAILURE"
    values = {group["sessions"][0]["name"]: group["hparams"] for group in groups}
    assert values["search/t000"]["learning_rate"] == 3e-5
    assert [values[f"search/t00{n}"]["status"] for n in range(3)] == [
        "finished",
        "stopped",
        "failed",
    ]
    final = {it["name"]["tag"]: it for it in sessions["search/t000"]["metricValues"]}["objective"]
    assert final["trainingStep"] == 90
    assert math.isclose(final["value"], 0.7, rel_tol=1e-6)


def test_a_trial_told_again_is_the_same_file(run: Run, history: History, tmp_path: Path) -> None:
    ending = of_trial(history.records["t000"])
    write_events(tmp_path, ending)
    first = (tmp_path / "t000" / NAME).read_bytes()
    write_events(tmp_path, ending)
    assert (tmp_path / "t000" / NAME).read_bytes() == first
    assert [file.name for file in (tmp_path / "t000").iterdir()] == [NAME]
    assert has_events(tmp_path, "t000")
    assert not has_events(tmp_path, "t001")
