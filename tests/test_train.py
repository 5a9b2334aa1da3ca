"""`tuner train`: one training on all rows, without a search; the same folder, the same exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.glue_files import write_rte
from tests.test_commands import Said, command
from tests.toy import go, numbers, toy_materials
from tuner.bench import Bench
from tuner.errors import UserError
from tuner.hyperparameters import epoch_ends
from tuner.journal import read_history
from tuner.mailbox import Order, Report
from tuner.parameters import fields
from tuner.pipeline import resume
from tuner.plain import one_point
from tuner.preparation import Preparation
from tuner.runs import Run
from tuner.session import ray_session
from tuner.settings import OF_A_SEARCH, Settings, read_run_file
from tuner.spaces import load_space

GIVEN = ("learning_rate=1e-3", "num_train_epochs=2", "per_device_train_batch_size=32")


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session():
        yield


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def trained(storage: Path) -> Said:
    sets = [part for item in GIVEN for part in ("--set", item)]
    data = str(write_rte(storage / "glue"))
    options = ["--task", "rte", "--data", data, "--model", "tiny", "--seed", "5", "--name", "one"]
    return command("train", *options, "--storage", str(storage), *sets)


@pytest.fixture(scope="module")
def run(trained: Said, storage: Path) -> Run:
    assert trained.code == 0, trained.err
    return Run(storage / "one")


def test_each_epoch_is_a_line_with_both_losses_scores_and_its_time(trained: Said, run: Run) -> None:
    lines = [line for line in trained.out.splitlines() if line.startswith("epoch ")]
    assert [line.partition(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    for line, score in zip(
        lines, read_history(run.journal_file).records["t000"].scores, strict=True
    ):
        assert f"train loss {score.train_loss:.4f}, accuracy " in line
        assert f"validation loss {score.loss:.4f}, accuracy {score.objective:.4f}" in line
        assert line.endswith(" scoring")


def test_the_run_is_one_finished_trial_on_all_training_rows(run: Run) -> None:
    history = read_history(run.journal_file)
    (record,) = history.records.values()
    assert (record.status, history.reason) == ("finished", "complete")
    assert [score.level for score in record.scores] == [1, 2]
    assert record.configuration["seed"] == 5
    file = read_run_file(run)
    data = file.facts["data"]
    assert data["training_rows"] == data["full_training_rows"]
    assert data["selection_rows"] == data["validation_rows"]
    assert file.settings.set == record.configuration
    assert file.plain


def test_the_exported_model_is_that_of_the_last_epoch(run: Run) -> None:
    said = json.loads((run.best_folder / "metrics.json").read_text())
    (record,) = read_history(run.journal_file).records.values()
    assert said["metrics"] == dict(record.scores[-1].metrics)
    assert said["split"] == "validation"
    assert (run.best_folder / "model.safetensors").is_file()
    assert (run.predictions_folder / "t000.parquet").is_file()
    assert not run.checkpoints_folder.exists()
    evaluation = json.loads((run.best_folder / "evaluation.json").read_text())
    assert (
        evaluation["metrics"]
        == json.loads((run.best_folder / "metrics.json").read_text())["metrics"]
    )
    assert "Trained on all training rows" in (run.folder / "report.html").read_text()


def test_neither_the_leaderboard_nor_the_card_claims_a_selection(trained: Said, run: Run) -> None:
    assert "one training on all training rows, without a search, done in" in trained.out
    card = (run.best_folder / "README.md").read_text()
    assert "there was no search" in card
    for text in (trained.out, card):
        for claim in ("optimistic", "chosen on", "winner", "trials", "retrained"):
            assert claim not in text.replace("Nothing was chosen on these rows", ""), claim


def test_resuming_it_trains_again_only_where_the_model_is_missing(run: Run) -> None:
    before = run.journal_file.read_bytes()
    again = resume(str(run.folder))
    assert run.journal_file.read_bytes() == before
    assert again.metrics == json.loads((run.best_folder / "metrics.json").read_text())["metrics"]
    with pytest.raises(UserError, match="is a training without a search, which --trials"):
        resume(str(run.folder), trials=5)


def test_a_training_that_was_cut_off_is_done_by_resuming_it(run: Run, storage: Path) -> None:
    """The journal of a driver that died after the first epoch."""
    other = Run(storage / "cut")
    other.folder.mkdir()
    other.settings_file.write_bytes(run.settings_file.read_bytes())
    lines = run.journal_file.read_text().splitlines(keepends=True)
    cut = next(n for n, line in enumerate(lines) if '"event":"report"' in line)
    other.journal_file.write_text("".join(lines[: cut + 1]))
    done = resume(str(other.folder))
    mine, theirs = (read_history(each.journal_file).records["t000"] for each in (other, run))
    told = [[(s.level, s.step, s.metrics, s.loss) for s in r.scores] for r in (mine, theirs)]
    assert told[0] == told[1]
    assert mine.takes == 2
    assert done.model_dir == other.best_folder


def test_epochs_end_where_their_last_batch_does() -> None:
    assert [(r.level, r.step) for r in epoch_ends(25, 10)] == [(1, 10), (2, 20), (3, 25)]
    assert [(r.level, r.step) for r in epoch_ends(4, 10)] == [(1, 4)]


def test_scoring_training_rows_changes_nothing_in_the_training() -> None:
    bench = Bench(toy_materials(dropout=0.1))
    found: list[list[Report]] = []
    for rows in (0, 40, 10_000):
        reports: list[Report] = []
        order = Order("t0", {"num_train_epochs": 2.5, "seed": 3}, rungs=0, training_rows=rows)
        bench.run(order, reports.append, go)
        found.append(reports)
    none, some, every = found
    assert numbers(none) == numbers(some) == numbers(every)
    assert [report.level for report in none] == [1, 2, 3]
    assert [report.train_metrics for report in none] == [{}] * 3
    assert all(0 < report.train_metrics["accuracy"] < 1 for report in (*some, *every))
    # Of 40 rows an accuracy is a multiple of 1/40; of all 120, of 1/120.
    assert np.allclose([r.train_metrics["accuracy"] * 40 % 1 for r in some], 0, atol=1e-6)


def preparation(settings: Settings, space: str) -> Preparation:
    nothing = cast(Any, None)
    settings = settings.without_search().model_copy(update={"space": space})
    read = load_space(space, fields(), settings.set)
    return Preparation(settings, nothing, read, nothing, nothing, ())


def test_what_is_not_set_comes_from_the_first_start_point_and_is_said() -> None:
    given = Settings(task="rte", seed=7, set={"learning_rate": 2e-5, "warmup_steps": 0.1})
    point = one_point(preparation(given, "small-models"), fields())
    expected = {**load_space("small-models").start[0], **given.set, "seed": 7}
    assert point.space.fixed == point.settings.set == expected
    assert not point.space.searched
    (note,) = point.warnings
    assert "num_train_epochs 4, per_device_train_batch_size 32, seed 7;" in note
    assert "learning_rate" not in note
    again = one_point(preparation(point.settings, "small-models"), fields())
    assert (again.space, again.warnings) == (point.space, ())


def test_a_space_without_a_start_point_must_be_filled_up(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("parameters: {learning_rate: {min: 1e-5, max: 1e-4, distribution: uniform}}")
    with pytest.raises(UserError, match="no start point to take learning_rate from; pass --set"):
        one_point(preparation(Settings(task="rte"), str(file)), fields())
    filled = one_point(preparation(Settings(set={"learning_rate": 2e-5}), str(file)), fields())
    assert filled.space.fixed["learning_rate"] == 2e-5


def test_flags_of_a_search_are_not_offered() -> None:
    shown = command("train", "--help").out
    assert [flag for flag in ("--model", "--set", "--space") if flag not in shown] == []
    for field in OF_A_SEARCH:
        flag = "--" + field.replace("_", "-")
        assert f"{flag} " not in shown
        assert command("train", "--task", "demo", flag, "1").code == 2
