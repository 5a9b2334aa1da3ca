"""`tune` from Python, on files: honest selection, the exported model, repeatability, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from tests.glue_files import write_mnli, write_rte
from tuner import Settings, tune
from tuner.answers import write_submission
from tuner.errors import SearchError, UserError
from tuner.eventfiles import has_events
from tuner.history import History
from tuner.identity import extended, time_left
from tuner.inputs import row_index
from tuner.journal import read_history
from tuner.pipeline import Result, resume
from tuner.predict import predict, task_of
from tuner.session import ray_session
from tuner.settings import load_settings
from tuner.sources import read_split
from tuner.tasks import find_task


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with ray_session():
        yield


def settings(folder: Path, storage: Path, **changes: object) -> Settings:
    values = {
        "task": "rte",
        "data": str(folder),
        "model": "tiny",
        "trials": 4,
        "slots": 1,
        "storage": str(storage),
        "set": {"num_train_epochs": 2, "per_device_train_batch_size": 16},
        **changes,
    }
    return Settings(**values)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A whole run in one slot, its best configuration run again under two seeds."""
    folder = tmp_path_factory.mktemp("honest")
    before = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    finals = {"finalists": 1, "reseeds": 2}
    result = tune(settings(write_rte(folder / "glue"), folder / "runs", name="honest", **finals))
    # The retraining ran in this very process, and left it as it was.
    assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == before
    return result


