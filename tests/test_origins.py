"""What `--data` may name: files in every form, folders of every kind, a store."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.buckets import Buckets
from tuner.addresses import parse_data
from tuner.drafts import draft
from tuner.errors import UserError
from tuner.origins import dataset_of, open_source
from tuner.reading import read_task
from tuner.settings import Settings
from tuner.sources import read_split
from tuner.tasks import find_task

SST2 = find_task("sst2")


def rows(count: int, what: str = "row") -> list[tuple[str, str]]:
    return [(f'{what} "{n}", said', "yes" if n % 2 else "no") for n in range(count)]


def write(path: Path, given: list[tuple[str, str]]) -> Path:
    """Rows of `text` and `label` in the form that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(
            pa.table(dict(zip(("text", "label"), zip(*given, strict=True), strict=True))), path
        )
        return path
    if name.endswith(".csv"):
        lines = ['"{}",{}'.format(t.replace('"', '""'), label) for t, label in given]
        text = "\n".join(["text,label", *lines]) + "\n"
    elif name.endswith(".tsv"):
        text = "\n".join(["text\tlabel", *("\t".join(row) for row in given)]) + "\n"
    else:
        text = "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in given)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


def read(data: str | list[str], **given: object) -> dict[str, list[tuple[str, int]]]:
    """The text and the label of every row of the splits."""
    settings, found = draft(Settings(data=data, **given))  # type: ignore[arg-type]
    tables = read_task(found, settings, lambda _: None).splits
    return {
        split: list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))
        for split, table in tables.items()
    }


def refused(data: str | list[str], **given: object) -> str:
    with pytest.raises(UserError) as caught:
        read(data, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def coded(given: list[tuple[str, str]]) -> list[tuple[str, int]]:
    return [(text, int(label == "yes")) for text, label in given]


TRAIN, DEV = rows(20), rows(6, "dev")
BOTH = {"train": coded(TRAIN), "validation": coded(DEV)}
FORMS = ("csv", "tsv", "jsonl", "csv.gz", "tsv.gz", "jsonl.gz", "parquet")


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_file_for_every_split_may_have_any_form(tmp_path: Path, form: str) -> None:
    train, dev = write(tmp_path / f"a.{form}", TRAIN), write(tmp_path / "b.csv", DEV)
    assert read([f"train={train}", f"dev={dev}"]) == BOTH


@pytest.mark.parametrize("form", FORMS)
def test_one_file_may_hold_all_rows(tmp_path: Path, form: str) -> None:
    file = write(tmp_path / f"a.{form}", TRAIN + DEV)
    found = read(str(file), split=["train=0:20", "validation=20:26"])
    assert found == BOTH


def test_a_tsv_that_looks_quoted_is_read_as_it_stands_and_said(tmp_path: Path) -> None:
    quoted = [('"He said ""no"", twice"', "no"), ('"fine"', "yes")] * 10
    file = write(tmp_path / "a.tsv", quoted)
    settings, found = draft(Settings(data=str(file)))
    reading = read_task(found, settings, lambda _: None)
    assert reading.splits["train"]["text"][0].as_py() == '"He said ""no"", twice"'
    assert any("rename the file to .csv to have" in note for note in reading.notes)
    file.rename(tmp_path / "a.csv")
    first = read(str(tmp_path / "a.csv"))["train"][0]
    assert first == ('He said "no", twice', 0)
    plain = write(tmp_path / "b.tsv", [('"no" he said', "no"), ("fine", "yes")] * 10)
    settings, found = draft(Settings(data=str(plain)))
    assert not any("quoted" in note for note in read_task(found, settings, lambda _: None).notes)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("none.csv", "none.csv: there is no such folder or file"),
        ("./none", "./none: there is no such folder or file"),
        (["train=none.csv", "validation=a.csv"], "none.csv: there is no such file"),
        (["train=a.csv", "validation=."], ".: is a folder; --data validation= names a file"),
        (["a.csv", "b.csv"], "--data a.csv: of several files each needs the name of its split"),
        (["train=a.csv", "b.csv"], "--data b.csv: of several files each needs"),
        (["train=a.csv", "train=b.csv"], "--data train= is given twice"),
        ("a.txt", "a.txt: the suffix '.txt' names no form; use .tsv, .csv, .jsonl, .parquet"),
        ("a.parquet", "a.parquet: cannot be read as Parquet"),
        ("empty.csv", "empty.csv:1: is blank"),
        ("header.csv", "header.csv: has no rows"),
        ("ragged.csv", "ragged.csv:3: the line has 1 columns, but must have 2 (text, label)"),
        ("half.jsonl", "half.jsonl:2: text holds half a character"),
        ("s3://bucket?x=1/a.csv", "'?' and '#' have no place"),
        ("ftp://bucket/a.csv", "ftp:// is not known"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, data: str | list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", TRAIN)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.parquet").write_text("x")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "ragged.csv").write_text("text,label\na,1\nb\n")
    half = '{"text": "a", "label": 1}\n{"text": "\\ud800", "label": 0}\n'
    (tmp_path / "half.jsonl").write_text(half)
    assert says in refused(data)


