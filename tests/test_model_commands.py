"""Commands on an exported model: predictions, evaluations and GLUE's zip, from files."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from tests.exported import export_tiny
from tests.glue_files import write_mnli, write_rte, write_test_file
from tuner.cli import run_guarded
from tuner.demo import demo_rows
from tuner.inputs import without_texts
from tuner.runs import create_run
from tuner.settings import Settings, write_run_file
from tuner.submission import FILES, faults
from tuner.tasks import find_task


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with GLUE's files, models beside it, and a run of rte that exported one."""
    home = tmp_path_factory.mktemp("home")
    glue = write_rte(home / "glue")
    for task in ("cola", "stsb", "mnli", "mnli-mm", "ax"):
        write_test_file(glue, task)
    for task in ("cola", "stsb", "mnli"):
        export_tiny(home / task, task)
    run = create_run(home / "runs", "rte", "one")
    write_run_file(run, Settings(task="rte", data=str(glue)), {})
    export_tiny(run.best_folder, "rte", selected_on="validation")
    return home


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNER_STORAGE", str(home / "runs"))


def rows(count: int, labelled: bool = False) -> list[dict[str, str]]:
    names = ("not_entailment", "entailment")
    return [
        {"sentence1": one, "sentence2": two, **({"label": names[label]} if labelled else {})}
        for one, two, label in demo_rows("validation")[:count]
    ]


def write_lines(name: str, lines: list[object]) -> Path:
    path = Path(name)
    path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines))
    return path


def test_where_no_run_is_named_the_newest_with_a_model_is_taken_and_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = create_run("later", "rte", "searching")
    write_run_file(later, Settings(task="rte"), {})
    assert run_guarded(["export", "--storage", "later"]) == 2
    assert "no run in later has exported a model" in capsys.readouterr().err
    folder = home / "runs" / "searching"
    try:
        later.folder.rename(folder)
        assert run_guarded(["export"]) == 0
    finally:
        shutil.rmtree(folder)
    said = capsys.readouterr()
    assert said.out == f"model      {home / 'runs' / 'one' / 'best'}\n"
    assert said.err == f"the newest run with a model: {home / 'runs' / 'one'}\n"


