"""The built-in tasks, found by name, and their objectives."""

from __future__ import annotations

import json
import re

import pytest

from tuner.errors import UserError
from tuner.tasks import DIRECTIONS, TASKS, Task, direction, find_task


def test_the_ten_tasks_of_glue_and_the_demo_are_built_in() -> None:
    names = {"cola", "mnli", "mnli-mm", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli"}
    assert set(TASKS) == names | {"demo"}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_built_in_task_is_whole(task: Task) -> None:
    assert find_task(task.name) is task
    assert task.objective in task.metrics
    assert set(task.metrics) <= set(DIRECTIONS)
    assert task.num_labels == max(1, len(task.label_names))
    assert task.regression == (task.name == "stsb")
    assert (task.hub is None) == (task.glue is None) == (task.name == "demo")
    if task.glue is not None:
        assert len(task.glue.columns) == len(task.text_columns)
        assert len(task.glue.labels) == len(task.label_names)


@pytest.mark.parametrize(
    ("name", "validation", "test", "file"),
    [
        ("mnli", "validation_matched", "test_matched", "dev_matched.tsv"),
        ("mnli-mm", "validation_mismatched", "test_mismatched", "dev_mismatched.tsv"),
    ],
)
def test_the_two_forms_of_mnli_differ_in_what_they_are_validated_on(
    name: str, validation: str, test: str, file: str
) -> None:
    task = find_task(name)
    assert task.num_labels == 3
    assert task.train_split == "train"
    assert (task.validation_split, task.test_split) == (validation, test)
    assert task.glue is not None
    assert task.glue.validation == file


@pytest.mark.parametrize(
    ("name", "objective"),
    [("cola", "matthews_correlation"), ("stsb", "pearson"), ("mrpc", "accuracy")],
)
def test_a_task_goes_by_its_own_metric(name: str, objective: str) -> None:
    assert find_task(name).objective == objective


def test_an_unknown_task_is_an_error_that_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=re.escape("there is no task 'sst-2'; choose from cola")):
        find_task("sst-2")
    with pytest.raises(UserError, match="did you mean 'rte'"):
        find_task("RTE")


def test_another_of_the_tasks_metrics_can_be_its_objective() -> None:
    mrpc = find_task("mrpc")
    assert mrpc.with_objective("f1").objective == "f1"
    assert mrpc.objective == "accuracy"
    with pytest.raises(UserError, match="rte has no metric 'f1'; choose from accuracy"):
        find_task("rte").with_objective("f1")


def test_only_errors_are_to_be_small() -> None:
    assert {name for name in DIRECTIONS if direction(name) == "min"} == {"rmse"}
    with pytest.raises(UserError, match=r"there is no metric 'acuracy'.*did you mean 'accuracy'"):
        direction("acuracy")


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_is_read_from_what_was_written(task: Task) -> None:
    written = json.loads(json.dumps(task.plain()))
    assert Task.read({**written, "more": 1}) == task


def test_a_task_of_ones_own_is_no_task_built_in_whatever_its_name() -> None:
    own = Task("rte", "mine", ("text",), ("a", "b"), ("accuracy",), "accuracy", split_seed=3)
    assert not own.built_in
    assert Task.read(json.loads(json.dumps(own.plain()))) == own


@pytest.mark.parametrize("values", [{}, {"name": "a"}, {"name": 3}])
def test_what_is_no_task_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(UserError, match="the task cannot be read"):
        Task.read(values)
