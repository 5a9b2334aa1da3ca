"""Rows to predict from files of the user's own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tuner.errors import UserError
from tuner.inputs import read_input, read_labelled, row_index
from tuner.tasks import find_task

RTE = find_task("rte")
COLA = find_task("cola")
MNLI = find_task("mnli")
ROWS = [('He said "no".', "He, too, refused."), ("Ein Fluß\u2028entsprang", "a river")]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same two rows in every form, with a byte order mark, blank lines and one more column."""
    objects = [{"more": 1, "sentence2": b, "sentence1": a} for a, b in ROWS]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in objects)
    tsv = "".join(f"1\t{b}\t{a}\r\n\r\n" for a, b in ROWS)
    csv = "".join('1,"{}","{}"\n\n'.format(b, a.replace('"', '""')) for a, b in ROWS)
    return {
        "tsv": write(tmp_path, "in.tsv", f"\ufeffmore\tsentence2\tsentence1\r\n{tsv}\n"),
        "csv": write(tmp_path, "in.CSV", f"\ufeffmore,sentence2,sentence1\n{csv}"),
        "jsonl": write(tmp_path, "in.jsonl", f"\ufeff{lines}\n\n"),
    }


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_every_form_gives_the_same_rows_in_their_order(form: str, files: dict[str, Path]) -> None:
    table = read_input(files[form], RTE)
    assert table.column_names == ["sentence1", "sentence2"]
    assert list(zip(*table.to_pydict().values(), strict=True)) == ROWS
    assert row_index(table) == [0, 1]


def test_quotation_marks_in_a_tsv_are_characters_like_any_other(tmp_path: Path) -> None:
    path = write(tmp_path, "in.tsv", 'sentence\n"An open quote\nand "" two\n')
    assert read_input(path, COLA)["sentence"].to_pylist() == ['"An open quote', 'and "" two']


def test_a_csv_field_may_hold_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, "in.csv", 'sentence,x\n"one\ntwo",1\nthree,2\n')
    assert read_input(path, COLA)["sentence"].to_pylist() == ["one\ntwo", "three"]
    path = write(tmp_path, "in.csv", 'sentence,x\n"one\ntwo",1\nthree\n')
    with pytest.raises(UserError, match=r"in\.csv:4: the line has 1 columns"):
        read_input(path, COLA)


def test_glues_own_names_for_the_columns_will_do(tmp_path: Path) -> None:
    path = write(tmp_path, "test.tsv", "index\tsentence1\tsentence2\n5\ta\tb\n")
    table = read_input(path, MNLI)
    assert table.to_pydict() == {"premise": ["a"], "hypothesis": ["b"], "index": [5]}