def test_a_model_that_a_kill_left_under_a_hidden_name_is_found(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = home / "runs" / "one" / "best"
    for which in ("one", str(best)):
        best.rename(best.with_name(".best.old"))
        assert run_guarded(["export", which]) == 0
        assert str(best) in capsys.readouterr().out


# --- predict -------------------------------------------------------------------------------------


def test_a_broken_row_stops_a_prediction_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    source = write_lines("in.jsonl", [*rows(3), "{", *rows(1)])
    assert run_guarded(["predict", "one", "--input", str(source), "--output", "out.tsv"]) == 2
    assert "in.jsonl:4: is not JSON" in capsys.readouterr().err
    assert not Path("out.tsv").exists()


def test_with_skip_bad_broken_rows_are_named_counted_and_left_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = rows(2)
    source = write_lines("in.jsonl", [good[0], *["{"] * 12, {"sentence1": " "}, good[1]])
    arguments = ["predict", "one", "--input", str(source), "--output", "out.tsv", "--skip-bad"]
    assert run_guarded(arguments) == 0
    said = capsys.readouterr()
    shown = [line for line in said.err.splitlines() if line.startswith("skipped in.jsonl:")]
    assert [line.split(":")[1] for line in shown] == [str(number) for number in range(2, 12)]
    assert "skipped 3 more rows like these" in said.err
    assert "wrote 15 predictions, 13 of them empty, to out.tsv" in said.out
    lines = Path("out.tsv").read_text().splitlines()[1:]
    assert [number for number, line in enumerate(lines) if line != f"{number}\t"] == [0, 14]

    alone = write_lines("alone.jsonl", good)
    assert run_guarded(["predict", "one", "--input", str(alone), "--output", "alone.tsv"]) == 0
    answers = [line.split("\t")[1] for line in Path("alone.tsv").read_text().splitlines()[1:]]
    assert [lines[0].split("\t")[1], lines[14].split("\t")[1]] == answers


def test_a_split_is_read_from_the_runs_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(["predict", "one", "--split", "test", "--output", "out.parquet"]) == 0
    import pyarrow.parquet as pq

    table = pq.read_table("out.parquet")
    assert table["index"].to_pylist() == list(range(20))
    assert set(table["prediction"].to_pylist()) <= {"entailment", "not_entailment"}
    assert "rows/s" in capsys.readouterr().out


def test_a_split_that_is_a_file_is_skipped_through_like_one_that_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = rows(2)
    source = write_lines("test.jsonl", [good[0], "{", {"sentence1": " "}, good[1]])
    arguments = ["predict", "one", "--split", "test", "--data", f"test={source}"]
    assert run_guarded([*arguments, "--output", "out.tsv"]) == 2
    assert "test.jsonl:2: is not JSON" in capsys.readouterr().err
    assert run_guarded([*arguments, "--skip-bad", "--output", "out.tsv"]) == 0
    said = capsys.readouterr()
    assert [line[:22] for line in said.err.splitlines() if line.startswith("skipped")] == [
        "skipped test.jsonl:2: ",
        "skipped test.jsonl:3: ",
    ]
    lines = Path("out.tsv").read_text().splitlines()[1:]
    assert [number for number, line in enumerate(lines) if line == f"{number}\t"] == [1, 2]


def test_of_any_other_split_rows_without_texts_are_skipped(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", "one", "--split", "test", "--skip-bad", "--output", "out.tsv"]
    assert run_guarded(arguments) == 0
    assert "skipped" not in capsys.readouterr().err
    table = pa.table({"sentence1": ["a", " ", ""], "sentence2": ["", "b", " "]})
    told: list[str] = []
    found = without_texts(table, find_task("rte"), "test", told.append)
    assert told == ["row 2 of the test split: sentence1 and sentence2 is empty"]
    assert found["sentence1"].to_pylist() == ["a", " ", None]
    assert found["sentence2"].to_pylist() == ["", "b", None]


# --- evaluate ------------------------------------------------------------------------------------


def test_an_evaluation_tells_that_the_model_was_chosen_on_its_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_guarded(["evaluate"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("rte, 60 rows of the validation split\n")
    assert "note: the model's configuration was chosen on these rows" in shown
    assert "the 10 most confidently wrong rows:" in shown


def test_an_evaluation_of_more_rows_than_the_run_scored_tells_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "runs" / "one" / "best" / "metrics.json"
    before = file.read_text()
    said = "note: the run scored 20 of these 60 rows (--eval-rows)"
    try:
        for drawn, split, told in ((20, "validation", 1), (60, "validation", 0), (20, "train", 0)):
            file.write_text(json.dumps({**json.loads(before), "rows": drawn}))
            assert run_guarded(["evaluate", "one", "--split", split]) == 0
            assert capsys.readouterr().out.count(said) == told
    finally:
        file.write_text(before)


def test_labelled_rows_of_ones_own_are_evaluated_and_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_lines("in.jsonl", rows(30, labelled=True))
    arguments = ["evaluate", "one", "--input", str(source), "--worst", "3", "--output", "out.json"]
    assert run_guarded(arguments) == 0
    assert "rte, 30 rows of in.jsonl" in capsys.readouterr().out
    found = json.loads(Path("out.json").read_text())
    assert run_guarded(["evaluate", "one", "--format", "json", "--split", "validation"]) == 0
    split = json.loads(capsys.readouterr().out)
    assert found["rows"] == 30
    assert len(found["worst"]) <= 3
    assert found["notes"] == []
    assert split["rows"] == 60
    # Twice gives the same, intervals and all.
    assert run_guarded([*arguments[:-1], "again.json"]) == 0
    assert Path("again.json").read_bytes() == Path("out.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "test"], "the test split: 20 of 20 rows have no label"),
        (["--split", "tets"], "did you mean 'test'"),
        (["--split", "train", "--input", "in.jsonl"], "one of --split NAME and --input FILE"),
        (["--input", "in.jsonl", "--data", "glue"], "--data goes with --split"),
        (["--format", "xml"], "--format xml"),
        (["--output", "out.txt"], "use .json"),
        (["--input", "unlabelled.jsonl"], "unlabelled.jsonl: 2 of 2 rows have no label"),
        (
            ["--input", "partly.jsonl"],
            "partly.jsonl: 1 of 3 rows have no label (the first is row 2",
        ),
        (["--input", "wrong.jsonl"], "did you mean 'entailment'"),
    ],
)
def test_an_evaluation_that_cannot_be_made_is_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines("unlabelled.jsonl", rows(2))
    write_lines("partly.jsonl", [*rows(2, labelled=True), {**rows(1)[0], "label": None}])
    write_lines("wrong.jsonl", [{**rows(1)[0], "label": "entailmnt"}])
    assert run_guarded(["evaluate", "one", *arguments]) == 2
    output = capsys.readouterr()
    complaint = [line for line in output.err.splitlines() if line.startswith("tuner: ")]
    assert len(complaint) == 1
    assert said in complaint[0]
    assert output.out == ""


def test_either_half_of_mnli_is_evaluated_by_its_name(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnli(tmp_path)
    command = ["evaluate", str(home / "mnli"), "--data", str(tmp_path)]
    for arguments, rows in (
        ([], "40 rows of the validation_matched split"),
        (["--split", "validation"], "40 rows of the validation split"),
        (["--split", "validation_mismatched"], "50 rows of the validation_mismatched split"),
    ):
        assert run_guarded([*command, *arguments]) == 0
        assert capsys.readouterr().out.startswith(f"mnli, {rows}\n")
    assert run_guarded([*command, "--split", "mismatched"]) == 2
    assert "validation_mismatched" in capsys.readouterr().err


# --- submission ----------------------------------------------------------------------------------


def test_runs_and_folders_become_glues_zip_and_what_is_filled_in_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [str(home / task) for task in ("mnli", "cola", "stsb")]
    arguments = ["submission", "one", *models, "--data", str(home / "glue"), "--output", "glue.zip"]
    assert run_guarded(arguments) == 2
    said = capsys.readouterr().err
    assert "6 of 11 files are missing" in said or "5 of 11 files are missing" in said
    assert "QQP.tsv (no run of qqp)" in said
    assert not Path("glue.zip").exists()

    assert run_guarded([*arguments, "--fill-missing"]) == 0
    output = capsys.readouterr()
    content = Path("glue.zip").read_bytes()
    assert faults(content) == []
    lines = output.out.splitlines()
    assert [line.split()[0] for line in lines[:11]] == [file.name for file in FILES]
    assert "QQP.tsv      390,965 rows  always 0: no run of qqp" in lines
    assert lines[-1] == "wrote glue.zip"
    assert "note: RTE.tsv has 20 predictions, but GLUE's test set 3,000 rows" in output.err
    with zipfile.ZipFile("glue.zip") as packed:
        rte = packed.read("RTE.tsv").decode()
        assert len(packed.read("AX.tsv").decode().splitlines()) == 7
    assert run_guarded(["predict", "--split", "test", "--output", "RTE.tsv"]) == 0
    assert Path("RTE.tsv").read_text() == rte

    assert run_guarded([*arguments[:-1], "again.zip", "--fill-missing"]) == 0
    assert Path("again.zip").read_bytes() == content


def test_two_runs_of_a_task_or_a_wrong_name_write_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = str(home / "runs" / "one" / "best")
    assert run_guarded(["submission", "one", best, "--output", "glue.zip"]) == 2
    assert f"one and {best} are both models of rte" in capsys.readouterr().err
    files = ["--data", "test=a.tsv", "--data", "train=b.tsv"]
    assert run_guarded(["submission", "one", *files, "--output", "glue.zip"]) == 2
    said = capsys.readouterr().err
    assert "--data test=a.tsv: names a file of rows" in said
    assert "name the folder that holds them all" in said
    assert run_guarded(["submission", "one", "--output", "glue.tar"]) == 2
    assert "use .zip" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []
