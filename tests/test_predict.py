"""An exported model at work: rows keep their order, whatever runs together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.exported import export_tiny
from tuner import predict as module
from tuner.demo import demo_rows
from tuner.errors import UserError
from tuner.predict import predict, read_classifier, task_of
from tuner.tasks import find_task
from tuner.views import scores_of

DEMO = find_task("demo")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the weights it starts from, large enough for rows to differ."""
    return export_tiny(tmp_path_factory.mktemp("model"))


def rows_of_many_lengths() -> pa.Table:
    rows = demo_rows("validation")[:40]
    first = [row[0] + " the key" * (number % 7) for number, row in enumerate(rows)]
    return pa.table({"sentence1": first, "sentence2": [row[1] for row in rows]})


def test_predictions_keep_the_order_of_the_rows_whatever_the_batch(model: Path) -> None:
    table = rows_of_many_lengths()
    classifier = read_classifier(model)
    alone = np.concatenate([classifier.logits(DEMO, table.slice(row, 1)) for row in range(40)])
    assert len(np.unique(alone[:, 0])) == 40, "rows that predict alike would hide a wrong order"
    for batch_size in (1, 7, 64):
        together = classifier.logits(DEMO, table, batch_size=batch_size)
        np.testing.assert_allclose(together, alone, atol=1e-4)


def test_no_rows_give_no_predictions(model: Path) -> None:
    assert predict(model, DEMO, rows_of_many_lengths().slice(0, 0)).shape == (0, 2)


@pytest.mark.parametrize("chunk", [7, 40, 64])
def test_rows_are_tokenised_chunk_by_chunk_and_one_without_a_text_is_left_out(
    chunk: int, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    table = rows_of_many_lengths()
    whole = predict(model, DEMO, table)
    holes = [3, 20, 39]
    texts = [None if row in holes else text for row, text in enumerate(table[0].to_pylist())]
    told: list[int] = []
    classifier = read_classifier(model)
    logits = classifier.logits(
        DEMO, table.set_column(0, "sentence1", pa.array(texts)), advance=told.append
    )
    assert np.flatnonzero(np.isnan(logits).all(axis=1)).tolist() == holes
    there = np.setdiff1d(np.arange(40), holes)
    np.testing.assert_allclose(logits[there], whole[there], atol=1e-4)
    assert sum(told) == 40


def test_batches_are_filled_up_to_the_longest_row_and_no_further_on_a_cpu(model: Path) -> None:
    classifier = read_classifier(model)
    widths: set[tuple[int, ...]] = set()

    def seen(module: object, given: object, named: dict[str, object]) -> None:
        mask = named["attention_mask"]
        widths.add(tuple(mask.shape))
        assert (mask.sum(dim=1) == mask.shape[1]).any()

    classifier.network.register_forward_pre_hook(seen, with_kwargs=True)
    classifier.logits(DEMO, rows_of_many_lengths(), batch_size=8)
    assert len(widths) > 1


def test_texts_are_cut_at_the_length_that_is_asked_for(model: Path) -> None:
    table = rows_of_many_lengths()
    short, long = (read_classifier(model, None, length) for length in (8, 64))
    assert np.abs(short.logits(DEMO, table) - long.logits(DEMO, table)).max() > 1e-3


def test_a_model_without_scores_is_the_users_error(tmp_path: Path, model: Path) -> None:
    assert scores_of(model)["selected_on"] == "holdout"
    for text in ("", "[]", "{}"):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(UserError, match="has no scores"):
            scores_of(tmp_path)


def test_a_model_without_its_weights_is_the_users_error(tmp_path: Path, model: Path) -> None:
    shutil.copyfile(model / "config.json", tmp_path / "config.json")
    with pytest.raises(UserError, match=r"has no weights \(model\.safetensors\)"):
        predict(tmp_path, DEMO, rows_of_many_lengths())


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_model_of_which_a_file_was_cut_off_is_the_users_error(
    name: str, tmp_path: Path, model: Path
) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"copy: the model cannot be loaded: .*; copy the") as found:
        read_classifier(copy)
    assert "\n" not in str(found.value)


def test_a_model_of_another_number_of_labels_than_its_task_is_the_users_error(model: Path) -> None:
    with pytest.raises(UserError, match="the model has 2 labels, but the task mnli has 3; pass"):
        predict(model, find_task("mnli"), rows_of_many_lengths())


def test_a_folder_without_an_exported_model_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model lies there"):
        task_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not name the model's task"):
        task_of(tmp_path)
    (tmp_path / "config.json").write_text('{"tuner": {"task": "rtee"}}')
    with pytest.raises(UserError, match="did you mean 'rte'"):
        task_of(tmp_path)
