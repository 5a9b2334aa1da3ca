"""Tasks without code: from columns, from a task file, from the data alone; what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuner.drafts import EXAMPLE, draft
from tuner.errors import UserError
from tuner.reading import Reading, read_task
from tuner.settings import Settings
from tuner.sources import Split, read_split
from tuner.tasks import Task

ALL: tuple[Split, ...] = ("train", "validation", "test")


def read(splits: tuple[Split, ...] = ("train", "validation"), **given: Any) -> Reading:
    settings, found = draft(Settings(**given))
    reading = read_task(found, settings, lambda _: None)
    return dataclasses.replace(reading, splits={split: reading.read(split) for split in splits})


def refused(**given: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(**given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def csv(path: Path, header: str, *rows: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def labelled(path: Path, labels: list[Any], header: str = "text,label") -> str:
    """A CSV with ten rows for each of the labels."""
    rows = [f"text {number} {label},{label}" for number in range(10) for label in labels]
    return csv(path, header, *rows)


def parquet(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


# --- columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("text,label", ("text",), "label"),
        ("Review,Sentiment", ("Review",), "Sentiment"),
        ("id,headline,class", ("headline",), "class"),
        ("premise,hypothesis,gold_label", ("premise", "hypothesis"), "gold_label"),
        ("question,sentence,label", ("question", "sentence"), "label"),
        ("title,text,stars", ("text",), "stars"),
        ("label,text,sentiment", ("text",), "label"),
        ("review,spammy", ("review",), "spammy"),
    ],
)
def test_columns_are_found_by_what_they_are_called(
    tmp_path: Path, header: str, text: tuple[str, ...], label: str
) -> None:
    labels = {"label", "class", "Sentiment", "gold_label", "stars", "spammy", "sentiment"}
    rows = [
        ",".join(
            str(row % 2) if name in labels else str(row) if name == "id" else f"some {name} {row}"
            for name in header.split(",")
        )
        for row in range(40)
    ]
    reading = read(data=csv(tmp_path / "rows.csv", header, *rows))
    task = reading.task
    assert (task.text_columns, task.label_column) == (text, label)
    assert any(" and ".join(text) in note for note in reading.notes)
    assert f"labels are in the column {label}; --label says otherwise" in reading.notes
    # What was inferred is what a repeated run is told.
    assert (reading.settings.text, reading.settings.label) == (text, label)
    again = read(**reading.settings.plain())
    assert again.task == task
    assert not again.notes


def test_columns_that_are_given_are_used_and_not_said(tmp_path: Path) -> None:
    data = csv(tmp_path / "rows.csv", "a,b,c,d", *(f"x {n},y {n},{n % 3},z" for n in range(60)))
    reading = read(data=data, text=["b", "a"], label="c")
    assert reading.task.text_columns == ("b", "a")
    assert reading.splits["train"].column_names[:2] == ["b", "a"]
    assert not any("--text" in note or "--label" in note for note in reading.notes)


@pytest.mark.parametrize(
    ("header", "row", "given", "says"),
    [
        ("a,b,label", "x y,z w,1", {}, "a, b may each be the texts; name one with --text, or two"),
        ("label,target,text", "1,1,x", {}, "label and target may each be the labels; name one"),
        ("text,x,y1", "a,1,2", {}, "no column is called as labels are; name it with --label: text"),
        ("a,b,label", "1,2,1", {}, "has no column of texts (a, b beside the labels in label)"),
        ("label", "1", {}, "has no column of texts (nothing beside the labels in label)"),
        ("text,label", "a,1", {"text": "txt"}, "--text txt: "),
        ("text,label", "a,1", {"text": "txt"}, "has no such column, but text, label; did you mean"),
        ("text,label", "a,1", {"label": "labels"}, "--label labels: "),
        ("label,kind", "a b,1", {"text": "label", "label": "kind"}, "--text label: a column of "),
        ("label,kind", "a b,1", {"label": "kind"}, "or index, as the rows' labels and numbers are"),
        ("index,idx,label", "a b,1,1", {"text": "index"}, "--text index: a column of texts must"),
        ("text,label", "a,1", {"text": "text", "label": "text"}, "is a column of texts, too"),
    ],
)
def test_columns_that_cannot_be_told_are_asked_for(
    tmp_path: Path, header: str, row: str, given: dict[str, Any], says: str
) -> None:
    assert says in refused(data=csv(tmp_path / "rows.csv", header, row, row), **given)


def test_a_text_column_must_hold_text(tmp_path: Path) -> None:
    data = parquet(tmp_path / "a.parquet", text=[1, 2], label=["a", "b"])
    assert "has no column of texts" in refused(data=data)
    assert "text holds int64, but a text column must hold text" in refused(
        data=data, text="text", split=["train=0:1", "validation=1:2"]
    )
    lines = [{"text": "a", "label": 1}, {"text": 3, "label": 0}, {"text": "c", "label": 1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    message = refused(
        data=str(tmp_path / "a.jsonl"), text="text", split=["train=0:2", "validation=2:3"]
    )
    assert "a.jsonl:2: text is 3, but must be text" in message


def test_a_typed_file_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    words = pa.array(["a", "b"])
    table = pa.table([words, words, pa.array([0, 1])], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    says = "a.parquet: has two columns called 'text'; rename one of them"
    assert says in refused(data=str(tmp_path / "a.parquet"))


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["pos", "neg"], ("neg", "pos")),
        (["level 10", "level 9", "Level 1"], ("Level 1", "level 9", "level 10")),
        ([5, 4, 3, 2, 1], ("1", "2", "3", "4", "5")),
        (["2.0", "10.0"], ("2", "10")),
        (["True", "False"], ("false", "true")),
        (["TRUE", "FALSE", "HALF"], ("FALSE", "HALF", "TRUE")),
        ([-1, 0, 1], ("-1", "0", "1")),
    ],
)
def test_classes_have_an_order_that_does_not_depend_on_the_rows(
    tmp_path: Path, labels: list[Any], names: tuple[str, ...]
) -> None:
    data = labelled(tmp_path / "rows.csv", labels)
    reading = read(data=data)
    assert reading.task.label_names == names
    assert not reading.task.regression
    told = f"label has {len(names)} classes ({', '.join(names)}), scored by accuracy"
    assert any(note.startswith(told) for note in reading.notes)
    data = labelled(tmp_path / "other.csv", labels[::-1])
    assert read(data=data).task.label_names == names


def test_truth_values_and_whole_numbers_of_typed_files_are_classes(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(20)]
    data = parquet(tmp_path / "a.parquet", text=texts, label=[n % 2 == 0 for n in range(20)])
    reading = read(data=data)
    assert reading.task.label_names == ("false", "true")
    assert set(reading.splits["train"]["label"].to_pylist()) == {0, 1}
    data = parquet(tmp_path / "b.parquet", text=texts, label=[n % 3 + 1.0 for n in range(20)])
    assert read(data=data).task.label_names == ("1", "2", "3")
    kinds = pa.array(["a", "b"] * 10).dictionary_encode()
    data = parquet(tmp_path / "c.parquet", text=texts, label=kinds)
    assert read(data=data).task.label_names == ("a", "b")


def test_truth_values_are_the_same_labels_however_a_file_writes_them(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(20)]
    typed = parquet(tmp_path / "a.parquet", text=texts, label=[n % 2 == 0 for n in range(20)])
    words = labelled(tmp_path / "rows.csv", ["True", "False"])
    for train, validation in ((typed, words), (words, typed)):
        reading = read(data=[f"train={train}", f"validation={validation}"])
        assert reading.task.label_names == ("false", "true")
        assert reading.splits["validation"]["label"].to_pylist() == [1, 0] * 10
    three = labelled(tmp_path / "three.csv", ["True", "False", "Maybe"])
    reading = read(data=[f"train={three}", f"validation={words}"])
    assert reading.task.label_names == ("False", "Maybe", "True")
    assert reading.splits["validation"]["label"].to_pylist() == [2, 0] * 10


def test_class_names_that_are_numbers_make_a_scale_where_one_is_asked_for(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["1", "5"])}
    )
    rows = {"text": [f"text {n}" for n in range(20)], "label": [0, 1] * 10}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    data = str(tmp_path / "a.parquet")
    assert not read(data=data).task.regression
    reading = read(data=data, objective="pearson")
    assert reading.task.regression
    assert set(reading.splits["train"]["label"].to_pylist()) == {1.0, 5.0}


def test_class_names_that_the_data_carry_are_used_in_their_order(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "a", "yes"])}
    )
    rows = {"text": [f"text {n}" for n in range(20)], "label": [0, 2] * 10}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    reading = read(data=str(tmp_path / "a.parquet"))
    assert reading.task.label_names == ("no", "a", "yes")
    assert set(reading.splits["train"]["label"].to_pylist()) == {0, 2}


def test_numbers_with_fractions_are_a_regression(tmp_path: Path) -> None:
    data = labelled(tmp_path / "rows.csv", [0.5, 1, 2.25], header="text,score")
    reading = read(data=data)
    task = reading.task
    assert task.regression
    assert (task.metrics, task.objective) == (("pearson", "spearman", "rmse"), "pearson")
    assert reading.splits["train"]["label"].type == pa.float64()
    assert set(reading.splits["train"]["label"].to_pylist()) == {0.5, 1.0, 2.25}
    assert any(
        "numbers from 0.5 to 2.25: a regression, scored by pearson" in n for n in reading.notes
    )


def test_the_objective_decides_between_classes_and_a_scale(tmp_path: Path) -> None:
    data = labelled(tmp_path / "stars.csv", [1, 2, 3], header="text,stars")
    task = read(data=data, objective="rmse").task
    assert (task.regression, task.objective) == (True, "rmse")
    data = labelled(tmp_path / "halves.csv", [0.5, 1, 1.5])
    task = read(data=data, objective="macro_f1").task
    assert (task.label_names, task.objective) == (("0.5", "1", "1.5"), "macro_f1")
    assert task.metrics == ("accuracy", "macro_f1")
    task = read(data=data, objective="matthews_correlation").task
    assert task.metrics == ("accuracy", "macro_f1", "matthews_correlation")


@pytest.mark.parametrize(
    ("labels", "given", "says"),
    [
        (["a", "b"], {"objective": "pearson"}, "rows.csv:2: the label 'a' is no number"),
        (["a", "b"], {"objective": "acuracy"}, "there is no metric 'acuracy'"),
        (["a", "b", "c"], {"objective": "f1"}, "f1 is that of the second of two classes"),
        (
            list(range(30)),
            {},
            "label has 30 whole numbers, which may be classes or a scale; pass --objective accu",
        ),
        (["", ""], {}, "label is empty"),
        (['["a"]', '["b"]'], {}, "holds lists of labels; data with several labels"),
    ],
)
def test_labels_that_make_no_task_are_refused(
    tmp_path: Path, labels: list[Any], given: dict[str, Any], says: str
) -> None:
    assert says in refused(data=labelled(tmp_path / "rows.csv", labels), **given)


def test_several_labels_a_row_are_refused(tmp_path: Path) -> None:
    data = parquet(tmp_path / "a.parquet", text=["x", "y"], labels=[[0, 1], [1]])
    assert "labels holds lists of labels; data with several labels a row (multi-label)" in refused(
        data=data
    )


def test_texts_are_no_classes(tmp_path: Path) -> None:
    rows = [f"a {n},b {n}" for n in range(50)]
    message = refused(data=csv(tmp_path / "rows.csv", "text,label", *rows))
    assert "label has 50 different values in 50 rows, too many for classes" in message


def test_a_label_that_the_training_rows_lack_is_named_with_its_line(tmp_path: Path) -> None:
    train = labelled(tmp_path / "train.csv", ["no", "yes"])
    validation = csv(tmp_path / "dev.csv", "text,label", "a,no", "b,maybe")
    message = refused(data=[f"train={train}", f"validation={validation}"])
    assert message == f"{validation}:3: the label 'maybe' is none of no, yes"


def test_a_row_without_a_label_is_named_with_its_line(tmp_path: Path) -> None:
    data = csv(tmp_path / "a.csv", "text,label", "a,no", "b,yes", "c,", "d,no")
    message = refused(data=data, split=["train=0:3", "validation=3:4"])
    assert f"{data}:4: the label '' is none of no, yes" in message


def test_a_row_without_any_text_is_named_with_its_line(tmp_path: Path) -> None:
    rows = [f"{'' if n == 7 else n} ,{n % 2},b {n}" for n in range(20)]
    data = csv(tmp_path / "a.csv", "text,label,text_b", *rows)
    message = refused(data=data, text="text")
    assert message == f"{data}:9: text is empty; fill it in, or take the row out"
    assert read(data=data, text=["text", "text_b"]).splits["train"].num_rows == 16


def test_rows_of_blank_fields_are_passed_over_and_counted_where_rows_are_learnt_from(
    tmp_path: Path,
) -> None:
    rows = [f"text {n},{n % 2}" for n in range(20)]
    train = csv(tmp_path / "train.csv", "text,label", *rows[:5], ",", *rows[5:], " , ", ",")
    dev = csv(tmp_path / "dev.csv", "text,label", ",", *rows, "x,")
    data = [f"train={train}", f"validation={dev}"]
    assert refused(data=data) == f"{dev}:23: the label '' is none of 0, 1"
    csv(Path(dev), "text,label", ",", *rows)
    reading = read(data=data)
    assert [reading.splits[split].num_rows for split in ("train", "validation")] == [20, 20]
    assert reading.task.label_names == ("0", "1")
    assert f"3 rows of blank fields are passed over (the first is {train}:7)" in reading.notes
    assert f"1 row of blank fields is passed over (the first is {dev}:2)" in reading.notes
    # To be predicted, a row keeps its place.
    test = csv(tmp_path / "test.csv", "text", "a", '""', "b")
    found = read(splits=("test",), data=[*data, f"test={test}"]).splits["test"]
    assert found["text"].to_pylist() == ["a", "", "b"]


def test_labels_that_differ_in_capitals_are_pointed_out(tmp_path: Path) -> None:
    reading = read(data=labelled(tmp_path / "rows.csv", ["Pos", "neg", "pos"]))
    assert any("'Pos' and 'pos' are two classes; is one misspelt?" in n for n in reading.notes)


def test_a_test_split_may_lack_labels(tmp_path: Path) -> None:
    train = labelled(tmp_path / "a.csv", ["no", "yes"])
    for header, row in (("text", "a"), ("text,label", "a,-1"), ("text,label", "a,")):
        test = csv(tmp_path / "b.csv", header, row)
        reading = read(("test",), data=[f"train={train}", f"validation={train}", f"test={test}"])
        assert reading.splits["test"]["label"].to_pylist() == [None]


# --- splits --------------------------------------------------------------------------------------


def texts(reading: Reading, split: str) -> list[str]:
    found: list[str] = reading.splits[split]["text"].to_pylist()
    return found


def test_rows_of_one_file_are_in_one_split_only(tmp_path: Path) -> None:
    data = labelled(tmp_path / "rows.csv", ["a", "b", "c"])
    reading = read(ALL, data=data, seed=5)
    found = [text for split in ALL for text in texts(reading, split)]
    assert len(found) == len(set(found)) == 30
    assert [len(texts(reading, split)) for split in ALL] == [24, 3, 3]
    assert any("80 % of its rows train" in note for note in reading.notes)
    # The model's task alone gives the same rows again.
    for split in ALL:
        assert read_split(reading.task, split, data)["text"].to_pylist() == texts(reading, split)


def test_rows_may_be_given_by_their_numbers(tmp_path: Path) -> None:
    data = labelled(tmp_path / "rows.csv", ["a", "b"])
    split = ["train=0:10", "validation=10:15", "test=15:"]
    reading = read(ALL, data=data, split=split)
    assert [len(texts(reading, split)) for split in ALL] == [10, 5, 5]
    assert texts(reading, "validation")[0] == "text 5 a"


def test_train_rows_and_eval_rows_draw_by_class_and_by_seed(tmp_path: Path) -> None:
    data = labelled(tmp_path / "rows.csv", ["a", "b"])
    given = {"data": data, "split": ["train=0.6", "validation=0.2", "test=0.2"]}
    small = read(ALL, train_rows=6, eval_rows=2, **given)
    assert [small.splits[split]["label"].to_pylist().count(0) for split in ALL] == [3, 1, 1]
    assert [len(texts(small, split)) for split in ALL] == [6, 2, 2]
    whole = read(ALL, **given)
    assert set(texts(small, "train")) < set(texts(whole, "train"))
    assert texts(read(ALL, train_rows=6, eval_rows=2, **given), "train") == texts(small, "train")
    larger = read(train_rows=99, **given)
    assert "train_rows is 99, but the train split has 12 rows: all are used" in larger.notes


# --- task files ----------------------------------------------------------------------------------

FILE = """\
name: reviews
title: Is it good
data: {train: rows.csv, validation: dev.csv}
text: body
label: verdict
labels: {1: good, 0: bad}
metrics: [accuracy, macro_f1]
objective: macro_f1
"""


def task_file(folder: Path, text: str = FILE) -> str:
    rows = [f"some text {n},{n % 2}" for n in range(40)]
    for name in ("rows.csv", "dev.csv"):
        csv(folder / name, "body,verdict", *rows)
    (folder / "my-task.yaml").write_text(text)
    return str(folder / "my-task.yaml")


def test_a_task_file_says_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = task_file(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    reading = read(task=file)
    task = reading.task
    assert (task.name, task.title) == ("reviews", "Is it good")
    assert (task.text_columns, task.label_column) == (("body",), "verdict")
    assert (task.label_names, task.label_values) == (("good", "bad"), ("1", "0"))
    assert (task.metrics, task.objective) == (("accuracy", "macro_f1"), "macro_f1")
    assert reading.splits["train"]["label"].to_pylist()[:2] == [1, 0]
    assert not reading.notes


def test_the_example_that_is_shown_is_a_task_file(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(EXAMPLE)
    settings, found = draft(Settings(task=str(tmp_path / "task.yaml")))
    assert found.name == "reviews"
    assert found.labels == {"0": "negative", "1": "positive"}
    assert settings.data == str(tmp_path / "movie_data.csv.gz")
    assert settings.split == {"train": "0:35000", "validation": "35000:40000", "test": "40000:"}


def test_flags_go_before_a_task_file(tmp_path: Path) -> None:
    other = csv(tmp_path / "other.csv", "text,verdict", *(f"t {n},{n % 2}" for n in range(40)))
    reading = read(task=task_file(tmp_path), data=other, text="text", objective="accuracy")
    assert (reading.task.text_columns, reading.task.objective) == (("text",), "accuracy")


def test_a_file_may_leave_everything_to_the_data(tmp_path: Path) -> None:
    file = task_file(tmp_path, "data: rows.csv\ntext: body\nlabel: verdict\n")
    task = read(task=file).task
    assert (task.name, task.label_names) == ("my-task", ("0", "1"))


def test_a_list_of_labels_names_the_numbers_or_is_what_is_written(tmp_path: Path) -> None:
    file = task_file(tmp_path, FILE.replace("{1: good, 0: bad}", "[bad, good]"))
    task = read(task=file).task
    assert (task.label_names, task.label_values) == (("bad", "good"), ("0", "1"))
    data = labelled(tmp_path / "words.csv", ["good", "bad"], header="body,verdict")
    task = read(task=file, data=data).task
    assert (task.label_names, task.label_values) == (("bad", "good"), ())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "title:",
            "titel:",
            "my-task.yaml:2: titel: is no key of a task file; did you mean 'title'",
        ),
        ("reviews", "rte", "my-task.yaml:1: rte is a task built in; choose another name"),
        ("reviews", "[a]", "my-task.yaml:1: name: must be text"),
        (
            "{1: good, 0: bad}",
            "{1: good, 0: good}",
            "my-task.yaml:6: labels: must name two classes",
        ),
        ("{1: good, 0: bad}", "[good]", "my-task.yaml:6: labels: must name two classes or more"),
        ("{1: good, 0: bad}", "{1: good, 2: bad}", "the label '0' is none of 1, 2, which the task"),
        ("[accuracy, macro_f1]", "[acuracy]", "my-task.yaml:7: metrics: there is no 'acuracy'"),
        ("[accuracy, macro_f1]", "[[a]]", "my-task.yaml:7: metrics: there is no ['a']; choose fr"),
        ("[accuracy, macro_f1]", "[accuracy, rmse]", "belong to classes and to regressions"),
        ("objective: macro_f1", "objective: rmse", "the labels of reviews are numbers, which acc"),
        ("body", "[a, b, c]", "my-task.yaml:4: text: ['a', 'b', 'c'] cannot be used"),
        (
            "data: {train: rows.csv, validation: dev.csv}",
            "data: [a.csv, b.csv]",
            "yaml:3: --data a",
        ),
        ("objective: macro_f1", "split: {dev: train}", "yaml:8: --split dev: must be SPLIT=ROWS"),
        ("rows.csv", "none.csv", "none.csv: there is no such file"),
        (FILE, "", "my-task.yaml: must map keys to values"),
    ],
)
def test_a_task_file_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    message = refused(task=task_file(tmp_path, FILE.replace(old, new)))
    assert says in message


def test_a_task_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "none.yaml: cannot be read" in refused(task=str(tmp_path / "none.yaml"))


def test_without_a_task_and_data_the_way_out_is_said() -> None:
    assert "pass --task" in refused()
    assert "or name a task file (.yaml)" in refused(task="reviews")


# --- tasks built in, on data of one's own ---------------------------------------------------------


def test_a_task_built_in_reads_other_files_by_its_columns(tmp_path: Path) -> None:
    rows = [f"p {n},h {n},{'entailment' if n % 2 else 'not_entailment'}" for n in range(40)]
    data = csv(tmp_path / "a.csv", "sentence1,sentence2,label", *rows)
    reading = read(task="rte", data=data)
    assert reading.task.label_names == ("entailment", "not_entailment")
    assert [reading.splits[split].num_rows for split in ("train", "validation")] == [32, 4]
    other = csv(tmp_path / "b.csv", "premise,claim,gold", *rows)
    reading = read(task="rte", data=other, text=["premise", "claim"], label="gold")
    assert reading.task.text_columns == ("premise", "claim")
    assert "the task rte has 2 columns of text" in refused(task="rte", data=other, text="premise")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Movie_Data v2.csv.gz", "movie-data-v2"),
        ("yelp/train.csv", "yelp"),
        ("rte.csv", "my-rte"),
        ("s3://bucket/tweets/data.jsonl", "tweets"),
        ("user/some_set:config", "some-set-config"),
    ],
)
def test_a_task_without_a_name_is_called_as_its_data(
    tmp_path: Path, file: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yelp").mkdir()
    for local in ("Movie_Data v2.csv.gz", "yelp/train.csv", "rte.csv"):
        (tmp_path / local).touch()
    data = [f"train={file}", "validation=x.csv"] if file.startswith("s3") else file
    assert draft(Settings(data=data))[1].name == name


def test_the_glue_data_set_is_the_task_of_its_configuration() -> None:
    _, found = draft(Settings(data="nyu-mll/glue:stsb"))
    assert found.task is not None
    assert found.task.name == "stsb"
    assert found.notes == ("nyu-mll/glue:stsb is the task stsb",)


def test_a_folder_of_glues_own_is_its_task(tmp_path: Path) -> None:
    (tmp_path / "CoLA").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "CoLA" / name).write_text("x\t1\t\tIt rains.\ny\t0\t*\tRains it.\n")
    for data in (tmp_path / "CoLA", f"{tmp_path}:CoLA"):
        reading = read(data=data)
        assert reading.task.name == "cola"
        assert reading.splits["train"]["label"].to_pylist() == [1, 0]
        assert reading.notes == (f"{data} is the task cola",)


@pytest.mark.parametrize(
    "split",
    [
        {"train": "validation", "validation": "train"},
        {"train": "train[0.8]", "validation": "train[0.2]", "test": "validation"},
        {"train": "train[2:]", "validation": "train[:2]"},
    ],
)
def test_an_exported_task_reads_the_rows_that_its_run_had(
    tmp_path: Path, split: dict[str, str]
) -> None:
    for name, count in (("train", 20), ("dev", 8), ("test", 4)):
        rows = [
            f"{row}\t{name} {row}\tb\t{('entailment', 'not_entailment')[row % 2]}"
            for row in range(count)
        ]
        csv(tmp_path / f"RTE/{name}.tsv", "index\tsentence1\tsentence2\tlabel", *rows)
    ran = read(task="rte", data=str(tmp_path), split=split, splits=ALL)
    task = Task.read(ran.task.plain())
    for name in ALL:
        assert read_split(task, name, str(tmp_path)).equals(ran.splits[name])


def test_rows_are_not_drawn_from_other_data_than_a_run_had(tmp_path: Path) -> None:
    data = labelled(tmp_path / "a.csv", ["x", "y"])
    task = Task.read(read(data=data).task.plain())
    assert read_split(task, "test", data).num_rows == 2
    lines = Path(data).read_text().splitlines()
    fewer = csv(tmp_path / "fewer.csv", lines[0], *lines[1:5], *lines[6:])
    bare = csv(tmp_path / "bare.csv", "text", *(line.split(",")[0] for line in lines[1:]))
    turned = csv(tmp_path / "turned.csv", lines[0], *reversed(lines[1:]))
    for file, reason in (
        (fewer, "19 rows, not 20"),
        (turned, "other texts or labels"),
        (bare, "lacks the column label"),
    ):
        with pytest.raises(UserError, match=f"{reason}.*--data test=FILE") as caught:
            read_split(task, "test", file)
        assert "\n" not in str(caught.value)
        assert read_split(task, "test", {"test": file}).num_rows == len(
            Path(file).read_text().splitlines()[1:]
        )
    others = {"train": fewer, "test": turned}
    assert read_split(task, "test", others).num_rows == 20
    with pytest.raises(UserError, match=r"validation=train\[0\.1\]"):
        read_split(task, "validation", others)


def test_a_run_that_began_without_marks_needs_the_labels_that_its_draw_went_by(
    tmp_path: Path,
) -> None:
    task = dataclasses.replace(read(data=labelled(tmp_path / "a.csv", [0, 1])).task, drawn_from=())
    rows = [f"text {row}" for row in range(20)]
    with pytest.raises(UserError, match=r"lacks the column label, by which test=train\[0\.1\]"):
        read_split(task, "test", csv(tmp_path / "bare.csv", "text", *rows))
