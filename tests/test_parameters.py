"""What a trial may set is what the installed transformers has and a run does not own itself."""

from __future__ import annotations

import dataclasses

import pytest

from tuner.errors import UserError
from tuner.hyperparameters import DEFAULTS, OUR_OWN
from tuner.parameters import Fields, check_value, fields, refusal


@pytest.fixture(scope="module")
def known() -> Fields:
    return fields()


def test_every_field_can_be_given_to_transformers_with_its_type(known: Fields) -> None:
    from transformers import TrainingArguments

    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(known) - set(OUR_OWN) <= names
    assert set(OUR_OWN) <= set(known) - names
    assert set(DEFAULTS) <= set(known)
    assert {"weight_decay", "lr_scheduler_type", "label_smoothing_factor", "optim"} <= set(known)
    assert "warmup_ratio" in known or "warmup_steps" in known
    assert known["seed"] is int
    assert known["learning_rate"] is float
    assert known["num_train_epochs"] is float


def test_a_field_is_either_free_or_refused_never_both(known: Fields) -> None:
    assert [name for name in known if refusal(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "output_dir",
        "eval_strategy",
        "eval_steps",
        "save_strategy",
        "save_total_limit",
        "report_to",
        "fp16",
        "bf16",
        "bf16_full_eval",
        "use_cpu",
        "logging_steps",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "max_steps",
        "dataloader_num_workers",
        "ddp_backend",
        "remove_unused_columns",
        "push_to_hub",
        "hub_token",
        "data_seed",
        "auto_find_batch_size",
        "group_by_length",
        "torch_compile",
        "fsdp",
        "deepspeed",
        "local_rank",
    ],
)
def test_what_a_run_takes_care_of_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: cannot be set per trial: .+"):
        check_value(name, 1)


def test_no_field_of_transformers_is_both_unknown_and_without_an_answer(known: Fields) -> None:
    from transformers import TrainingArguments

    for field in dataclasses.fields(TrainingArguments):
        if field.name not in known:
            with pytest.raises(UserError, match=field.name):
                check_value(field.name, 1, known)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", 0, "learning_rate: 0 must be above 0"),
        ("learning_rate", float("nan"), "must be a finite number"),
        ("learning_rate", float("inf"), "must be a finite number"),
        ("learning_rate", "fast", "learning_rate: 'fast' must be a number"),
        ("learning_rate", True, "learning_rate: True must be a number"),
        ("learning_rate", [1], "must be one number"),
        ("num_train_epochs", 0, "must be above 0"),
        ("per_device_train_batch_size", 0, "must be at least 1"),
        ("per_device_train_batch_size", 8.5, "must be a whole number"),
        ("seed", -1, "must be from 0 to"),
        ("seed", 2**32, "must be from 0 to"),
        ("weight_decay", -0.1, "must be at least 0"),
        ("adam_beta2", 1.0, "below 1"),
        ("label_smoothing_factor", 1.0, "below 1"),
    ],
)
def test_bounds_hold_with_and_without_transformers(
    known: Fields, name: str, value: object, message: str
) -> None:
    for these in (known, None):
        with pytest.raises(UserError, match=message):
            check_value(name, value, these)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rat", 1, "did you mean 'learning_rate'"),
        ("lr", 1, "did you mean 'learning_rate'"),
        ("batch_size", 1, "did you mean 'per_device_train_batch_size'"),
        ("xyzzy", 1, "there are .*learning_rate"),
        ("lr_scheduler_type", "cosin", "did you mean 'cosine'"),
        ("lr_scheduler_type", 1, "there is no 1; use one of linear"),
        ("lr_scheduler_type", "reduce_lr_on_plateau", "needs evaluations"),
        ("gradient_checkpointing", 1, "must be true or false"),
        ("optim_args", 1, "must be text"),
        ("lr_scheduler_kwargs", "x", "must be JSON"),
    ],
)
def test_names_and_types_are_those_of_transformers(
    known: Fields, name: str, value: object, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_value(name, value, known)


def test_values_come_back_as_the_field_takes_them(known: Fields) -> None:
    batch = check_value("per_device_train_batch_size", 16.0, known)
    assert batch == 16
    assert type(batch) is int
    epochs = check_value("num_train_epochs", 3, known)
    assert epochs == 3
    assert check_value("num_train_epochs", 0.5, known) == 0.5
    assert check_value("lr_scheduler_type", "cosine", known) == "cosine"


def test_the_share_of_warmup_is_honest_about_the_installed_version(known: Fields) -> None:
    """A share of the schedule is either a field of its own, or warmup_steps reads one."""
    from transformers import TrainingArguments

    if "warmup_ratio" in known:
        assert check_value("warmup_ratio", 0.1, known) == 0.1
        return
    with pytest.raises(UserError, match="use warmup_steps, which below 1 is a share"):
        check_value("warmup_ratio", 0.1, known)
    share = check_value("warmup_steps", 0.1, known)
    arguments = TrainingArguments(warmup_steps=share, use_cpu=True)
    assert arguments.get_warmup_steps(200) == 20
