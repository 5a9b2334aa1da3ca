"""A whole run on a file of one's own: searched, exported, shown, predicted with, gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.test_commands import Said, command
from tuner.demo import demo_rows
from tuner.predict import task_of
from tuner.runs import find_run
from tuner.settings import read_run_file

LABELS = ("differs", "agrees")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of rows and a task file."""
    folder = tmp_path_factory.mktemp("own")
    rows = [f"{first} | {second},{LABELS[label]}" for first, second, label in demo_rows("train")]
    (folder / "colours.csv").write_text("\n".join(["remark,verdict", *rows[:300]]) + "\n")
    (folder / "task.yaml").write_text(
        "name: colours\ndata: colours.csv\ntext: remark\n"
        "labels: {agrees: same, differs: different}\nobjective: macro_f1\n"
        "split: {train: 0:200, validation: 200:250, test: 250:300}\n"
    )
    return folder


@pytest.fixture(scope="module")
def tuned(place: Path) -> Said:
    return command(
        *("tune", "--task", place / "task.yaml", "--model", "tiny", "--trials", "1"),
        *("--slots", "1", "--set", "num_train_epochs=1", "--name", "one"),
        *("--storage", place / "runs"),
    )


def test_a_task_file_leads_to_a_model_with_its_label_names(tuned: Said, place: Path) -> None:
    assert tuned.code == 0, tuned.err
    assert "labels are in the column verdict; --label says otherwise" in tuned.out
    best = place / "runs" / "one" / "best"
    config = json.loads((best / "config.json").read_text())
    assert config["id2label"] == {"0": "same", "1": "different"}
    task = task_of(best)
    assert (task.name, task.text_columns, task.objective) == ("colours", ("remark",), "macro_f1")
    assert (task.label_values, task.test_split) == (("agrees", "differs"), "train[250:300]")
    metrics = json.loads((best / "metrics.json").read_text())
    assert set(metrics["metrics"]) == {"accuracy", "macro_f1"}
    facts = read_run_file(find_run(place / "runs", "one")).facts
    assert facts["data"]["validation_rows"] == 50


def test_the_leaderboard_names_the_task_and_its_objective(tuned: Said, place: Path) -> None:
    assert tuned.code == 0
    shown = command("leaderboard", "one", "--storage", place / "runs")
    assert "one, task colours, macro_f1 (higher is better)" in shown.out
    assert "accuracy" in shown.out


def test_the_model_predicts_a_split_and_a_file_without_the_task_file(
    tuned: Said, place: Path, tmp_path: Path
) -> None:
    assert tuned.code == 0
    model = shutil.copytree(place / "runs" / "one" / "best", tmp_path / "model")
    data = shutil.copy(place / "colours.csv", tmp_path / "other.csv")
    outputs = []
    for number, arguments in enumerate(
        (
            ("one", "--storage", place / "runs", "--split", "test"),
            (model, "--data", data, "--split", "test"),
            (model, "--input", data),
        )
    ):
        output = tmp_path / f"{number}.tsv"
        done = command("predict", *arguments, "--output", output)
        assert done.code == 0, done.err
        outputs.append([line.split("\t")[1] for line in output.read_text().splitlines()[1:]])
    assert len(outputs[0]) == 50
    assert outputs[0] == outputs[1] == outputs[2][250:]
    assert set(outputs[2]) <= {"same", "different"}
    gone = command("predict", model, "--split", "test", "--output", tmp_path / "x.tsv")
    assert gone.code == 2
    assert "pass --data" in gone.err


def test_a_run_goes_on_with_its_task_and_notices_when_it_changed(tuned: Said, place: Path) -> None:
    assert tuned.code == 0
    again = command("resume", "one", "--storage", place / "runs")
    assert again.code == 0, again.err
    file = place / "task.yaml"
    before = file.read_text()
    file.write_text(before.replace("same", "equal"))
    refused = command("resume", "one", "--storage", place / "runs")
    assert refused.code == 2
    assert "the task's label_names is equal, different, but was same, different" in refused.err
    file.write_text(before)
    rows = place / "colours.csv"
    rows.write_text(rows.read_text().replace("agrees", "differs", 1))
    refused = command("resume", "one", "--storage", place / "runs")
    assert refused.code == 2
    assert "the train rows are not those the run began with" in refused.err


def test_what_is_wrong_with_ones_own_data_is_said_before_anything_heavy_is_loaded(
    place: Path,
) -> None:
    from tests.test_import_order import HEAVY, loaded_by

    for data, label in (("none.csv", "verdict"), ("colours.csv", "verdikt")):
        data = str(place / data)
        arguments = ["tune", "--data", data, "--model", "tiny", "--label", label]
        code = f"from tuner.cli import run_guarded\nassert run_guarded({arguments!r}) == 2"
        # pyarrow looks for pandas by itself when it makes an array of a list.
        assert not loaded_by(code) & (HEAVY - {"pandas"})