def test_columns_of_files_that_differ_are_an_error_of_the_one_that_lacks_them(
    tmp_path: Path,
) -> None:
    train = write(tmp_path / "a.csv", TRAIN)
    (tmp_path / "b.csv").write_text("sentence,label\nx,no\n")
    message = refused([f"train={train}", f"validation={tmp_path / 'b.csv'}"])
    assert message == f"{tmp_path / 'b.csv'}: lacks the columns text; it has sentence, label"


# --- folders -------------------------------------------------------------------------------------


def test_files_in_a_folder_go_by_the_splits_in_their_names(tmp_path: Path) -> None:
    write(tmp_path / "reviews_train.csv", TRAIN)
    write(tmp_path / "reviews_dev.csv", DEV)
    (tmp_path / "LICENSE").write_text("free")
    assert read(str(tmp_path)) == BOTH


def test_shards_of_a_hub_repository_follow_one_another(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00002.parquet", TRAIN[:8])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", TRAIN[8:])
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", DEV)
    (tmp_path / "README.md").write_text("# A data set without front matter\n")
    assert read(str(tmp_path)) == BOTH


def hub_copy(folder: Path, configs: bool) -> Path:
    """A repository of two configurations, which README.md declares or the folders' names show."""
    for config, first in (("plain", TRAIN), ("other", rows(4, "other"))):
        write(folder / config / "train-00000-of-00001.parquet", first)
        write(folder / config / "validation-00000-of-00001.parquet", DEV)
    if configs:
        said = "".join(
            f"- config_name: {config}\n  data_files:\n"
            f"  - split: train\n    path: {config}/train-*\n"
            f"  - split: validation\n    path: {config}/validation-*\n"
            for config in ("plain", "other")
        )
        (folder / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{said}---\n# Set\n")
    return folder


@pytest.mark.parametrize("configs", [True, False])
def test_one_of_several_configurations_is_named_behind_a_colon(
    tmp_path: Path, configs: bool
) -> None:
    folder = hub_copy(tmp_path / "set", configs)
    assert read(f"{folder}:plain") == BOTH
    assert read(f"{folder}:other")["train"] == coded(rows(4, "other"))
    if not configs:
        assert read(str(folder / "plain")) == BOTH
    message = refused(str(folder))
    assert "holds several configurations" in message
    assert f"name one: --data {folder}:" in message
    assert "has no configuration 'plane'" in refused(f"{folder}:plane")
    assert "did you mean 'plain'?" in refused(f"{folder}:plane")
    resolved = Settings(data=f"{folder}:plain").resolved()
    assert resolved.data == f"{folder}:plain"


def test_the_class_names_of_a_repositorys_card_are_used(tmp_path: Path) -> None:
    table = pa.table({"text": [f"t {n}" for n in range(20)], "label": [0, 1] * 10})
    pq.write_table(table, tmp_path / "train.parquet")
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n"
        "        names:\n          '0': bad\n          '1': good\n---\n"
    )
    settings, found = draft(Settings(data=str(tmp_path)))
    assert read_task(found, settings, lambda _: None).task.label_names == ("bad", "good")


@pytest.mark.parametrize(
    "form",
    [
        "{train: train.csv, validation: [dev.csv]}",
        "[{split: train, path: [train.csv]}, {split: validation, path: dev.csv}]",
    ],
)
def test_a_card_names_the_files_of_each_split(tmp_path: Path, form: str) -> None:
    write(tmp_path / "train.csv", TRAIN)
    write(tmp_path / "dev.csv", DEV)
    card = f"---\nconfigs:\n- config_name: a\n  data_files: {form}\n---\n"
    (tmp_path / "README.md").write_text(card)
    assert read(str(tmp_path)) == BOTH


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("3", "3 names no files for train"),
        ("[]", "[] names no files for train"),
        ("[{split: dev}]", "None names no files for dev"),
        ("[{path: train.csv}, 3]", "3 names no files for train"),
        ("{train: {a: b}}", "{'a': 'b'} names no files for train"),
        ("{train: [3]}", "[3] names no files for train"),
    ],
)
def test_a_card_that_names_no_files_is_refused(tmp_path: Path, form: str, says: str) -> None:
    write(tmp_path / "train.csv", TRAIN)
    card = f"---\nconfigs:\n- config_name: a\n  data_files: {form}\n---\n"
    (tmp_path / "README.md").write_text(card)
    assert f"README.md: data_files: {says}; write a path" in refused(str(tmp_path))


def test_a_declared_file_that_was_not_copied_is_named(tmp_path: Path) -> None:
    folder = hub_copy(tmp_path / "set", configs=True)
    (folder / "plain" / "train-00000-of-00001.parquet").unlink()
    assert "README.md names plain/train-* for train" in refused(f"{folder}:plain")


