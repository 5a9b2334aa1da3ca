"""Predictions: their order, and the files that they are written to."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tuner.demo import demo_rows
from tuner.errors import UserError
from tuner.models import build_model, load_base
from tuner.predict import (
    TOKENS,
    batches_by_length,
    check_output,
    predict,
    probabilities,
    task_of,
    write_probabilities,
    write_submission,
)
from tuner.tasks import RMSE, SCALE_METRICS, Task, find_task

DEMO = find_task("demo")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the weights it starts from, large enough for rows to differ."""
    folder = tmp_path_factory.mktemp("model")
    texts = [text for row in demo_rows("train")[:500] for text in row[:2]]
    base = load_base("tiny", DEMO, lambda: texts)
    torch.manual_seed(0)
    network = build_model(base.weights)
    with torch.no_grad():
        network.classifier.weight *= 20
    network.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def rows_of_many_lengths() -> pa.Table:
    rows = demo_rows("validation")[:40]
    first = [row[0] + " the key" * (number % 7) for number, row in enumerate(rows)]
    return pa.table({"sentence1": first, "sentence2": [row[1] for row in rows]})


def one_hot(numbers: list[int], labels: int) -> np.ndarray:
    return np.eye(labels, dtype=np.float32)[numbers] * 3


def test_predictions_keep_the_order_of_the_rows_whatever_the_batch(model: Path) -> None:
    table = rows_of_many_lengths()
    alone = np.concatenate([predict(model, DEMO, table.slice(row, 1)) for row in range(40)])
    assert len(np.unique(alone[:, 0])) == 40, "rows that predict alike would hide a wrong order"
    for batch_size in (1, 7, 64):
        together = predict(model, DEMO, table, batch_size)
        np.testing.assert_allclose(together, alone, atol=1e-4)


def test_no_rows_give_no_predictions(model: Path) -> None:
    assert predict(model, DEMO, rows_of_many_lengths().slice(0, 0)).shape == (0, 2)


def test_batches_hold_every_row_once_and_stay_within_their_tokens() -> None:
    lengths = [5, 600, 30, 512, 600, 2, 8, 40_000]
    batches = list(batches_by_length(lengths, 3))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) <= 3 for batch in batches)
    padded = [len(batch) * max(lengths[row] for row in batch) for batch in batches]
    assert all(tokens <= TOKENS for tokens in padded[1:])
    assert batches[0] == [7], "a row longer than the bound runs alone"


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


def test_the_scores_of_ones_own_regression_are_not_cut_to_those_of_glue(tmp_path: Path) -> None:
    task = Task("own", "own", ("text",), (), SCALE_METRICS, RMSE)
    write_submission(tmp_path / "own.tsv", task, np.array([[-7.5], [250.0]], np.float32), [0, 1])
    assert (tmp_path / "own.tsv").read_text().splitlines()[1:] == ["0\t-7.500", "1\t250.000"]


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
    assert list(rows[0]) == ["index", "entailment", "neutral", "contradiction"]
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
    assert (tmp_path / "s.tsv").read_text() == "index\tscore\n0\t5.5\n"


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    for name in ("out.txt", "out", "out.parquet"):
        with pytest.raises(UserError, match=r"use \.tsv, \.csv, \.jsonl"):
            check_output(tmp_path / name)
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path / "folder.tsv")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_output(tmp_path / "file" / "out.tsv")
    check_output(tmp_path / "not" / "yet" / "there.TSV")


def test_a_model_without_its_weights_is_the_users_error(tmp_path: Path, model: Path) -> None:
    shutil.copyfile(model / "config.json", tmp_path / "config.json")
    with pytest.raises(UserError, match=r"has no weights \(model\.safetensors\)"):
        predict(tmp_path, DEMO, rows_of_many_lengths())


def test_a_folder_without_an_exported_model_is_the_users_error(tmp_path: Path, model: Path) -> None:
    with pytest.raises(UserError, match="no model lies there"):
        task_of(tmp_path)
    with pytest.raises(UserError, match="does not name the model's task"):
        task_of(model)
    (tmp_path / "config.json").write_text('{"tuner": {"task": "rtee"}}')
    with pytest.raises(UserError, match="did you mean 'rte'"):
        task_of(tmp_path)
    (tmp_path / "config.json").write_text('{"tuner": {"task": "own", "label_names": [1]}}')
    with pytest.raises(UserError, match=r"config\.json: the task cannot be read"):
        task_of(tmp_path)


def test_a_model_of_an_older_tuner_names_its_task_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"tuner": {"task": "rte", "text_columns": ["sentence1", "sentence2"], "max_length": 9}}'
    )
    assert task_of(tmp_path) == find_task("rte")
