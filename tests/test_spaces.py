"""Search spaces: what is written is what is drawn, and what is wrong is named by file and line."""

from __future__ import annotations

import enum
import math
import random
from pathlib import Path

import pytest

from tuner.documents import parse_document, read_yaml, write_yaml
from tuner.errors import UserError
from tuner.hyperparameters import (
    BATCH,
    DEFAULTS,
    EPOCHS,
    LAYER_DECAY,
    LEARNING_RATE,
    SEED,
    Configuration,
)
from tuner.parameters import Fields, fields
from tuner.ranges import shown
from tuner.spaces import Space, built_in_spaces, load_space, parse_space, space_from


class Schedule(enum.StrEnum):
    LINEAR = "linear"
    COSINE = "cosine"


KNOWN: Fields = {
    LEARNING_RATE: float,
    EPOCHS: float,
    BATCH: int,
    SEED: int,
    "weight_decay": float,
    "warmup_steps": float,
    "lr_scheduler_type": Schedule,
    "gradient_checkpointing": bool,
}

FULL = """\
description: all kinds
parameters:
  learning_rate: {min: 1e-6, max: 1e-4, distribution: log_uniform}
  num_train_epochs: {min: 1, max: 5}
  seed: {min: 1, max: 40}
  per_device_train_batch_size: {min: 4, max: 64, distribution: int_log_uniform}
  weight_decay: {min: 0, max: 0.1, step: 0.03}
  warmup_steps: {min: 0, max: 0.2}
  lr_scheduler_type: {values: [linear, cosine]}
  gradient_checkpointing: false
start:
- learning_rate: 2e-5
  num_train_epochs: 3
  per_device_train_batch_size: 16
  weight_decay: 0.03
  warmup_steps: 0.1
  lr_scheduler_type: linear
"""


def space_of(text: str, fixed: Configuration | None = None, known: Fields | None = KNOWN) -> Space:
    return parse_space(parse_document(text, "my.yaml"), known, fixed)


def of(parameter: str) -> Space:
    return space_of(f"parameters:\n  {parameter}")


def test_the_default_space_is_hugging_faces_own() -> None:
    import optuna
    from transformers.trainer_utils import default_hp_space_optuna

    theirs = optuna.create_study().ask()
    default_hp_space_optuna(theirs)
    space = load_space("default")
    expected = dict(theirs.distributions)
    seed = expected.pop(SEED)
    assert space.distributions() == expected
    assert space.seeds == (seed.low, seed.high)


def test_the_built_in_spaces_are_valid_for_the_installed_transformers() -> None:
    spaces = built_in_spaces()
    names = ["bert-base", "default", "demo", "electra", "roberta-large", "small-models"]
    assert [space.name for space in spaces] == names
    known = fields()
    for space in spaces:
        assert load_space(space.name, known) == space
        assert space.start
        assert space.description
        more = {LAYER_DECAY} if space.name == "electra" else set()
        assert {p.name for p in space.searched} == {LEARNING_RATE, EPOCHS, BATCH, *more}


def test_a_space_reads_back_from_its_own_document(tmp_path: Path) -> None:
    for space in (
        *built_in_spaces(),
        space_of(FULL),
        space_of(FULL, {EPOCHS: 2, "weight_decay": 0}),
    ):
        write_yaml(tmp_path / "space", space.document())
        again = space_from(read_yaml(tmp_path / "space"))
        assert again == space
        assert again.start == space.start


def test_draws_lie_within_what_is_written_and_reach_all_of_it() -> None:
    space = space_of(FULL)
    rng = random.Random(0)
    drawn = [space.sample(rng) for _ in range(2000)]
    for configuration in drawn:
        for parameter in space.parameters:
            if parameter.name != SEED:
                assert parameter.holds(configuration[parameter.name]), parameter.name
    seen = {name: {point[name] for point in drawn} for name in drawn[0]}
    assert seen[EPOCHS] == {1, 2, 3, 4, 5}
    assert seen[BATCH] == set(range(4, 65))
    assert seen["weight_decay"] == {0, 0.03, 0.06, 0.09}
    assert seen["lr_scheduler_type"] == {"linear", "cosine"}
    assert seen["gradient_checkpointing"] == {False}
    assert SEED not in seen
    below = sum(float(point[LEARNING_RATE]) < 1e-5 for point in drawn) / len(drawn)
    assert 0.45 < below < 0.55  # half of a logarithmic range lies below its geometric middle
    low = sum(int(point[BATCH]) < 16 for point in drawn) / len(drawn)
    assert math.log(15.5 / 3.5) / math.log(64.5 / 3.5) == pytest.approx(low, abs=0.05)