@pytest.mark.parametrize("whole", [True, False], ids=["DatasetDict", "Dataset"])
def test_what_save_to_disk_wrote_is_read_with_its_class_names(tmp_path: Path, whole: bool) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    made = {
        split: datasets.Dataset.from_dict(
            {"text": [t for t, _ in given], "label": [label for _, label in given]},
            features=features,
        )
        for split, given in (("train", TRAIN), ("validation", DEV))
    }
    folder = tmp_path / "saved"
    if whole:
        datasets.DatasetDict(made).save_to_disk(folder, num_shards={"train": 2, "validation": 1})
        assert read(str(folder)) == BOTH
    else:
        datasets.concatenate_datasets(list(made.values())).save_to_disk(folder)
        assert read(str(folder), split=["train=0:20", "validation=20:26"]) == BOTH


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"x.txt": "a"}, "holds no files of rows"),
        (
            {"a.csv": "text,label\n", "b.csv": "text,label\n"},
            "not called after splits (a.csv, b.cs",
        ),
        ({"dataset_dict.json": "{"}, "cannot be read; save the data set again"),
        (
            {"dataset_dict.json": '{"splits": ["train"]}', "train/state.json": "{}"},
            "names no files",
        ),
        (
            {"dataset_dict.json": '{"splits": ["train"]}'}
            | {"train/state.json": '{"_data_files": [{"filename": "../../x"}]}'},
            "names no files",
        ),
        ({"dataset_dict.json": '{"splits": ["../../x"]}'}, "are no names of folders beside it; sa"),
        ({"dataset_dict.json": '{"splits": ["..", "a"]}'}, "dataset_dict.json: splits: ['..', 'a'"),
    ],
)
def test_a_folder_without_rows_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert says in refused(str(tmp_path))


def test_a_copy_of_the_hubs_glue_serves_the_tasks_built_in(tmp_path: Path) -> None:
    for split, labels in (("train", [1, 0]), ("validation", [0, 1]), ("test", [-1, -1])):
        columns = {"sentence": [f"{split} a", f"{split} b"], "label": labels, "idx": [4, 5]}
        path = tmp_path / "sst2" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), path)
    (tmp_path / "cola").mkdir()
    (tmp_path / "cola" / "train-00000-of-00001.parquet").touch()
    for data in (tmp_path, tmp_path / "sst2"):
        assert read_split(SST2, "train", str(data)).to_pydict() == {
            "sentence": ["train a", "train b"],
            "label": [1, 0],
            "index": [4, 5],
        }
        assert read_split(SST2, "test", str(data))["label"].to_pylist() == [None, None]


def test_the_hub_is_asked_only_for_what_lies_nowhere_here(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", TRAIN)
    assert dataset_of(str(file), None) is None
    assert dataset_of(str(tmp_path), SST2) is None
    assert dataset_of({"train": "x.csv"}, SST2) is None
    assert dataset_of("user/name:config", None) == "user/name"
    assert dataset_of(None, SST2) == "nyu-mll/glue"
    assert dataset_of("none.csv", None) is None


def test_a_data_set_of_the_hub_that_cannot_be_had_is_an_error_in_one_line() -> None:
    with pytest.raises(UserError, match=r"cannot load nobody/nothing \(x\): .*") as caught:
        open_source("nobody/nothing:x")
    assert "\n" not in str(caught.value)


def test_what_data_name_is_kept_as_it_is_given() -> None:
    assert parse_data(["train=a.csv", "dev=b.csv"]) == {"train": "a.csv", "validation": "b.csv"}
    assert parse_data(["dir"]) == "dir"
    assert parse_data(["odd=name.csv"]) == "odd=name.csv"
    assert parse_data(Path("dir")) == "dir"
    assert parse_data({"train": Path("a.csv")}) == {"train": "a.csv"}
    for wrong in ({"exam": "a.csv"}, {"train": 3}, {}, [], [3], {"dev": "a", "val": "b"}):
        with pytest.raises(UserError, match=r"data: "):
            parse_data(wrong)


# --- a store -------------------------------------------------------------------------------------


def test_files_and_folders_may_lie_in_a_store(service: Buckets, tmp_path: Path) -> None:
    from tuner.stores import open_store

    bucket = service.make()
    write(tmp_path / "set" / "train.csv.gz", TRAIN)
    write(tmp_path / "set" / "dev.parquet", DEV)
    open_store(bucket).send(tmp_path / "set", "deep/set")
    assert read(f"{bucket}/deep/set") == BOTH
    assert (
        read([f"train={bucket}/deep/set/train.csv.gz", f"dev={bucket}/deep/set/dev.parquet"])
        == BOTH
    )
    assert "none.csv: there is no such folder or file" in refused(f"{bucket}/deep/none.csv")
    message = refused("s3://no-such-bucket-here/x.csv")
    assert "check the URI, the credentials" in message or "there is no such folder" in message


def test_a_files_uri_may_name_this_disk(tmp_path: Path) -> None:
    write(tmp_path / "a b.csv", TRAIN + DEV)
    data = f"file://{tmp_path}/a%20b.csv"
    assert read(data, split=["train=0:20", "validation=20:26"]) == BOTH
