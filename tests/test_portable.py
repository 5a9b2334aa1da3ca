"""The exported model as ONNX: it says what PyTorch's says, for any rows, or it is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tests.small_disks import SmallDisk, small_disk
from tuner import portable
from tuner.cli import run_guarded
from tuner.demo import demo_rows
from tuner.errors import TunerError, Unwritable
from tuner.portable import ROWS, TOLERANCE, write_onnx
from tuner.tasks import find_task
from tuner.tiny import train_tokenizer

__all__ = ["small_disk"]

LIMIT = 48
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 2, "max_position_embeddings": 64}


def table(rows: int, pairs: bool = True) -> pa.Table:
    """Rows of one to many sentences of the demo."""
    drawn = demo_rows("train")[: rows * 2]
    texts = [[" ".join([row[n]] * (1 + at % 4)) for at, row in enumerate(drawn)] for n in range(2)]
    names = ("sentence1", "sentence2") if pairs else ("sentence",)
    return pa.table({name: column[:rows] for name, column in zip(names, texts, strict=False)})


def model(kind: str, folder: Path, task: str = "demo") -> Path:
    """A model of random weights, large enough to tell rows apart, in a folder as exported."""
    torch.manual_seed(0)
    tokenizer: Any = train_tokenizer([text for row in demo_rows("train")[:300] for text in row[:2]])
    tokenizer.model_max_length = LIMIT
    size: dict[str, Any] = {"vocab_size": len(tokenizer), "num_labels": 2}
    network: Any
    if kind == "bert":
        network = BertForSequenceClassification(BertConfig(**size, **SHAPE, **HEADS))
    elif kind == "roberta":
        network = RobertaForSequenceClassification(RobertaConfig(**size, **SHAPE, **HEADS))
    else:
        network = DistilBertForSequenceClassification(
            DistilBertConfig(
                **size, dim=32, hidden_dim=64, n_layers=1, n_heads=2, max_position_embeddings=64
            )
        )
    if kind == "roberta":
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer,
            model_input_names=["input_ids", "attention_mask"],
            model_max_length=LIMIT,
            pad_token="[PAD]",
        )
    with torch.no_grad():
        for weight in network.classifier.parameters():
            weight *= 20
    network.config.pad_token_id = tokenizer.pad_token_id
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["tuner"] = {"task": task, "max_length": LIMIT}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for pairs that was written as ONNX, for those who only look."""
    best = model("bert", tmp_path_factory.mktemp("run") / "best")
    _, found = write_onnx(best, find_task("demo"), table(300))
    assert found.rows == ROWS
    assert found.batch > 1
    assert found.shortest < found.longest == LIMIT
    assert found.difference <= TOLERANCE
    return best


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_models_without_token_types_are_written_for_single_texts(kind: str, tmp_path: Path) -> None:
    file, found = write_onnx(
        model(kind, tmp_path / "best", "sst2"), find_task("sst2"), table(30, pairs=False)
    )
    assert found.difference <= TOLERANCE
    assert found.rows == 30
    assert _inputs(file) == ["input_ids", "attention_mask"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def _inputs(file: Path) -> list[str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [given.name for given in session.get_inputs()]


def test_batch_and_sequence_are_of_any_size_and_logits_are_pytorchs(exported: Path) -> None:
    import onnxruntime

    file = exported / "onnx" / "model.onnx"
    assert set(_inputs(file)) == {"input_ids", "token_type_ids", "attention_mask"}
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert {tuple(given.shape) for given in session.get_inputs()} == {("batch", "sequence")}
    network = BertForSequenceClassification.from_pretrained(exported).eval()
    said = []
    for rows, tokens in ((1, 2), (5, 31), (17, 3)):
        ids = torch.randint(5, 100, (rows, tokens))
        mask = torch.ones_like(ids)
        mask[rows // 2, tokens // 2 :] = 0
        batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        (logits,) = session.run(["logits"], {name: it.numpy() for name, it in batch.items()})
        with torch.no_grad():
            np.testing.assert_allclose(logits, network(**batch).logits.numpy(), atol=TOLERANCE)
        said.append(logits)
    assert np.concatenate(said).std() > 10 * TOLERANCE, "logits that are all alike tell nothing"


def test_a_model_that_says_something_else_is_not_kept(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = tmp_path / "best"
    shutil.copytree(exported, best)
    kept = (best / "onnx" / "model.onnx").read_bytes()

    def nearly(network: Any, example: Any, file: Path) -> None:
        shutil.copyfile(exported / "onnx" / "model.onnx", file)
        with torch.no_grad():
            network.classifier.bias += 2 * TOLERANCE

    monkeypatch.setattr(portable, "_export", nearly)
    with pytest.raises(TunerError, match=r"by up to 0\.002 on 20 rows, and 0\.001 is tolerated"):
        write_onnx(best, find_task("demo"), table(20))
    assert (best / "onnx" / "model.onnx").read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_full_disk_leaves_the_model_as_it_was(
    exported: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = small_disk.folder / "best"
    shutil.copytree(exported, best)
    before = {path: path.read_bytes() for path in best.rglob("*") if path.is_file()}

    def write(network: Any, example: Any, file: Path) -> None:
        shutil.copyfile(exported / "onnx" / "model.onnx", file)

    monkeypatch.setattr(portable, "_export", write)
    with small_disk.full(), pytest.raises(Unwritable, match=r"onnx cannot be written \(No space"):
        write_onnx(best, find_task("demo"), table(2))
    assert {path: path.read_bytes() for path in best.rglob("*") if path.is_file()} == before
    assert [path.name for path in small_disk.folder.iterdir()] == ["best"]


def test_without_the_extra_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(portable, "find_spec", lambda name: None)
    assert run_guarded(["export", "any", "--onnx"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'tuner[onnx]'" in said
    assert said.count("\n") == 1


def test_the_command_prints_what_it_checked_and_where_the_model_lies(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = tmp_path / "best"
    shutil.copytree(exported, best)
    shutil.rmtree(best / "onnx")
    assert run_guarded(["export", str(best)]) == 0
    assert capsys.readouterr().out == f"model      {best}\n"
    assert run_guarded(["export", str(best), "--onnx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"onnx       {best}/onnx/model.onnx (")
    assert lines[1].startswith("checked    max abs difference of the logits ")
    assert f" on {ROWS} rows of " in lines[1]
    assert (best / "onnx" / "model.onnx").is_file()
