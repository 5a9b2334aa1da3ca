"""A portrait counts what is there, draws by the seed, and shows nothing that a terminal obeys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.glue_files import write_rte
from tests.test_commands import command
from tuner.bases import Reader, load_base, load_reader
from tuner.data import prepare_data
from tuner.description import describe, printable
from tuner.duplicates import Overlap
from tuner.portrait import Portrait, portray
from tuner.progress import Silent
from tuner.settings import Settings
from tuner.tasks import Task, find_task

SST2, RTE, STSB = map(find_task, ("sst2", "rte", "stsb"))
WORDS = [f"word{number}" for number in range(30)]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load_reader("tiny", SST2, lambda: WORDS * 2)


def table(task: Task, *rows: tuple[Any, ...]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    data = {
        name: pa.array(columns[place], pa.string()) for place, name in enumerate(task.text_columns)
    }
    kind = pa.float64() if task.regression else pa.int64()
    return pa.table({**data, "label": pa.array(columns[-1], kind)})


def reviews(**more: pa.Table) -> dict[str, pa.Table]:
    """Ten rows of 3 to 10 tokens; three have the same text, and one of these another label."""
    rows = [(" ".join(WORDS[: count + 1]), count % 2) for count in range(8)]
    train = table(SST2, *rows, (rows[2][0], 0), (rows[2][0], 1))
    shown = table(SST2, (rows[2][0], 0), (rows[3][0], 1), ("unseen word1", 0), ("word9", 1))
    return {"train": train, "validation": shown, **more}


def portrait(
    reader: Reader,
    splits: dict[str, pa.Table],
    task: Task = SST2,
    examples: int = 3,
    **changes: Any,
) -> Portrait:
    return portray(task, splits, reader, Settings(task=task.name, **changes), Silent(), examples)


def test_labels_lengths_and_doubles_are_counted(reader: Reader) -> None:
    test = table(SST2, ("word1", None), ("word0 word1", None))
    found = portrait(reader, reviews(test=test), max_length=8)
    train, validation, unlabelled = found.splits
    assert (train.name, train.rows, train.unlabelled) == ("train", 10, 0)
    assert train.labels == {"negative": 5, "positive": 5}
    assert (train.tokens["median"], train.tokens["longest"], train.cut) == (6, 10, 2)
    assert train.characters["longest"] == len(" ".join(WORDS[:8]))
    assert (train.repeated, train.contradictory) == (3, 3)
    assert (validation.repeated, validation.contradictory) == (0, 0)
    assert (unlabelled.labels, unlabelled.unlabelled) == ({"negative": 0, "positive": 0}, 2)
    assert found.overlaps == (
        Overlap("validation", "train", rows=2, contradictory=1),
        Overlap("test", "train", rows=1, contradictory=0),
        Overlap("test", "validation", rows=0, contradictory=0),
    )
    assert (found.search_rows, found.selection_rows, found.max_length) == (8, 2, 8)


def test_a_pair_is_the_same_only_where_both_texts_are(reader: Reader) -> None:
    rows = [("word1 word2", "word3", 0), ("word1", "word2 word3", 0), ("word3", "word1 word2", 1)]
    train = table(RTE, *rows, *rows[:1], ("word1 word2 ", "word3", 1), ("2 word1", "", 1))
    found = portrait(reader, {"train": train, "validation": train.slice(1, 2)}, RTE, fraction=0.6)
    assert found.splits[0].repeated == 2
    assert found.splits[0].contradictory == 0
    assert found.overlaps[0].rows == 2


def test_a_regression_has_quantiles_and_a_mean(reader: Reader) -> None:
    rows = [(f"word{number}", "word2", number / 4) for number in range(20)]
    splits = {"train": table(STSB, *rows), "validation": table(STSB, ("word1", "word2", 3.0))}
    found = portrait(reader, splits, STSB)
    assert found.splits[0].labels == {}
    assert (found.splits[0].quantiles["least"], found.splits[0].quantiles["most"]) == (0.0, 4.75)
    assert found.splits[0].mean == pytest.approx(2.375)
    assert found.overlaps[0] == Overlap("validation", "train", rows=1, contradictory=1)
    lines = "\n".join(describe(found))
    assert "mean" in lines
    assert f"train row {found.examples[0].row}: {found.examples[0].label:g}" in lines


def test_texts_are_cut_where_a_search_would_cut_them(reader: Reader) -> None:
    splits = reviews()
    for asked, select_on in ((None, "holdout"), (8, "validation")):
        found = portrait(reader, splits, max_length=asked, select_on=select_on)
        data = prepare_data(
            SST2,
            splits,
            reader.tokenizer,
            model_limit=reader.model_limit,
            fraction=1.0,
            select_on=select_on,
            max_length=asked,
            seed=0,
            progress=Silent(),
        )
        assert found.max_length == data.max_length
        assert (found.search_rows, found.selection_rows) == (
            data.train.num_rows,
            data.selection.num_rows,
        )
        assert found.tokens is not None
        row = data.full_train["input_ids"][found.tokens.row].as_py()
        assert list(found.tokens.ids) == row
        assert list(found.tokens.tokens) == reader.tokenizer.convert_ids_to_tokens(row)


def test_the_seed_draws_the_examples(reader: Reader) -> None:
    first, again, other = (portrait(reader, reviews(), seed=seed) for seed in (1, 1, 3))
    assert first == again
    assert [each.row for each in first.examples] != [each.row for each in other.examples]
    every = portrait(reader, reviews(), examples=100)
    assert [each.row for each in every.examples] == list(range(10))
    assert every.examples[1].label == "positive"
    none = portrait(reader, reviews(), examples=0)
    assert (none.examples, none.tokens) == ((), None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain café 漢字 🙂", "plain café 漢字 🙂"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_line_of_a_description_can_be_more_than_a_line(reader: Reader) -> None:
    evil = "\x1b]0;title\x07\n\u202eword1 " + "word2 " * 400
    rows = [(f"{evil}{number}", number % 2) for number in range(10)]
    train = table(SST2, *rows)
    lines = describe(portrait(reader, {"train": train, "validation": train}, max_length=64))
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 600
    assert any("more characters)" in line for line in lines)
    assert any("64 tokens, of 4" in line for line in lines)


def test_many_labels_are_summed_up(reader: Reader) -> None:
    names = tuple(f"class {number}" for number in range(50))
    task = Task("many", "Many", ("sentence",), names, ("accuracy",), "accuracy")
    rows = table(task, *((f"word{number}", number % 50) for number in range(200)))
    found = portray(
        task, {"train": rows, "validation": rows}, reader, Settings(task="sst2"), Silent(), 0
    )
    lines = describe(found)
    assert any(line.startswith("20 other labels  80 (40.0 %)") for line in lines)
    assert not any(line.startswith("class 30") for line in lines)


def test_a_reader_reads_as_its_base_model_does(minilm: Path) -> None:
    base, reader = (load(str(minilm), SST2, list) for load in (load_base, load_reader))
    assert (reader.model_limit, reader.name) == (base.model_limit, base.name)
    assert reader.tokenizer("some text") == base.tokenizer("some text")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rte(tmp_path_factory.mktemp("glue"))


def test_the_command_shows_the_data_of_a_task(files: Path) -> None:
    options = ["--task", "rte", "--data", files, "--model", "tiny", "--examples", "1"]
    done = command("data", *options)
    assert done.code == 0, done.err
    assert done.out.startswith("rte: Recognizing Textual Entailment")
    for said in ("not_entailment", "without a label", "test in validation", "[CLS]"):
        assert said in done.out
    assert "tokenising 300 train rows" in done.err
    found = json.loads(command("data", *options, "--format", "json").out)
    assert [split["rows"] for split in found["splits"]] == [300, 60, 20]
    assert len(found["examples"]) == 1
    assert set(found["examples"][0]["texts"]) == {"sentence1", "sentence2"}


def test_the_command_does_without_a_test_split_and_takes_a_file_of_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    rows = (f"some {number} words,{('poor', 'fine')[number % 2]}" for number in range(40))
    file.write_text("\n".join(["review,verdict", *rows]) + "\n")
    options = ["--text", "review", "--label", "verdict", "--split", "train=0:30"]
    done = command(
        "data", "--data", file, *options, "--split", "validation=30:40", "--model", "tiny"
    )
    assert done.code == 0, done.err
    assert "fine" in done.out
    assert "note: without a test split" in done.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-length", "1000"], "max_length is 1000"),
        (["--fraction", "0.0001"], "a larger --fraction"),
        (["--model", "no/such/model"], "no/such/model"),
        (["--trials", "3"], "--trials"),
    ],
)
def test_what_cannot_be_shown_ends_in_a_line(files: Path, options: list[str], said: str) -> None:
    done = command("data", "--task", "rte", "--data", files, "--model", "tiny", *options)
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert done.out == ""


def test_cola_has_contradictions_and_rows_of_its_own_in_validation(glue: Path) -> None:
    done = command("data", "--task", "cola", "--data", glue, "--model", "tiny", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    train = found["splits"][0]
    assert train["labels"] == {"unacceptable": 2528, "acceptable": 6023}
    assert train["repeated"] > train["contradictory"] == 22
    assert found["overlaps"][0] == {
        "split": "validation",
        "earlier": "train",
        "rows": 16,
        "contradictory": 2,
    }