@pytest.fixture(scope="module")
def flipped(honest: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The same run, the validation rows and labels replaced; its settings from run.yaml."""
    folder = tmp_path_factory.mktemp("flipped")
    files = write_rte(folder / "glue", flipped=True)
    given = {"data": str(files), "storage": str(folder / "runs"), "retrain": False}
    return tune(load_settings(honest.run.settings_file, given))


def told(result: Result) -> list[object]:
    """Everything a search draws and hears, less names, times and slots."""
    return [
        (r.configuration, r.status, [(s.level, s.step, s.metrics, s.loss) for s in r.scores])
        for r in read_history(result.run.journal_file).records.values()
    ]


def test_a_search_never_sees_the_validation_rows_and_repeats_bit_for_bit(honest, flipped):
    assert told(honest) == told(flipped)
    assert honest.best == flipped.best or honest.best.objective == flipped.best.objective


def test_without_retraining_there_is_no_model(flipped):
    assert flipped.model_dir is None
    assert flipped.metrics is None
    assert not flipped.run.best_folder.exists()


def test_the_result_holds_the_leaderboard_and_the_model(honest):
    frame = honest.leaderboard
    assert frame["trial"].iloc[0] == honest.best.trial
    assert len(frame) == 4 + 2
    assert honest.reason == "complete"
    assert honest.model_dir == honest.run.best_folder
    assert 0 <= honest.metrics["accuracy"] <= 1


def test_the_best_runs_again_on_full_schedules_under_new_seeds_and_ranks_by_the_mean(honest):
    records = list(read_history(honest.run.journal_file).records.values())
    assert [record.reseed_of for record in records[:4]] == [None] * 4
    winner, *again = honest.rows[:3]
    assert [row.reseed_of for row in again] == [winner.trial] * 2
    assert {row.trial for row in again} == {"t004", "t005"}
    assert {row.status for row in again} == {"finished"}
    assert {row.progress for row in again} == {1.0}
    drawn = {k: v for k, v in winner.hyperparameters.items() if k != "seed"}
    for row in again:
        assert {k: v for k, v in row.hyperparameters.items() if k != "seed"} == drawn
    assert len({row.hyperparameters["seed"] for row in (winner, *again)}) == 3
    objectives = [row.objective for row in (winner, *again)]
    assert winner.seeds == 3
    assert winner.objective_mean == pytest.approx(sum(objectives) / 3)
    assert honest.best == winner
    assert all(row.objective_se is not None for row in honest.rows if row.rank or row.reseed_of)
    card = (honest.model_dir / "README.md").read_text()
    assert f"with {winner.objective_mean:.4f} on these rows, the mean over 3 seeds |" in card
    told = json.loads(honest.run.comparisons_file.read_text())
    assert told["seeds"] == {winner.trial: [winner.trial, "t004", "t005"]}


def test_the_exported_model_scores_what_metrics_json_says(honest):
    from transformers import pipeline

    task = task_of(honest.model_dir)
    said = json.loads((honest.model_dir / "metrics.json").read_text())
    data = yaml.safe_load(honest.run.settings_file.read_text())["settings"]["data"]
    rows = read_split(find_task("rte"), "validation", data)
    classify = pipeline("text-classification", model=str(honest.model_dir))
    pairs = [
        {"text": a, "text_pair": b}
        for a, b in zip(*(rows[c].to_pylist() for c in task.text_columns), strict=True)
    ]
    answers = [answer["label"] for answer in classify(pairs, truncation=True)]
    assert set(answers) <= {"entailment", "not_entailment"}
    right = [task.label_names[label] for label in rows["label"].to_pylist()]
    accuracy = sum(a == b for a, b in zip(answers, right, strict=True)) / len(right)
    assert accuracy == pytest.approx(said["metrics"]["accuracy"])
    assert said["rows"] == len(right)


def test_the_test_split_becomes_a_submission(honest, tmp_path):
    task = task_of(honest.model_dir)
    data = yaml.safe_load(honest.run.settings_file.read_text())["settings"]["data"]
    rows = read_split(task, "test", data)
    output = tmp_path / "RTE.tsv"
    write_submission(output, task, predict(honest.model_dir, task, rows), row_index(rows))
    lines = output.read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert len(lines) == 21
    assert {line.split("\t")[1] for line in lines[1:]} <= {"entailment", "not_entailment"}


def test_mnli_is_scored_on_matched_and_on_mismatched(tmp_path):
    from tuner.commands.search import _closing

    files = write_mnli(tmp_path / "glue")
    given = {
        "task": "mnli",
        "trials": 1,
        "set": {"num_train_epochs": 1, "per_device_train_batch_size": 64},
    }
    result = tune(settings(files, tmp_path / "runs", **given))
    said = json.loads((result.model_dir / "metrics.json").read_text())
    assert said["rows"] == 40
    assert said["more"]["validation_mismatched"]["rows"] == 50
    other = find_task("mnli-mm")
    rows = read_split(other, "validation", str(files))
    logits = predict(result.model_dir, other, rows)
    right = (logits.argmax(axis=1) == rows["label"].to_numpy()).mean()
    assert said["more"]["validation_mismatched"]["metrics"]["accuracy"] == pytest.approx(right)
    assert result.more == {"validation_mismatched": {"accuracy": pytest.approx(right)}}
    assert f"accuracy {right:.4f} on validation_mismatched" in "\n".join(_closing(result))
    card = (result.model_dir / "README.md").read_text()
    assert f"On the 50 rows of validation_mismatched: Accuracy {right:.4f}." in card
    assert "split: validation_mismatched" in card
    # A search extended later reads the scores back.
    assert resume(str(result.run.folder)).more == result.more


def test_run_yaml_says_what_ran(honest):
    document = yaml.safe_load(honest.run.settings_file.read_text())
    assert document["settings"]["space"] == "demo"
    assert document["layout"]["slots"] == 1
    assert document["data"]["selection_rows"] == 60
    assert document["data"]["training_rows"] == 240
    assert document["space"]["start"]
    assert {"torch", "transformers", "ray", "optuna"} <= set(document["versions"])


def test_tensorboard_has_every_trial_and_the_retrained_model(honest):
    trials = [row.trial for row in honest.rows]
    for name in [*trials, f"retrained-{honest.best.trial}"]:
        assert has_events(honest.run.search_folder, name)


def test_a_finished_trial_leaves_its_logits(honest):
    import pyarrow.parquet as pq

    stored = pq.read_table(honest.run.predictions_folder / f"{honest.best.trial}.parquet")
    assert stored.num_rows == 60


def test_a_run_whose_data_or_space_changed_is_not_resumed(honest, tmp_path):
    data = yaml.safe_load(honest.run.settings_file.read_text())
    train = Path(data["settings"]["data"]) / "RTE" / "train.tsv"
    before = train.read_text()
    try:
        train.write_text(before.replace("red", "blue"))
        with pytest.raises(UserError, match="train rows are not those"):
            resume(str(honest.run.folder), trials=6)
    finally:
        train.write_text(before)
    file = honest.run.settings_file
    written = file.read_text()
    try:
        document = yaml.safe_load(written)
        document["space"]["start"] = []
        file.write_text(yaml.safe_dump(document))
        with pytest.raises(UserError, match="the search space demo changed"):
            resume(str(honest.run.folder), trials=6)
    finally:
        file.write_text(written)
    with pytest.raises(UserError, match="--trials 2"):
        resume(str(honest.run.folder), trials=2)


def test_a_spent_budget_ends_a_search_and_more_trials_lift_it(tmp_path):
    files = write_rte(tmp_path / "glue")
    given = settings(
        files,
        tmp_path / "runs",
        trials=50,
        budget=0.5,
        retrain=False,
        name="short",
        select_on="validation",
        scheduler="none",
    )
    with pytest.raises(SearchError, match="no trial finished"):
        tune(given)
    history = read_history(tmp_path / "runs" / "short" / "journal.jsonl")
    assert history.reason == "budget"
    assert len(history.records) < 50
    drawn = len(history.records)
    result = resume("short", storage=str(tmp_path / "runs"), trials=drawn + 1)
    assert (result.reason, len(result.rows)) == ("complete", drawn + 1)


def test_a_budget_counts_over_sessions_however_often_a_run_is_resumed():
    given = Settings(task="demo", budget=1000)
    for spent in (600.0, 900.0):
        history = History(seconds=spent)
        given = extended(given, history, None, None, None)
        assert (given.budget, time_left(given, history)) == (1000, 1000 - spent)
    given = extended(given, history, None, 60.0, None)
    assert time_left(given, history) == 60
    history = History(seconds=910.0)
    assert time_left(extended(given, history, None, None, None), history) == 50
    assert extended(given, history, 30, None, None).budget is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": None, "data": None}, "no task is named"),
        ({"objective": "f1"}, "f1"),
        ({"slots": 64}, "64"),
        ({"workers_per_trial": 64}, "64"),
        ({"data": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"space": "nosuch"}, "nosuch"),
        ({"set": {"learning_rte": 1e-3}}, "learning_rate"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(tmp_path, changes, told):
    files = write_rte(tmp_path / "glue")
    with pytest.raises(UserError, match=told) as error:
        tune(settings(files, tmp_path / "runs", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()
