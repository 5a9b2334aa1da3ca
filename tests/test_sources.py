"""Rows from GLUE's files, from the Hub's library and from the grammar, all in one form."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pyarrow as pa
import pytest

from tuner.custom import complete
from tuner.demo import demo_rows
from tuner.drafts import Draft
from tuner.errors import UserError
from tuner.origins import open_source
from tuner.settings import Settings
from tuner.sources import Split, read_split
from tuner.tasks import find_task


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_quotation_mark_is_a_character(tmp_path: Path) -> None:
    write(
        tmp_path,
        "RTE/train.tsv",
        'index\tsentence1\tsentence2\tlabel\n0\t"a\tb" c"\tentailment\n7\tx\t""\tnot_entailment\n',
    )
    rows = read_split(find_task("rte"), "train", str(tmp_path))
    assert rows.to_pydict() == {
        "sentence1": ['"a', "x"],
        "sentence2": ['b" c"', '""'],
        "label": [0, 1],
        "index": [0, 7],
    }
    assert rows.schema.field("label").type == pa.int64()


def test_columns_are_found_by_name_and_others_ignored(tmp_path: Path) -> None:
    write(
        tmp_path,
        "MRPC/dev.tsv",
        "\ufeffQuality\t#1 ID\t#2 String\t#1 String\tmore\n1\t11\tsecond\tfirst\tx\n",
    )
    rows = read_split(find_task("mrpc"), "validation", str(tmp_path))
    assert rows.to_pydict() == {"sentence1": ["first"], "sentence2": ["second"], "label": [1]}


def test_colas_files_begin_with_their_first_row_but_for_the_test_file(tmp_path: Path) -> None:
    write(tmp_path, "CoLA/train.tsv", "gj04\t1\t\tIt rains.\ngj04\t0\t*\tRains it the.")
    write(tmp_path, "CoLA/test.tsv", "index\tsentence\n0\tIt snows.\n")
    task = find_task("cola")
    assert read_split(task, "train", str(tmp_path)).to_pydict() == {
        "sentence": ["It rains.", "Rains it the."],
        "label": [1, 0],
    }
    test = read_split(task, "test", str(tmp_path))
    assert test.to_pydict() == {"sentence": ["It snows."], "label": [None], "index": [0]}


def test_cola_may_also_have_a_header(tmp_path: Path) -> None:
    write(tmp_path, "CoLA/train.tsv", "sentence\tlabel\nIt rains.\t1\n")
    rows = read_split(find_task("cola"), "train", str(tmp_path))
    assert rows.to_pydict() == {"sentence": ["It rains."], "label": [1]}


ONE_ROW = {
    # The file, its header and a row as GLUE's own files have them, the texts and the label.
    "cola": ("CoLA/train.tsv", None, "gj04\t1\t\tIt rains.", ("It rains.",), 1),
    "mnli": (
        "MNLI/dev_matched.tsv",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t63735\t63735n\tslate\t( a )\t( b )\t(A)\t(B)\tA.\tB.\tneutral\tneutral",
        ("A.", "B."),
        1,
    ),
    "mnli-mm": (
        "MNLI/dev_mismatched.tsv",
        "index\tgenre\tsentence1\tsentence2\tgold_label",
        "0\tletters\tA.\tB.\tcontradiction",
        ("A.", "B."),
        2,
    ),
    "mrpc": (
        "MRPC/dev.tsv",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '1\t702876\t702977\tAmrozi accused "the witness" .\tReferring to him .',
        ('Amrozi accused "the witness" .', "Referring to him ."),
        1,
    ),
    "qnli": (
        "QNLI/dev.tsv",
        "index\tquestion\tsentence\tlabel",
        "0\tWho?\tHe.\tnot_entailment",
        ("Who?", "He."),
        1,
    ),
    "qqp": (
        "QQP/dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "133273\t213221\t213222\tHow?\tWhy?\t0",
        ("How?", "Why?"),
        0,
    ),
    "rte": (
        "RTE/dev.tsv",
        "index\tsentence1\tsentence2\tlabel",
        "0\tA.\tB.\tentailment",
        ("A.", "B."),
        0,
    ),
    "sst2": ("SST-2/dev.tsv", "sentence\tlabel", "a fine film \t1", ("a fine film ",), 1),
    "stsb": (
        "STS-B/dev.tsv",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain-captions\tMSRvid\t2012test\t0000\tnone\tnone\tA man.\tA boy.\t5.000",
        ("A man.", "A boy."),
        5.0,
    ),
    "wnli": (
        "WNLI/dev.tsv",
        "index\tsentence1\tsentence2\tlabel",
        "0\tA.\tB.\t1",
        ("A.", "B."),
        1,
    ),
}


@pytest.mark.parametrize("name", ONE_ROW)
def test_every_format_of_glue_is_read(tmp_path: Path, name: str) -> None:
    task, (file, header, row, texts, label) = find_task(name), ONE_ROW[name]
    write(tmp_path, file, "\n".join([*([header] if header else []), row]) + "\n")
    split: Split = "train" if file.endswith("train.tsv") else "validation"
    table = read_split(task, split, str(tmp_path))
    assert tuple(table[column][0].as_py() for column in task.text_columns) == texts
    assert table["label"].to_pylist() == [label]


def test_a_folder_may_be_the_tasks_own(tmp_path: Path) -> None:
    write(tmp_path, "train.tsv", "sentence\tlabel\nfine\t1\n")
    assert read_split(find_task("sst2"), "train", str(tmp_path)).num_rows == 1


def test_scores_are_numbers(tmp_path: Path) -> None:
    write(tmp_path, "STS-B/dev.tsv", "index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.800\n")
    rows = read_split(find_task("stsb"), "validation", str(tmp_path))
    assert rows["label"].to_pylist() == [3.8]
    assert rows.schema.field("label").type == pa.float64()


def test_the_mismatched_form_of_mnli_shares_the_training_file(tmp_path: Path) -> None:
    header = "index\tsentence1\tsentence2\tlabel1\tgold_label\n"
    write(tmp_path, "MNLI/train.tsv", header + "0\tp\th\tneutral\tcontradiction\n")
    write(tmp_path, "MNLI/dev_matched.tsv", header + "0\tm\th\tneutral\tneutral\n")
    write(tmp_path, "MNLI/dev_mismatched.tsv", header + "0\tmm\th\tneutral\tentailment\n")
    matched, mismatched = find_task("mnli"), find_task("mnli-mm")
    for task in (matched, mismatched):
        assert read_split(task, "train", str(tmp_path))["label"].to_pylist() == [2]
    for task, premise in ((matched, "m"), (mismatched, "mm")):
        rows = read_split(task, "validation", str(tmp_path))
        assert rows["premise"].to_pylist() == [premise]


def test_line_ends_of_other_systems_and_odd_characters_in_texts_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "SST-2/train.tsv", "sentence\tlabel\r\na\x0bb\u2028c\x85d\t1\r\n\r\n")
    rows = read_split(find_task("sst2"), "train", str(tmp_path))
    assert rows.to_pydict() == {"sentence": ["a\x0bb\u2028c\x85d"], "label": [1]}


def test_a_test_files_placeholders_are_no_labels(tmp_path: Path) -> None:
    write(tmp_path, "SST-2/test.tsv", "index\tsentence\tlabel\n3\ta\t-1\n4\tb\t1\n")
    rows = read_split(find_task("sst2"), "test", str(tmp_path))
    assert rows["label"].to_pylist() == [None, 1]
    assert rows["index"].to_pylist() == [3, 4]


SST2 = "sentence\tlabel\n"


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (SST2 + "good\t1\nbad\n", 3, "the line has 1 columns, but must have 2 (sentence, label)"),
        (SST2 + "good\t1\n\nbad\t0\n", 3, "the line has 1 columns"),
        (SST2 + "good\t1\t1\n", 2, "the line has 3 columns"),
        (SST2 + "good\t1\nbad\t2\n", 3, "the label '2' is none of 0, 1"),
        (SST2 + "good\t1\nbad\tnegatif\n", 3, "did you mean 'negative'?"),
        (SST2 + "good\t\n", 2, "the label '' is none of"),
        ("text\tlabel\ngood\t1\n", 1, "the header lacks the columns sentence; it names text"),
        ("", 1, "the header lacks the columns sentence, label"),
        ("index\t" + SST2 + "0\tgood\t1\nx\tbad\t0\n", 3, "index is 'x', but must be a whole"),
        (SST2.encode() + b"good\t1\ncaf\xe9\t1\n", 3, "not UTF-8"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(
    tmp_path: Path, content: str | bytes, line: int, says: str
) -> None:
    path = write(tmp_path, "SST-2/train.tsv", content)
    with pytest.raises(UserError, match=re.escape(f"{path}:{line}: ")) as caught:
        read_split(find_task("sst2"), "train", str(tmp_path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", ["high", "nan", "inf", ""])
def test_a_score_that_is_no_number_is_named_by_file_and_line(tmp_path: Path, score: str) -> None:
    path = write(tmp_path, "STS-B/train.tsv", f"sentence1\tsentence2\tscore\na\tb\t{score}\n")
    with pytest.raises(UserError, match=re.escape(f"{path}:2: the label {score!r} must be")):
        read_split(find_task("stsb"), "train", str(tmp_path))


def test_a_label_name_is_read_where_files_write_digits(tmp_path: Path) -> None:
    write(tmp_path, "SST-2/train.tsv", SST2 + "good\tpositive\nbad\tnegative\n")
    rows = read_split(find_task("sst2"), "train", str(tmp_path))
    assert rows["label"].to_pylist() == [1, 0]


def test_what_is_missing_is_named_by_its_path(tmp_path: Path) -> None:
    task = find_task("rte")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'none'}: there is no such folder")):
        read_split(task, "train", str(tmp_path / "none"))
    expected = re.escape(f"{tmp_path / 'RTE' / 'dev.tsv'}: there is no such file")
    with pytest.raises(UserError, match=expected):
        read_split(task, "validation", str(tmp_path))
    (tmp_path / "RTE").mkdir()
    write(tmp_path, "dev.tsv", "of another task")
    with pytest.raises(UserError, match=expected):
        read_split(task, "validation", str(tmp_path))


def test_the_demo_has_its_own_rows_and_reads_no_files(tmp_path: Path) -> None:
    task = find_task("demo")
    rows = read_split(task, "test", None)
    assert rows.select(["sentence1", "sentence2", "label"]).to_pylist()[0] == dict(
        zip(("sentence1", "sentence2", "label"), demo_rows("test")[0], strict=True)
    )
    assert rows["index"].to_pylist() == list(range(400))
    with pytest.raises(UserError, match="the task demo has no files"):
        read_split(task, "test", str(tmp_path))


REAL = {
    ("cola", "train"): 8551,
    ("cola", "validation"): 1043,
    ("cola", "test"): 1063,
    ("rte", "train"): 2490,
    ("rte", "validation"): 277,
    ("rte", "test"): 3000,
    ("mrpc", "train"): 3668,
    ("mrpc", "validation"): 408,
    ("mrpc", "test"): 1725,
    ("stsb", "train"): 5749,
    ("stsb", "validation"): 1500,
    ("stsb", "test"): 1379,
    ("wnli", "train"): 635,
    ("wnli", "validation"): 71,
    ("wnli", "test"): 146,
    ("qnli", "validation"): 5463,
    ("mnli", "validation"): 9815,
}


@pytest.mark.parametrize(("name", "split"), REAL)
def test_the_files_of_glue_are_read_whole(glue: Path, name: str, split: Split) -> None:
    task = find_task(name)
    rows = read_split(task, split, str(glue))
    assert rows.num_rows == REAL[name, split]
    assert all(rows[column].null_count == 0 for column in task.text_columns)
    assert rows["label"].null_count == (rows.num_rows if split == "test" else 0)
    if split == "test":
        assert rows["index"].to_pylist() == list(range(rows.num_rows))
    elif not task.regression:
        assert set(rows["label"].to_pylist()) == set(range(task.num_labels))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data set that the Hub's library loads from a folder, with a cache of its own."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {
            "idx": datasets.Value("int32"),
            "label": datasets.ClassLabel(names=["negative", "positive"]),
            "sentence": datasets.Value("string"),
        }
    )
    folder = tmp_path / "set"
    for split, labels in {"train": [1, 0], "validation": [0, 1], "test": [-1, -1]}.items():
        columns = {"idx": [4, 5], "label": labels, "sentence": [f"{split} a", f"{split} b"]}
        rows = datasets.Dataset.from_dict(columns, features=features)
        rows.to_parquet(folder / "sst2" / f"{split}.parquet")
    files = [{"split": s, "path": f"sst2/{s}.parquet"} for s in ("train", "validation", "test")]
    lines = "".join(f"  - split: {f['split']}\n    path: {f['path']}\n" for f in files)
    write(folder, "README.md", f"---\nconfigs:\n- config_name: sst2\n  data_files:\n{lines}---\n")
    return folder


def test_the_hubs_rows_come_in_the_same_form(library: Path) -> None:
    task = dataclasses.replace(find_task("sst2"), hub=(str(library), "sst2"))
    assert read_split(task, "train", None).to_pydict() == {
        "sentence": ["train a", "train b"],
        "label": [1, 0],
        "index": [4, 5],
    }
    assert read_split(task, "test", None)["label"].to_pylist() == [None, None]


def test_classes_of_a_data_set_go_by_their_names_not_their_numbers(library: Path) -> None:
    task = dataclasses.replace(find_task("sst2"), hub=(str(library), "sst2"))
    task = dataclasses.replace(task, label_names=("positive", "negative"), glue=None)
    assert read_split(task, "train", None)["label"].to_pylist() == [0, 1]


def test_any_data_set_of_the_library_can_be_a_task(library: Path) -> None:
    own = dataclasses.replace(find_task("sst2"), name="own", hub=(str(library), "sst2"), glue=None)
    source = open_source(None, own)
    assert source.parts == ("train", "validation", "test")
    task = complete(Draft("set"), Settings(), source).task
    assert (task.text_columns, task.label_names) == (("sentence",), ("negative", "positive"))
    assert task.hub == (str(library), "sst2")
    assert read_split(task, "validation", None).to_pydict() == {
        "sentence": ["validation a", "validation b"],
        "label": [0, 1],
        "index": [4, 5],
    }


def test_a_data_set_that_does_not_fit_the_task_is_refused(library: Path) -> None:
    task = dataclasses.replace(find_task("sst2"), hub=(str(library), "sst2"))
    with pytest.raises(UserError, match="names its labels negative, positive, but the task sst2"):
        read_split(dataclasses.replace(task, label_names=("bad", "good")), "train", None)
    with pytest.raises(UserError, match="lacks the columns text"):
        read_split(dataclasses.replace(task, text_columns=("text",), glue=None), "train", None)
    lacking = dataclasses.replace(find_task("mnli"), hub=(str(library), "sst2"))
    with pytest.raises(UserError, match=r"cannot load .*\(sst2, validation_matched\).*--data DIR"):
        read_split(lacking, "validation", None)


def test_a_data_set_that_cannot_be_had_offline_is_an_error_in_one_line() -> None:
    task = dataclasses.replace(find_task("sst2"), hub=("nobody/nothing", "sst2"))
    with pytest.raises(UserError, match=r"cannot load nobody/nothing.*pass --data DIR") as caught:
        read_split(task, "train", None)
    assert "\n" not in str(caught.value)