def test_the_files_own_numbers_are_kept(tmp_path: Path) -> None:
    numbered = write(tmp_path, "a.tsv", "id\tsentence\n7\ta\n3\tb\n")
    assert row_index(read_input(numbered, COLA)) == [7, 3]
    named = write(tmp_path, "b.csv", "id,sentence\nx7,a\n3,b\n")
    assert row_index(read_input(named, COLA)) == ["x7", "3"]
    objects = write(tmp_path, "c.jsonl", '{"idx": 4, "sentence": "a"}\n{"idx": 2, "sentence": "b"}')
    assert row_index(read_input(objects, COLA)) == [4, 2]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "in.txt",
            "sentence\na",
            "the suffix '.txt' names no form; use .tsv, .csv, .jsonl, .parquet; the first",
        ),
        ("in.parquet.gz", "", "the suffix '.gz' names no form"),
        ("in.parquet", "x", "in.parquet: cannot be read as Parquet: "),
        ("in.csv.gz", "sentence", "in.csv.gz: cannot be unpacked: Not a gzipped file"),
        ("in.tsv", "sentence\n", "has no rows below its header"),
        ("in.jsonl", "\n\n", "has no rows"),
        ("in.tsv", "", "in.tsv:1: is blank; the first line must name the columns"),
        ("in.tsv", "a\tb\n1\t2\n", "in.tsv:2: there is no column 'sentence', but a, b"),
        ("in.csv", "Sentence\na\n", "did you mean 'Sentence'"),
        ("in.tsv", "sentence\tb\na\tb\na\n", "in.tsv:3: the line has 1 columns, but must have 2"),
        ("in.tsv", "sentence\tb\n\na\tb\tc\n", "in.tsv:3: the line has 3 columns"),
        ("in.tsv", "sentence\tb\n \tx\n", "in.tsv:2: sentence is empty"),
        ("in.tsv", "sentence\tsentence\na\tb\n", "in.tsv:1: the header names 'sentence' twice"),
        ("in.csv", 'sentence\nok\n"no end\n', "in.csv:3: cannot be read as CSV"),
        ("in.csv", 'sentence\n"a"b\n', "in.csv:2: cannot be read as CSV"),
        ("in.jsonl", '{"sentence": "a"}\n{"sentence": }\n', "in.jsonl:2: is not JSON"),
        ("in.jsonl", '["a"]\n', "in.jsonl:1: must be an object"),
        ("in.jsonl", '{"sentence": 3}\n', "in.jsonl:1: sentence is 3, but must be text"),
        ("in.jsonl", '{"sentence": "a"}\n{"b": "a"}', "in.jsonl:2: there is no column 'sentence'"),
        ("in.jsonl", '{"sentence": null}\n', "in.jsonl:1: sentence is null"),
        ("in.jsonl", '{"sentence": "\\ud800"}\n', "in.jsonl:1: sentence holds half a character"),
    ],
)
def test_what_cannot_be_used_is_named_by_file_and_line(
    name: str, text: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        read_input(write(tmp_path, name, text), COLA)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_input(tmp_path / "nowhere.tsv", COLA)
    (tmp_path / "latin.tsv").write_bytes(b"sentence\na\nFlu\xdf\n")
    with pytest.raises(UserError, match=r"latin\.tsv:3: not UTF-8"):
        read_input(tmp_path / "latin.tsv", COLA)


def test_glues_own_test_file_can_be_predicted(glue: Path) -> None:
    table = read_input(glue / "RTE" / "test.tsv", RTE)
    assert table.num_rows == 3000
    assert row_index(table) == list(range(3000))


def test_a_broken_row_is_told_and_null_when_it_may_be(tmp_path: Path) -> None:
    told: list[str] = []
    path = write(tmp_path, "in.tsv", "id\tsentence\n7\ta\n8\n9\t \n4\td\n")
    table = read_input(path, COLA, bad=told.append)
    assert table.to_pydict() == {"sentence": ["a", None, None, "d"], "index": [7, None, 9, 4]}
    assert row_index(table) == [7, None, 9, 4]
    assert [line.removeprefix(str(path)).split(": ")[0] for line in told] == [":3", ":4"]
    assert "the line has 1 columns, but must have 2" in told[0]
    assert "sentence is empty" in told[1]
    quoted = write(tmp_path, "in.csv", 'sentence\n"a"b\nc\n"d"\n')
    assert read_input(quoted, COLA, bad=told.append)["sentence"].to_pylist() == [None, "c", "d"]


def test_a_file_of_colas_that_begins_with_its_first_row_is_known_by_it(tmp_path: Path) -> None:
    rows = 'gj04\t1\t\tThey rode.\n\ngj04\t0\t*\tThey" rode.\n'
    for name in ("dev.tsv", "dev.csv"):
        path = write(tmp_path, name, rows)
        if name == "dev.csv":
            with pytest.raises(UserError, match="there is no column 'sentence'"):
                read_input(path, COLA)
            continue
        assert read_input(path, COLA)["sentence"].to_pylist() == ["They rode.", 'They" rode.']
        labelled = read_labelled(path, COLA)
        assert labelled["sentence"].to_pylist() == ["They rode.", 'They" rode.']
        assert labelled["label"].to_pylist() == [1, 0]
    named = write(tmp_path, "named.tsv", f"source\tlabel\tstar\tsentence\n{rows}")
    assert read_input(named, COLA).num_rows == read_labelled(named, COLA).num_rows == 2
    for other in ("gj04\t2\t\tThey rode.\n", "1\tThey rode.\n"):
        path = write(tmp_path, "other.tsv", other * 2)
        with pytest.raises(UserError, match="there is no column 'sentence'"):
            read_input(path, COLA)
    broken = write(tmp_path, "broken.tsv", rows + "1\tThey\n")
    with pytest.raises(UserError, match=r"broken\.tsv:4: the line has 2 columns"):
        read_input(broken, COLA)


def test_a_row_of_empty_fields_is_a_row_and_no_blank_line(tmp_path: Path) -> None:
    for name, text, line in (
        ("one.csv", 'sentence\na\n\n""\nd\n', 4),
        ("two.csv", "sentence,x\na,1\n  \n,\nd,1\n", 4),
        ("two.tsv", "sentence\tx\na\t1\n\n\t\nd\t1\n", 4),
    ):
        path, told = write(tmp_path, name, text), list[str]()
        with pytest.raises(UserError, match=f"{name}:{line}: sentence is empty"):
            read_input(path, COLA)
        table = read_input(path, COLA, bad=told.append)
        assert table["sentence"].to_pylist() == ["a", None, "d"]
        assert len(told) == 1


def test_one_side_of_a_pair_may_be_empty_as_in_training_but_not_both(tmp_path: Path) -> None:
    path = write(tmp_path, "in.csv", "sentence1,sentence2\na,\n,b\n")
    columns = read_input(path, RTE).to_pydict()
    assert columns == {"sentence1": ["a", ""], "sentence2": ["", "b"]}
    path = write(tmp_path, "in.jsonl", '{"sentence1": "a", "sentence2": null}\n')
    assert read_input(path, RTE)["sentence2"].to_pylist() == [""]
    path = write(tmp_path, "none.csv", "sentence1,sentence2\na,b\n,\n")
    with pytest.raises(UserError, match=r"none\.csv:3: sentence1 and sentence2 is empty"):
        read_input(path, RTE)


def test_a_first_row_that_is_broken_hides_no_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "in.jsonl", '{\n{"idx": 3, "sentence": "a"}\n')
    assert row_index(read_input(path, COLA, bad=lambda text: None)) == [None, 3]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("in.csv", 'sentence\na\n"no end\nb\nc\n', "in.csv:3: cannot be read as CSV: unexpected e"),
        ("in.jsonl", "{\n[]\n", "in.jsonl: none of its rows can be read"),
        ("in.tsv", "sentence\n", "in.tsv: has no rows below its header"),
    ],
)
def test_what_spoils_a_whole_file_is_an_error_all_the_same(
    name: str, text: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason):
        read_input(write(tmp_path, name, text), COLA, bad=lambda text: None)