def test_equal_seeds_draw_equal_configurations() -> None:
    space = space_of(FULL)
    one, other = (space.sample(random.Random(7)) for _ in range(2))
    assert one == other
    assert one != space.sample(random.Random(8))


def test_optuna_draws_what_the_space_holds() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = space_of(FULL)
    distributions = space.distributions()
    assert SEED not in distributions
    assert "gradient_checkpointing" not in distributions
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        params = study.ask(distributions).params
        assert all(space.parameter(name).holds(value) for name, value in params.items())
    for parameter in space.searched:  # and the start point is a trial as Optuna sees it
        inner = distributions[parameter.name].to_internal_repr(space.start[0][parameter.name])
        assert distributions[parameter.name]._contains(inner)


def test_what_a_space_leaves_out_has_its_default() -> None:
    space = space_of("parameters:\n  weight_decay: {min: 0.0, max: 0.1}")
    assert space.complete({"weight_decay": 0.05}) == {**DEFAULTS, "weight_decay": 0.05}
    assert space.seeds is None
    assert space.smallest(BATCH) == DEFAULTS[BATCH]
    assert set(space.document()["parameters"]) == {*DEFAULTS, "weight_decay"}


def test_start_points_are_full_but_for_the_seed() -> None:
    space = space_of(FULL)
    assert set(space.start[0]) == {p.name for p in space.parameters} - {SEED}
    assert space.start[0]["gradient_checkpointing"] is False
    assert space.seeds == (1, 40)


def test_fixed_values_replace_ranges_and_start_points_alike() -> None:
    text = (
        "parameters:\n"
        "  learning_rate: {min: 1e-6, max: 1e-4}\n"
        "  num_train_epochs: {min: 1, max: 5}\n"
        "start:\n"
        "- {learning_rate: 2e-5, num_train_epochs: 3}\n"
        "- {learning_rate: 5e-5, num_train_epochs: 3}\n"
    )
    space = space_of(text, {LEARNING_RATE: 1e-3, "weight_decay": 0.1, BATCH: 8.0})
    assert list(space.distributions()) == [EPOCHS]
    expected = {**DEFAULTS, LEARNING_RATE: 1e-3, EPOCHS: 3, "weight_decay": 0.1, BATCH: 8}
    assert space.start == (expected,)
    assert space.fixed.items() >= {LEARNING_RATE: 1e-3, "weight_decay": 0.1, BATCH: 8}.items()
    assert space.smallest(BATCH) == 8


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({LEARNING_RATE: -1}, "--set learning_rate: -1 must be above 0"),
        ({"learning_rat": 1}, "--set learning_rat: is no hyperparameter.*'learning_rate'"),
        ({"save_steps": 1}, "--set save_steps: cannot be set per trial"),
        ({BATCH: "big"}, f"--set {BATCH}: 'big' must be a whole number"),
    ],
)
def test_a_fixed_value_that_cannot_be_used_is_named(fixed: Configuration, message: str) -> None:
    with pytest.raises(UserError, match=message):
        space_of(FULL, fixed)


@pytest.mark.parametrize(
    ("written", "low", "high", "integer", "log"),
    [
        ("num_train_epochs: {min: 1, max: 5}", 1, 5, True, False),
        ("num_train_epochs: {min: 1.0, max: 5}", 1, 5, False, False),
        ("num_train_epochs: {min: 1.0, max: 5, distribution: int_uniform}", 1, 5, True, False),
        ("num_train_epochs: {min: 1, max: 5, distribution: uniform}", 1, 5, False, False),
        ("seed: {min: 1.0, max: 40, distribution: uniform}", 1, 40, True, False),
        (f"{BATCH}: {{min: 4, max: 64, distribution: log_uniform}}", 4, 64, True, True),
        ("learning_rate: {min: 1e-6, max: 1, distribution: log_uniform_values}", 1e-6, 1, 0, 1),
    ],
)
def test_ranges_are_read_as_wandb_users_write_them(
    written: str, low: float, high: float, integer: bool, log: bool
) -> None:
    parameter = of(written).parameters[0]
    assert (parameter.low, parameter.high) == (low, high)
    assert (parameter.integer, parameter.log) == (bool(integer), bool(log))


