"""The rules of `--split`: what they mean, and which of them are refused."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.errors import UserError
from tuner.rules import Rule, assign, parse_rule, parse_rules
from tuner.splits import rows_of, subset


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("dev", Rule("dev")),
        ("validation_matched", Rule("validation_matched")),
        ("0:35000", Rule(None, 0, 35000)),
        ("40000:", Rule(None, 40000, None)),
        (":10", Rule(None, 0, 10)),
        ("0.8", Rule(None, share=0.8)),
        (".5", Rule(None, share=0.5)),
        ("80%", Rule(None, share=0.8)),
        ("1.0", Rule(None, share=1.0)),
        ("train[0.1]", Rule("train", share=0.1)),
        ("test[5:10]", Rule("test", 5, 10)),
    ],
)
def test_a_rule_is_a_name_rows_or_a_share(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10:5", "must end after it begins"),
        ("5:5", "holds no rows"),
        ("0.0", "must lie above 0"),
        ("1.5", "be at most 1"),
        ("-0.1", "must lie above 0"),
        ("120%", "be at most 1"),
        ("1", "write 1.0, or rows as 0:1"),
        ("train[dev]", "write a name"),
        ("train[]", "write a name"),
        ("train[0:5", "write a name"),
        ("a:b", "write a name"),
        ("", "write a name"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_forms(text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_rule(text)
    assert says in str(caught.value)


def test_rules_come_from_flags_and_from_yaml() -> None:
    expected = {"train": "0:35000", "test": "40000:"}
    assert parse_rules(["train=0:35000", "test=40000:"]) == expected
    assert parse_rules({"train": "0:35000", "test": {40000: None}}) == expected
    assert parse_rules({"train": 0.8, "validation": 0.2}) == {"train": "0.8", "validation": "0.2"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["dev=0.1"], "--split dev: must be SPLIT=ROWS, where SPLIT is train, validation, test"),
        (["0.1"], "must be SPLIT=ROWS"),
        (["train=0.1", "train=0.2"], "--split train= is given twice"),
        (["train=5:1"], "--split train=5:1: '5:1' holds no rows"),
        ("0.5", "must map train, validation and test"),
    ],
)
def test_rules_of_another_form_are_refused(given: object, says: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_rules(given)
    assert says in str(caught.value)


def rules(given: dict[str, str], *parts: str) -> dict[str, str]:
    found = assign(given, parts, seed=3)
    return {split: str(rule) for split, rule in found.rules.items()}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["train", "validation", "test"], ["train", "validation", "test"]),
        (["train", "dev"], ["train", "dev"]),
        (["Training", "val", "test", "extra"], ["Training", "val", "test"]),
        (["train", "validation_matched", "test_matched"], None),
    ],
)
def test_splits_go_by_what_the_data_call_them(parts: list[str], expected: list[str] | None) -> None:
    found = assign({}, parts, seed=0)
    assert [str(rule) for rule in found.rules.values()] == (expected or parts)
    assert found.note is None


def test_without_a_validation_split_one_is_drawn_and_that_is_said() -> None:
    found = assign({}, ["train", "test"], seed=3)
    assert rules({}, "train", "test") == {
        "train": "train[0.9]",
        "validation": "train[0.1]",
        "test": "test",
    }
    assert "a tenth of train validates, drawn by class with seed 3" in str(found.note)
    for part in ("train", "everything"):
        found = assign({}, [part], seed=3)
        assert [str(rule) for rule in found.rules.values()] == [
            f"{part}[0.8]",
            f"{part}[0.1]",
            f"{part}[0.1]",
        ]
        assert "80 % of its rows train, 10 % validate, 10 % test" in str(found.note)


def test_what_is_given_goes_before_names_and_leaves_the_rest_to_them() -> None:
    assert rules({"validation": "dev2"}, "train", "dev", "dev2", "test") == {
        "train": "train",
        "validation": "dev2",
        "test": "test",
    }
    assert rules({"train": "0:9", "validation": "9:"}, "train", "test") == {
        "train": "train[0:9]",
        "validation": "train[9:]",
        "test": "test",
    }
    # Rows that validate are not those that test.
    assert rules({"validation": "test"}, "train", "test") == {
        "train": "train",
        "validation": "test",
    }


@pytest.mark.parametrize(
    ("given", "parts", "says"),
    [
        ({}, ["a", "b"], "the data have the splits a, b, and none is called train"),
        ({}, ["validation", "test"], "none is called train"),
        ({"train": "0.8"}, ["a", "b"], "name one of them, such as a[0.8]"),
        ({"validation": "dev"}, ["train", "test"], "no split called 'dev', but train, test"),
        ({"train": "0.8"}, ["train"], "--split names no rows for validation"),
        ({"validation": "0.2"}, ["train"], "--split names no rows for train"),
        ({"train": "0:6", "validation": "5:9"}, ["train"], "share rows"),
        ({"train": "2:", "validation": "0:1", "test": "5:6"}, ["train"], "share rows"),
        ({"train": "train", "validation": "train[0:5]"}, ["train"], "share rows"),
        ({"train": "train", "validation": "test", "test": "test"}, ["train", "test"], "share rows"),
        ({"train": "0.8", "validation": "0.3"}, ["train"], "must not add up to more than 1"),
        ({"train": "0.8", "validation": "0:5"}, ["train"], "shares and rows of train at once"),
    ],
)
def test_splits_that_cannot_be_are_refused(
    given: dict[str, str], parts: list[str], says: str
) -> None:
    with pytest.raises(UserError) as caught:
        assign(given, parts, seed=0)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shares_are_drawn_by_class_and_never_overlap() -> None:
    found = assign({}, ["train"], seed=3).rules
    groups = np.repeat([0, 1, 2], [600, 300, 100])
    taken = {split: rows_of(split, found, 1000, groups, seed=3) for split in found}
    assert [len(rows) for rows in taken.values()] == [800, 100, 100]
    assert sorted(np.concatenate(list(taken.values())).tolist()) == list(range(1000))
    for split, rows in taken.items():
        assert np.bincount(groups[rows]).tolist() == [
            round(len(rows) * share) for share in (0.6, 0.3, 0.1)
        ], split
        assert rows.tolist() == rows_of(split, found, 1000, groups, seed=3).tolist()
        assert rows.tolist() != rows_of(split, found, 1000, groups, seed=4).tolist()


def test_shares_that_leave_rows_over_never_overlap_either() -> None:
    found = assign({"train": "0.5", "validation": "0.2", "test": "0.1"}, ["train"], 0).rules
    taken = [rows_of(split, found, 101, None, 0) for split in found]
    assert [len(rows) for rows in taken] == [50, 20, 10]
    assert len(np.unique(np.concatenate(taken))) == 80


def test_a_class_of_one_row_stays_in_training() -> None:
    found = assign({}, ["train"], seed=0).rules
    groups = np.array([0] * 30 + [1] * 30 + [2])
    assert 60 in rows_of("train", found, 61, groups, seed=0)


@pytest.mark.parametrize(
    ("given", "count", "says"),
    [
        (
            {"train": "0:6", "validation": "6:12"},
            10,
            "--split validation=train[6:12]: train has 10",
        ),
        ({"train": "0:6", "validation": "10:"}, 10, "train has 10 rows"),
        ({"train": "0.9", "validation": "0.1"}, 3, "of 3 rows, that is none"),
    ],
)
def test_rows_that_are_not_there_are_refused(given: dict[str, str], count: int, says: str) -> None:
    with pytest.raises(UserError, match=r".") as caught:
        rows_of("validation", assign(given, ["train"], 0).rules, count, None, 0)
    assert says in str(caught.value)


def test_a_subset_keeps_the_classes_shares_and_is_the_same_for_a_seed() -> None:
    labels = np.repeat([0, 1], [80, 20])
    rows = subset(labels, False, 10, seed=5)
    assert np.bincount(labels[rows]).tolist() == [8, 2]
    assert rows.tolist() == subset(labels, False, 10, seed=5).tolist()
    assert rows.tolist() != subset(labels, False, 10, seed=6).tolist()
    assert len(subset(labels, False, 1000, seed=5)) == 100
