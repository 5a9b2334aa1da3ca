"""Whether a run that goes on is still the run that began."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from tests.glue_files import write_rte
from tests.toy import toy_weights
from tuner.errors import UserError
from tuner.history import History
from tuner.identity import check_same, describe, extended
from tuner.preparation import prepare, resolve
from tuner.progress import Silent
from tuner.resources import Layout
from tuner.runs import Run
from tuner.settings import Settings, read_run_file

LAYOUT = Layout(slots=1, workers=1, cpus=1, gpus=0, threads=1)


def prepared(data, **changes):
    settings, task = resolve(Settings(task="rte", model="tiny", data=str(data), **changes))
    preparation = prepare(settings, task, Silent())
    weights = replace(toy_weights(2), state={"w": np.arange(6, dtype=np.float32).reshape(2, 3)})
    return replace(preparation, base=replace(preparation.base, weights=weights))


@pytest.fixture
def begun(tmp_path):
    """A run as it was begun, and the folder of its data."""
    data = write_rte(tmp_path / "glue")
    run = Run(tmp_path / "r")
    run.folder.mkdir()
    preparation = prepared(data)
    describe(run, preparation, LAYOUT)
    return run, data, preparation, read_run_file(run).facts


def test_a_run_whose_data_model_and_space_are_the_same_goes_on(begun):
    run, data, _, facts = begun
    check_same(run, prepared(data), facts)


@pytest.mark.parametrize("name", ["train", "dev"])
def test_changed_rows_are_refused(begun, name):
    run, data, _, facts = begun
    (file,) = data.rglob(f"{name}.tsv")
    header, first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([header, first.replace(" ", " really ", 1), *rest]) + "\n")
    with pytest.raises(UserError, match=r"rows are not those the run began with; restore them"):
        check_same(run, prepared(data), facts)


def test_changed_weights_are_refused(begun):
    run, _, preparation, facts = begun
    weights = preparation.base.weights
    other = {"w": weights.state["w"] + np.float32(1e-6)}
    changed = replace(preparation.base, weights=replace(weights, state=other))
    with pytest.raises(UserError, match=r"the weights of tiny are not those the run began with"):
        check_same(run, replace(preparation, base=changed), facts)


def test_a_changed_space_is_refused(begun):
    run, data, _, facts = begun
    with pytest.raises(UserError, match=r"the search space demo changed since the run began"):
        check_same(run, prepared(data, set={"learning_rate": 1e-4}), facts)


def test_a_run_that_began_on_a_cluster_goes_on_wherever_it_is_resumed():
    began = Settings(task="rte", address="auto")
    assert extended(began, History(), None, None, None).address is None
    assert extended(began, History(), None, None, "10.0.0.1:6379").address == "10.0.0.1:6379"


def test_a_run_that_goes_on_can_have_another_number_of_slots():
    began = Settings(task="rte", slots=4)
    assert extended(began, History(), None, None, None).slots == 4
    assert extended(began, History(), None, None, None, "2").slots == 2
    assert extended(began, History(), None, None, None, "auto").slots == "auto"
    with pytest.raises(UserError, match="slots: '0' cannot be used"):
        extended(began, History(), None, None, None, "0")


def test_a_run_that_goes_on_can_have_finalists_that_its_spent_budget_does_not_stop():
    began, spent = Settings(task="rte", trials=4, budget=600), History(seconds=600.0)
    same = extended(began, spent, None, None, None)
    assert (same.finalists, same.reseeds, same.budget) == (0, 0, 600)
    more = extended(began, spent, None, None, None, finalists=3, reseeds=2)
    assert (more.finalists, more.reseeds, more.trials, more.budget) == (3, 2, 4, None)
    kept = extended(more, spent, None, 60.0, None, finalists=0, reseeds=0)
    assert (kept.finalists, kept.reseeds, kept.budget) == (0, 0, 660)
    assert extended(began, spent, None, None, None, finalists=0, reseeds=0).budget == 600
    with pytest.raises(UserError, match="--finalists 3: needs --reseeds, too"):
        resolve(extended(began, spent, None, None, None, finalists=3))


def test_trials_that_would_all_be_the_same_are_refused_with_the_way_out(begun):
    """As with the run.yaml of a training, in which every hyperparameter is set."""
    _, data, preparation, _ = begun
    point = {
        parameter.name: parameter.draw(Random(0)) for parameter in preparation.space.parameters
    }
    assert prepared(data, set=point, trials=1).space.searched == ()
    with pytest.raises(UserError, match=r"5 trials would all be the same; fix fewer.*tuner train"):
        prepared(data, set=point, trials=5)
    free = {name: value for name, value in point.items() if name != "seed"}
    assert prepared(data, set=free, trials=5).space.seeds is not None