@pytest.mark.parametrize("written", ["{value: 0.1}", "{values: [0.1]}", "0.1"])
def test_one_value_is_fixed_however_it_is_written(written: str) -> None:
    assert of(f"weight_decay: {written}").fixed["weight_decay"] == 0.1


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("learning_rate: {min: 1e-4, max: 1e-6}", "min 1e-4 is above max 1e-6; swap them"),
        ("learning_rate: {min: 1e-4, max: 1e-4}", "both 1e-4, an empty range"),
        ("learning_rate: {min: 0, max: 1e-4, distribution: log_uniform}", "min 0 has no logarithm"),
        ("learning_rate: {min: -9, max: -2, distribution: log_uniform}", "-9 has no logarithm"),
        ("learning_rate: {min: 0, max: 1e-4}", "0 must be above 0"),
        ("learning_rate: {min: low, max: 1}", "min 'low' must be a number"),
        ("learning_rate: {min: .nan, max: 1}", "nan must be a finite number"),
        ("learning_rate: {min: 1e-6, max: .inf}", "inf must be a finite number"),
        ("learning_rate: {max: 1}", "has no min"),
        ("learning_rate: {min: 1e-6}", "has no max"),
        ("learning_rate: {}", "has no min"),
        ("learning_rate: {min: 1e-6, max: 1e-4, mu: 1}", "mu is no part of a range; there are"),
        ("learning_rate: {min: 1e-6, max: 1e-4, distribution: log}", "no distribution 'log'"),
        ("learning_rate: {min: 1e-6, max: 1e-4, values: [1]}", "values stands beside min"),
        ("learning_rate: {values: [1e-5], distribution: uniform}", "distribution uniform; leave"),
        ("learning_rate: {min: 1e-6, max: 1e-4, step: 0}", "step 0 must be a number above 0"),
        ("learning_rate: {min: 1e-6, max: 1e-4, step: 1}", "at most 9.9e-5, the width"),
        ("num_train_epochs: {min: 1, max: 5, step: 0.5}", "step 0.5 must be a whole number"),
        (f"{BATCH}: {{min: 4, max: 8, distribution: log_uniform, step: 4}}", "has no step"),
        ("learning_rate: [1e-5, 2e-5]", "must be one value, or a mapping"),
        ("learning_rate:", "must be one value, or a mapping"),
        ("learning_rate: fast", "'fast' must be a number"),
        ("learning_rat: 1", "is no hyperparameter of a trial; did you mean 'learning_rate'?"),
        ("output_dir: x", "cannot be set per trial: a run has its own folder"),
        (f"{BATCH}: {{values: []}}", "values must list at least one"),
        (f"{BATCH}: {{values: 8}}", "values must list at least one"),
        (f"{BATCH}: {{values: [8, 8]}}", "8 is listed twice"),
        (f"{BATCH}: {{values: [8, 0]}}", "0 must be at least 1"),
        (f"{BATCH}: {{values: [8, 8.5]}}", "8.5 must be a whole number"),
        (f"{BATCH}: {{min: 4.5, max: 8}}", "4.5 must be a whole number"),
        ("weight_decay: {min: 0, max: 1}", "say which is meant: distribution: uniform or"),
        ("lr_scheduler_type: {values: [linear, cosin]}", "no 'cosin'; did you mean 'cosine'?"),
        ("lr_scheduler_type: {min: 1, max: 2}", "takes no range; list what it may be"),
        ("gradient_checkpointing: {min: 0, max: 1}", "takes no range; list what it may be"),
        ("seed: {values: [1, 2]}", "takes a range, not values; give min and max"),
        ("seed: {min: -1, max: 2}", "-1 must be from 0 to"),
    ],
)
def test_a_parameter_that_cannot_be_searched_is_named_by_line(parameter: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        space_of(f"parameters:\n  warmup_steps: 0\n\n  {parameter}")
    name = parameter.partition(":")[0]
    assert str(caught.value).startswith(f"my.yaml:4: {name}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "my.yaml: a search space must have `parameters:`"),
        ("- 1", "my.yaml:1: a search space must have `parameters:`"),
        ("description: x", "my.yaml:1: a search space must have `parameters:`"),
        ("\nparameters:", "my.yaml:2: parameters: must map"),
        ("parameters: [seed]", "my.yaml:1: parameters: must map"),
        ("parameters: {seed: 1}\nmetric: x", "my.yaml:2: metric: is no part of a search space"),
        ("parameters: {seed: 1}\nstrat: []", "my.yaml:2: strat: is no part.*did you mean 'start'"),
        ("parameters: {seed: 1}\nname: 3", "my.yaml:2: name: 3 must be text"),
        ("parameters:\n  seed: 1\n  seed: 2", "my.yaml:3: seed is given twice"),
        ("parameters: {seed: &a 1, weight_decay: *a}", "my.yaml:1: .*alias"),
        (
            "parameters:\n  learning_rate:\n    min: 1\n    max: 0.1",
            "my.yaml:3: learning_rate: min",
        ),
    ],
)
def test_a_space_of_another_form_is_named_by_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        space_of(text)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("- {learning_rate: 2e-3}", "5: start point 1: learning_rate: 0.002 is not within .*1e-4"),
        (
            "- {learning_rate: 2e-5}\n- {learning_rate: 1e-9}",
            "6: start point 2: learning_rate: 1e-9",
        ),
        ("- {learning_rate: fast}", "5: start point 1: learning_rate: 'fast' must be a number"),
        ("- {learning_rate: 2e-5, epochs: 1}", "5: start point 1: epochs is not among"),
        (
            "- {learning_rate: 2e-5, weight_decay: 0.1}",
            "5: start point 1: weight_decay: 0.1 is not",
        ),
        ("- {weight_decay: 0.01}", "5: start point 1 has no learning_rate; add"),
        ("- 1", "5: start point 1 must map"),
        ("  learning_rate: 1", "4: start: must list configurations"),
    ],
)
def test_a_start_point_that_is_no_draw_is_named_by_line(points: str, message: str) -> None:
    text = (
        "parameters:\n"
        "  learning_rate: {min: 1e-5, max: 1e-4, distribution: log_uniform}\n"
        "  weight_decay: 0.01\n"
        f"start:\n{points}"
    )
    with pytest.raises(UserError, match=f"^my.yaml:{message}"):
        space_of(text)


