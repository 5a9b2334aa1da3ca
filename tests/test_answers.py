"""What logits say, and the files that predictions are written to."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tuner.answers import (
    check_output,
    predictions,
    probabilities,
    write_probabilities,
    write_submission,
)
from tuner.errors import UserError
from tuner.tasks import find_task

DEMO = find_task("demo")


def one_hot(numbers: list[int], labels: int) -> np.ndarray:
    return np.eye(labels, dtype=np.float32)[numbers] * 3


@pytest.mark.parametrize(
    ("task", "numbers", "said"),
    [
        ("rte", [1, 0], ["not_entailment", "entailment"]),
        ("qnli", [0, 1], ["entailment", "not_entailment"]),
        ("mnli", [0, 1, 2], ["entailment", "neutral", "contradiction"]),
        ("cola", [1, 0], ["1", "0"]),
        ("sst2", [0, 1], ["0", "1"]),
        ("wnli", [0, 1], ["0", "1"]),
        ("demo", [0, 1], ["different", "same"]),
    ],
)
def test_a_submission_has_the_labels_that_glue_asks_for(
    task: str, numbers: list[int], said: list[str], tmp_path: Path
) -> None:
    found = find_task(task)
    path = tmp_path / "out" / f"{task}.tsv"
    write_submission(path, found, one_hot(numbers, found.num_labels), range(len(numbers)))
    lines = [f"{number}\t{label}\n" for number, label in enumerate(said)]
    assert path.read_text() == "index\tprediction\n" + "".join(lines)


def test_a_regressions_submission_has_scores_from_0_to_5_with_three_decimals(
    tmp_path: Path,
) -> None:
    logits = np.array([[-0.2], [2.34567], [5.1], [-0.0]], np.float32)
    write_submission(tmp_path / "STS-B.tsv", find_task("stsb"), logits, range(4))
    lines = (tmp_path / "STS-B.tsv").read_text().splitlines()
    assert lines == ["index\tprediction", "0\t0.000", "1\t2.346", "2\t5.000", "3\t0.000"]


def test_the_index_that_the_rows_came_with_is_kept(tmp_path: Path) -> None:
    write_submission(tmp_path / "a.tsv", DEMO, one_hot([0, 1], 2), [7, 3])
    assert [line.split("\t")[0] for line in (tmp_path / "a.tsv").read_text().splitlines()[1:]] == [
        "7",
        "3",
    ]


def test_probabilities_are_written_a_column_a_label_and_sum_to_one(tmp_path: Path) -> None:
    task = find_task("mnli")
    logits = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]], np.float32)
    chances = probabilities(task, logits)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(chances[0], [0.0900306, 0.2447285, 0.6652410], atol=1e-6)

    write_probabilities(tmp_path / "p.csv", task, logits, [0, 1])
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["index", "prediction", "entailment", "neutral", "contradiction"]
    assert list(rows[0]) == names
    assert [row["prediction"] for row in rows] == ["contradiction", "entailment"]
    assert [float(rows[0][name]) for name in task.label_names] == pytest.approx(
        chances[0].tolist(), abs=1e-6
    )
    assert float(rows[1]["entailment"]) == 1.0

    write_probabilities(tmp_path / "p.jsonl", task, logits, [0, 1])
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1]
    assert lines[0]["neutral"] == pytest.approx(0.244728, abs=1e-6)


def test_a_regressions_probabilities_are_its_scores(tmp_path: Path) -> None:
    write_probabilities(tmp_path / "s.tsv", find_task("stsb"), np.array([[5.5]], np.float32), [0])
    assert (tmp_path / "s.tsv").read_text() == "index\tprediction\tscore\n0\t5.000\t5.5\n"


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    for name in ("out.txt", "out", "out.json"):
        with pytest.raises(UserError, match=r"use \.tsv, \.csv, \.jsonl, \.parquet"):
            check_output(tmp_path / name)
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path / "folder.tsv")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_output(tmp_path / "file" / "out.tsv")
    check_output(tmp_path / "not" / "yet" / "there.TSV")


def test_a_row_that_could_not_be_read_is_an_empty_prediction_in_every_form(tmp_path: Path) -> None:
    logits = one_hot([1, 0, 1], 2)
    logits[1] = np.nan
    index = [4, None, 6]
    assert predictions(DEMO, logits) == ["same", "", "same"]
    write_submission(tmp_path / "a.tsv", DEMO, logits, index)
    assert (tmp_path / "a.tsv").read_text().splitlines()[1:] == ["4\tsame", "\t", "6\tsame"]
    write_probabilities(tmp_path / "a.csv", DEMO, logits, index)
    assert (tmp_path / "a.csv").read_text().splitlines()[2] == ",,,"
    write_probabilities(tmp_path / "a.jsonl", DEMO, logits, index)
    line = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[1])
    assert line == {"index": None, "prediction": "", "different": None, "same": None}
    write_probabilities(tmp_path / "a.parquet", DEMO, logits, index)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["index", "prediction", "different", "same"]
    assert table["index"].to_pylist() == index
    assert table["same"].null_count == 1
    regression = np.array([[np.nan], [1.0]], np.float32)
    assert predictions(find_task("stsb"), regression) == ["", "1.000"]


def test_a_regression_without_a_range_is_written_as_it_is() -> None:
    task = dataclasses.replace(find_task("stsb"), label_range=None)
    logits = np.array([[-12.5], [123456.7], [0.00012345]], np.float32)
    assert predictions(task, logits) == ["-12.5", "123457", "0.00012345"]


def test_a_name_with_a_tab_in_it_leaves_the_columns_of_a_tsv_alone(tmp_path: Path) -> None:
    write_submission(tmp_path / "a.tsv", DEMO, one_hot([1], 2), ["a\tb\nc"])
    assert (tmp_path / "a.tsv").read_text() == "index\tprediction\na b c\tsame\n"


def test_a_label_may_be_called_like_another_column(tmp_path: Path) -> None:
    task = dataclasses.replace(DEMO, label_names=("index", "prediction"))
    write_probabilities(tmp_path / "a.jsonl", task, one_hot([1], 2), [7])
    line = json.loads((tmp_path / "a.jsonl").read_text())
    assert (line["index"], line["prediction"]) == (7, "prediction")
    assert line["probability of prediction"] > 0.5