def test_a_file_of_many_rows_comes_whole(tmp_path: Path) -> None:
    lines = "".join(f"text {row}\n" if row % 999 else "a\tb\n" for row in range(25_000))
    told: list[str] = []
    table = read_input(write(tmp_path, "in.tsv", f"sentence\n{lines}"), COLA, bad=told.append)
    texts = table["sentence"].to_pylist()
    assert len(told) == texts.count(None) == 26
    assert all(text in (None, f"text {row}") for row, text in enumerate(texts))


@pytest.mark.parametrize(
    ("task", "written", "labels"),
    [
        ("rte", ["entailment", "not_entailment", ""], [0, 1, None]),
        ("cola", ["0", "1", "unacceptable", "-1"], [0, 1, 0, None]),
        ("stsb", ["3.5", "0", "5e0", ""], [3.5, 0.0, 5.0, None]),
    ],
)
def test_labels_are_read_by_name_or_as_glue_writes_them(
    task: str, written: list[str], labels: list[object], tmp_path: Path
) -> None:
    found = find_task(task)
    header = [*found.text_columns, found.label_column]
    rows = [[*("text" for _ in found.text_columns), label] for label in written]
    text = "".join(",".join(row) + "\n" for row in [header, *rows])
    table = read_labelled(write(tmp_path, "in.csv", text), found)
    assert table["label"].to_pylist() == labels
    objects = [dict(zip(header, row, strict=True)) for row in rows]
    lines = "".join(json.dumps(row) + "\n" for row in objects)
    assert read_labelled(write(tmp_path, "in.jsonl", lines), found).equals(table)


def test_labels_of_ones_own_file_are_read_whatever_split_the_task_was_trained_on(
    tmp_path: Path,
) -> None:
    task = dataclasses.replace(COLA, test_split="40000:")
    path = write(tmp_path, "in.csv", "sentence,label\na,1\nb,0\n")
    assert read_labelled(path, task)["label"].to_pylist() == [1, 0]
    with pytest.raises(UserError, match=r"the suffix '\.txt' names no form"):
        read_labelled(tmp_path / "in.txt", task)
    with pytest.raises(UserError, match=r"in\.csv:2: the label 'maybe' is none of 0, 1"):
        read_labelled(write(tmp_path, "in.csv", "sentence,label\na,maybe\n"), task)


def test_glues_names_for_labels_will_do(tmp_path: Path) -> None:
    path = write(tmp_path, "dev.tsv", "sentence1\tsentence2\tgold_label\na\tb\tneutral\n")
    assert read_labelled(path, MNLI)["label"].to_pylist() == [1]
