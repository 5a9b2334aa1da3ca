"""GLUE's zip: what it must be, checked against zips of our own making."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.glue_files import write_test_file
from tuner.errors import UserError
from tuner.submission import FILES, Entrant, check_complete, faults, filled, pack, plan, unusual
from tuner.tasks import TASKS, find_task

NAMES = (
    "CoLA.tsv SST-2.tsv MRPC.tsv STS-B.tsv MNLI-m.tsv MNLI-mm.tsv QNLI.tsv QQP.tsv RTE.tsv "
    "WNLI.tsv AX.tsv"
).split()
"""As the server's instructions list them."""

ROWS = [1063, 1821, 1725, 1379, 9796, 9847, 5463, 390_965, 3000, 146, 1104]


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A zip in which every row has its training set's commonest label."""
    return pack({file: filled(file) for file in FILES})


def entrants(folder: Path, *names: str) -> list[Entrant]:
    return [Entrant(f"run-{name}", folder, find_task(name), str(folder)) for name in names]


def changed(content: bytes, name: str, text: str | None, called: str | None = None) -> bytes:
    """The zip with one file's text replaced, or the file renamed or taken out."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(sink, "w") as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
            elif text is not None or called is not None:
                new.writestr(called or name, old.read(entry) if text is None else text)
    return sink.getvalue()


def test_the_zip_holds_glues_files_at_its_root_with_header_index_and_label(whole: bytes) -> None:
    assert faults(whole) == []
    with zipfile.ZipFile(io.BytesIO(whole)) as packed:
        assert packed.namelist() == NAMES
        for name, rows in zip(NAMES, ROWS, strict=True):
            lines = packed.read(name).decode().splitlines()
            assert lines[0] == "index\tprediction"
            assert [line.split("\t")[0] for line in lines[1:]] == [str(n) for n in range(rows)]
        assert packed.read("RTE.tsv").decode().splitlines()[1] == "0\tentailment"
        assert packed.read("CoLA.tsv").decode().splitlines()[1] == "0\t1"
        assert packed.read("STS-B.tsv").decode().splitlines()[1] == "0\t2.701"


def test_equal_predictions_give_equal_bytes(whole: bytes) -> None:
    said = {file: filled(file) for file in FILES}
    assert pack(dict(reversed(said.items()))) == whole


def test_every_glue_task_answers_a_file() -> None:
    assert {name for file in FILES for name in file.by} == set(TASKS) - {"demo"}
    assert [file.name for file in FILES] == NAMES
    assert [file.rows for file in FILES] == ROWS


@pytest.mark.parametrize(
    ("name", "text", "called", "fault"),
    [
        ("AX.tsv", None, None, "AX.tsv is missing"),
        ("AX.tsv", None, "glue/AX.tsv", "glue/AX.tsv does not belong in it"),
        ("RTE.tsv", "index,prediction\n0,entailment\n", None, "RTE.tsv:1: the header is"),
        ("RTE.tsv", "index\tprediction\n", None, "RTE.tsv:2: there are no predictions"),
        ("RTE.tsv", "index\tprediction\n1\tentailment\n", None, "RTE.tsv:2: must begin with the i"),
        ("RTE.tsv", "index\tprediction\n0\tentailment\n2\tentailment\n", None, "RTE.tsv:3: must b"),
        ("RTE.tsv", "index\tprediction\n0 entailment\n", None, "RTE.tsv:2: must begin with the in"),
        ("RTE.tsv", "index\tprediction\n0\tentails\n", None, "RTE.tsv:2: the prediction 'entails'"),
        ("RTE.tsv", "index\tprediction\n0\t\n", None, "RTE.tsv:2: the prediction ''"),
        ("RTE.tsv", "index\tprediction\n0\tentailment", None, "RTE.tsv:2: the last line has no en"),
        (
            "WNLI.tsv",
            "index\tprediction\n0\tentailment\n",
            None,
            "'entailment' must be one of 0, 1",
        ),
        ("STS-B.tsv", "index\tprediction\n0\t5.001\n", None, "'5.001' must be 0.000 to 5.000"),
        ("STS-B.tsv", "index\tprediction\n0\t-0.100\n", None, "'-0.100' must be"),
        ("STS-B.tsv", "index\tprediction\n0\t2.7\n", None, "'2.7' must be"),
        (
            "MNLI-m.tsv",
            "index\tprediction\n0\tnot_entailment\n",
            None,
            "must be one of entailment, ",
        ),
    ],
)
def test_a_zip_that_breaks_a_rule_is_told_which(
    whole: bytes, name: str, text: str | None, called: str | None, fault: str
) -> None:
    found = faults(changed(whole, name, text, called))
    assert any(fault in each for each in found), found


def test_what_is_no_zip_is_said_to_be_none() -> None:
    assert "no zip" in faults(b"index\tprediction\n")[0]


def test_the_model_of_mnli_answers_both_halves_and_the_diagnostics(tmp_path: Path) -> None:
    for task in ("mnli", "mnli-mm", "ax", "cola"):
        write_test_file(tmp_path, task)
    found = plan(entrants(tmp_path, "mnli", "cola"))
    assert {file.name: by.called for file, (by, _) in found.answered.items()} == {
        "CoLA.tsv": "run-cola",
        "MNLI-m.tsv": "run-mnli",
        "MNLI-mm.tsv": "run-mnli",
        "AX.tsv": "run-mnli",
    }
    assert found.rows == 24
    assert set(found.missing.values()) == {
        f"no run of {name}" for name in ("sst2", "mrpc", "stsb", "qnli", "qqp", "rte", "wnli")
    }
    by_other_half = plan(entrants(tmp_path, "mnli-mm"))
    assert {file.name for file in by_other_half.answered} == {"MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"}


def test_one_test_file_is_not_taken_for_both_halves_of_mnli(tmp_path: Path) -> None:
    file = write_test_file(tmp_path, "mnli")
    entrant = Entrant("mine", tmp_path, find_task("mnli"), {"test": str(file)})
    found = plan([entrant])
    assert [file.name for file in found.answered] == ["MNLI-m.tsv"]
    reasons = {file.name: why for file, why in found.missing.items()}
    assert "has no rows for test: there is no 'test_mismatched'" in reasons["MNLI-mm.tsv"]
    assert "AX.tsv" in reasons


def test_the_diagnostic_set_is_found_beside_mnli_in_a_copy_of_the_hubs_folder(
    tmp_path: Path,
) -> None:
    names = {"mnli": ("test_matched", "test_mismatched"), "ax": ("test",)}
    rows = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [-1, -1], "idx": [0, 1]}
    for config, splits in names.items():
        for split in splits:
            path = tmp_path / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(exist_ok=True)
            pq.write_table(pa.table(rows), path)
    for data in (str(tmp_path), f"{tmp_path}:mnli"):
        found = plan([Entrant("mine", tmp_path, find_task("mnli"), data)])
        assert [file.name for file in found.answered] == ["MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"]


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"demo"}))
def test_every_tasks_own_test_file_is_read(task: str, tmp_path: Path) -> None:
    write_test_file(tmp_path, task)
    found = plan(entrants(tmp_path, task))
    assert [table.num_rows for _, table in found.answered.values()] == [6]


def test_what_is_missing_is_listed_with_its_reason(tmp_path: Path) -> None:
    write_test_file(tmp_path, "mnli")
    found = plan(entrants(tmp_path, "mnli"))
    with pytest.raises(UserError) as caught:
        check_complete(found.missing)
    said = str(caught.value)
    assert said.startswith("10 of 11 files are missing")
    for part in (
        "CoLA.tsv (no run of cola)",
        "AX.tsv (no test set: ",
        "has neither a folder diagnostic/ nor a configuration ax",
    ):
        assert part in said
    assert "--fill-missing" in said
    assert "\n" not in said
    check_complete({})


def test_two_models_of_one_task_are_both_named(tmp_path: Path) -> None:
    for names in (("rte", "rte"), ("mnli", "mnli-mm")):
        two = entrants(tmp_path, *names)
        two[1] = Entrant("the-other", tmp_path, two[1].task, str(tmp_path))
        with pytest.raises(UserError, match=f"run-{names[0]} and the-other are both models of"):
            plan(two)


def test_a_model_that_glue_does_not_ask_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run-demo is a model of demo, which GLUE does not ask for"):
        plan(entrants(tmp_path, "demo"))
    own = dataclasses.replace(find_task("rte"), label_names=("no", "yes"))
    with pytest.raises(UserError, match="mine is a model of rte, which GLUE does not ask for"):
        plan([Entrant("mine", tmp_path, own, str(tmp_path))])


def test_a_test_file_that_is_not_numbered_from_0_is_refused(tmp_path: Path) -> None:
    write_test_file(tmp_path, "rte", first=1)
    with pytest.raises(UserError, match=r"RTE\.tsv: row 0 of the test set has the index 1"):
        plan(entrants(tmp_path, "rte"))


def test_a_broken_test_file_is_an_error_and_not_missing(tmp_path: Path) -> None:
    path = write_test_file(tmp_path, "rte")
    path.write_text(path.read_text() + "6\tonly one text\n")
    with pytest.raises(UserError, match=r"test\.tsv:8: the line has 2 columns"):
        plan(entrants(tmp_path, "rte"))


def test_a_length_that_is_not_glues_is_remarked_on() -> None:
    said = {file: filled(file) for file in FILES}
    assert unusual(said) == []
    said[FILES[0]] = ["1"] * 6
    assert unusual(said) == ["CoLA.tsv has 6 predictions, but GLUE's test set 1,063 rows"]


def test_predictions_that_glue_would_not_take_are_not_packed() -> None:
    said = {file: filled(file) for file in FILES}
    said[FILES[0]] = ["yes"] * 6
    with pytest.raises(UserError, match=r"GLUE would not take these predictions: CoLA\.tsv:2"):
        pack(said)