def test_start_points_that_are_equal_are_one() -> None:
    text = "parameters: {learning_rate: {min: 1e-5, max: 1e-4}}\nstart:\n"
    space = space_of(text + "- {learning_rate: 2e-5}\n- {learning_rate: 0.00002}\n")
    assert len(space.start) == 1


@pytest.mark.parametrize("name", ["demmo", "x" * 3000, ".", "\0", "none.yaml", ""])
def test_a_space_that_is_not_there_is_the_users_to_mend(name: str) -> None:
    with pytest.raises(UserError, match="there is no search space") as caught:
        load_space(name)
    assert len(str(caught.value)) < 300


def test_a_space_of_ones_own_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("parameters:\n  learning_rate: {min: 1e-5, max: 1e-6}\n")
    with pytest.raises(UserError, match=f"^{tmp_path}/mine.yaml:2: learning_rate: min"):
        load_space(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text(FULL)
    assert load_space(tmp_path / "mine.yaml", KNOWN).name == "mine"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-6, "1e-6"), (2.5e-5, "2.5e-5"), (0.002, "0.002"), (3.0, "3"), (4, "4"), (True, "true")],
)
def test_numbers_are_shown_as_people_write_them(value: float, text: str) -> None:
    assert shown(value) == text


def test_smoothed_labels_are_refused_for_a_regression_before_anything_starts() -> None:
    from tuner.preparation import _check_smoothing
    from tuner.tasks import find_task

    space = load_space("default", fixed={"label_smoothing_factor": 0.1})
    with pytest.raises(UserError, match="label_smoothing_factor, which is about classes"):
        _check_smoothing(space, find_task("stsb"))
    _check_smoothing(space, find_task("rte"))
    _check_smoothing(load_space("default"), find_task("stsb"))
