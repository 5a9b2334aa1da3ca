"""Runs in a line each, and side by side: complete, in an order, and never ended by one of them."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.journals import Told, drawn, journal_of, run_trial, said
from tuner.cli import run_guarded
from tuner.comparisons import Comparison, Comparisons, write_comparisons
from tuner.entries import entries
from tuner.errors import UserError
from tuner.journal import Journal
from tuner.leases import hold
from tuner.page.overview import write_overview
from tuner.runs import Run
from tuner.settings import Settings, write_run_file

TRIALS = (Told(values=(0.5, 0.6, 0.7)), Told("stopped", (0.5, 0.55)))
DATA = {
    "selected_on": "holdout",
    "selection_rows": 20,
    "training_rows": 80,
    "fingerprints": {"train": "a" * 64, "validation": "b" * 64},
}


def made(
    storage: Path,
    name: str,
    task: str = "rte",
    trials: Sequence[Told] = TRIALS,
    *,
    reason: str | None = "complete",
    final: float | None = None,
    data: dict[str, Any] | None = None,
    created: str = "2026-11-20T10:00:00+00:00",
    **given: Any,
) -> Run:
    """A run as a driver leaves it."""
    run = Run(storage / name)
    run.folder.mkdir(parents=True)
    objective = {"stsb": "pearson"}.get(task, "accuracy")
    facts = {
        "created": created,
        "task": {"name": task, "objective": objective},
        "model": {"name": "minilm"},
        "data": {**DATA, **(data or {})},
        "layout": {"slots": 2, "workers_per_trial": 1, "gpus_per_worker": 0.0},
    }
    write_run_file(run, Settings(task=task, **{"trials": 2, **given}), facts)
    journal_of(run.journal_file, trials, reason=reason)
    if final is not None:
        run.best_folder.mkdir()
        scores = {"metrics": {objective: final}}
        (run.best_folder / "metrics.json").write_text(json.dumps(scores))
    return run


def again(run: Run, trial: str, *scores: float | None, wanted: int | None = None) -> None:
    """The run goes on with its finals: `trial` under other seeds, `wanted` times in all; of one
    without a score the run is begun, and no more."""
    with Journal.open(run.journal_file) as journal:
        many = wanted or len(scores)
        journal.append("session", planned=2, slots=1, finalists=1, reseeds=many)
        for score in scores:
            number = len(journal.history.records)
            name = f"t{number:03d}"
            configuration = {**journal.history.records[trial].configuration, "seed": 100 + number}
            journal.append(
                "drawn", trial=name, number=number, configuration=configuration, reseed_of=trial
            )
            journal.append("taken", trial=name)
            if score is not None:
                journal.append("finished", **said(name, 2, score))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    made(runs, "weak", trials=[Told(values=(0.5, 0.5, 0.6))])
    made(runs, "good", final=0.68)
    made(runs, "other", task="cola")
    return runs


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_guarded(["leaderboard", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_guarded(["leaderboard", *arguments]) == 2
    return capsys.readouterr().err


def names(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    found = json.loads(printed(capsys, "--all", "--format", "json", *arguments))
    return [entry["run"] for entry in found]


def test_every_run_is_a_line_by_task_and_the_best_first(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(capsys) == ["other", "good", "weak"]
    assert names(capsys, "--task", "rte") == ["good", "weak"]
    found = json.loads(printed(capsys, "--all", "--format", "json"))[1]
    expected = {"task": "rte", "model": "minilm", "status": "complete", "trial": "t000"}
    expected |= {"score": 0.7, "final": 0.68, "done": 2, "planned": 2, "device": "2 x 1 CPU"}
    assert {key: found[key] for key in expected} == expected
    assert found["schedules"] == pytest.approx(1 + 1 / 3)
    assert found["epochs"] == pytest.approx(4)
    lines = printed(capsys, "--all").splitlines()
    assert lines[4].startswith("-----")
    assert lines[6].split()[:7] == [
        "good",
        "rte",
        "minilm",
        "complete",
        "t000",
        "accuracy",
        "0.7000",
    ]
    assert "2/2" in lines[6]


def test_an_interval_of_a_run_has_both_its_bounds(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Comparisons("accuracy", "t000", {}, {"t000": Comparison(0.1, 0.51, 0.89)})
    write_comparisons(Run(storage / "good"), kept)
    chosen = ("--all", "--sort", "-low", "--top", "1", "--columns")
    found = json.loads(printed(capsys, *chosen, "run,interval", "--format", "json"))
    assert found == [{"run": "good", "low": 0.51, "high": 0.89}]
    assert "low,high\n0.51,0.89\n" in printed(capsys, *chosen, "interval", "--format", "csv")
    assert "0.5100 to 0.8900" in printed(capsys, *chosen, "95 % interval")
    final = printed(capsys, *chosen, "final's interval", "--format", "csv")
    assert final.splitlines()[0] == "final_low,final_high"
    assert "  high     low\n------  ------\n0.8900  0.5100" in printed(capsys, *chosen, "high,low")


def test_after_its_finals_a_run_s_score_is_the_mean_over_seeds_as_its_own_leaderboard_has_it(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(capsys, "--task", "rte") == ["good", "weak"], "0.70 and 0.60"
    again(Run(storage / "good"), "t000", 0.5, 0.3)
    assert names(capsys, "--task", "rte") == ["weak", "good"], "0.60, and the mean 0.50"
    found = json.loads(printed(capsys, "--all", "--format", "json"))[2]
    assert [found[key] for key in ("trial", "seeds", "low", "high")] == ["t000", 3, None, None]
    assert (found["score"], found["sd"]) == (pytest.approx(0.5), pytest.approx(0.2))
    text = printed(capsys, "--all", "--task", "rte")
    assert "the mean where a run's best ran under several seeds" in text
    weak, good = text.splitlines()[-2:]
    assert "0.5000  " in good
    assert "± 0.2000 (3)" in good
    assert "±" not in weak


def test_while_finals_run_a_run_s_score_is_still_its_best_trial_s_own(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again(Run(storage / "good"), "t000", 0.5, None, wanted=2)
    found = json.loads(printed(capsys, "--all", "--format", "json"))[1]
    assert [found[key] for key in ("run", "score", "sd", "seeds")] == ["good", 0.7, None, 1]
    assert "±" not in printed(capsys, "--all")


def test_where_less_is_better_the_lowest_score_comes_first(tmp_path: Path) -> None:
    for name, score in (("high", 0.9), ("low", 0.2)):
        made(tmp_path, name, trials=[Told(values=(score,))], objective="rmse")
    assert [entry.run for entry in entries(str(tmp_path))] == ["low", "high"]


def test_the_overview_has_an_order_columns_and_all_the_forms(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(capsys, "--sort", "-score") == ["other", "good", "weak"]
    assert names(capsys, "--sort", "final") == ["good", "other", "weak"]
    assert names(capsys, "--sort", "-run", "--top", "1") == ["weak"]
    chosen = ("--all", "--columns", "score,run,trials")
    keys = json.loads(printed(capsys, *chosen, "--format", "json"))[0]
    assert list(keys) == ["score", "run", "done"]
    assert next(csv.reader(io.StringIO(printed(capsys, *chosen, "--format", "csv")))) == list(keys)
    assert printed(capsys, *chosen).splitlines()[3].split() == ["score", "run", "trials"]
    assert "| score | run | trials |" in printed(capsys, *chosen, "--format", "md")
    assert '<th scope="row">good</th>' in printed(capsys, *chosen, "--format", "html")
    assert "did you mean 'score'" in refused(capsys, "--all", "--sort", "scor")
    assert "no such column" in refused(capsys, "--all", "--columns", "lr")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--all", "--task", "rta"], "did you mean 'rte'"),
        (["--task", "rte"], "goes with --all"),
        (["--all", "good"], "--all takes no good"),
        (["--all", "--fetch"], "--all takes no --fetch"),
        (["--all", "--storage", "nowhere"], "there is no run in nowhere"),
        (["good", "good"], "is named twice"),
        (["good", "nosuch"], "there is no run nosuch"),
    ],
)
def test_what_cannot_be_listed_is_one_line(
    storage: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refused(capsys, *arguments)


def damaged(storage: Path) -> None:
    """Runs that are not whole, each in another way, and folders that are none."""
    torn = made(storage, "torn", reason=None)
    with torn.journal_file.open("ab") as file:
        file.write(b'{"event":"report","trial":"t0')
    broken = made(storage, "broken")
    lines = broken.journal_file.read_bytes().splitlines(keepends=True)
    lines[-3] = b"\x00 nothing\n"
    broken.journal_file.write_bytes(b"".join(lines))
    made(storage, "no-settings").settings_file.unlink()
    made(storage, "empty-settings").settings_file.write_text("")
    made(storage, "new").journal_file.unlink()
    lost = made(storage, "lost")
    lost.journal_file.unlink()
    lost.leaderboard_file("csv").write_text("rank,trial\n1,t000\n")
    typed = made(storage, "typed")
    lines = typed.journal_file.read_bytes().splitlines(keepends=True)
    lines[-2] = lines[-2].replace(b'"step":30', b'"step":[30]')
    typed.journal_file.write_bytes(b"".join(lines))
    half = made(storage, "half", final=0.5)
    half.leaderboard_file("parquet").write_bytes(b"PAR1 and no more")
    (half.best_folder / "metrics.json").write_text('{"metrics": {"accu')
    odd = made(storage, "odd")
    odd.settings_file.write_text("created: 1\nsettings: {task: rte}\ndata: [1]\ntask: 5\n")
    (storage / "no-run").mkdir()
    (storage / "a-file").write_text("")


def test_a_run_that_is_not_whole_is_listed_with_what_is_wrong(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(storage)
    found = {e["run"]: e for e in json.loads(printed(capsys, "--all", "--format", "json"))}
    assert "no-run" not in found
    troubles = {name: " ".join(entry["troubles"]) for name, entry in found.items()}
    assert troubles["good"] == ""
    assert "is torn" in troubles["torn"]
    assert "runs/broken/journal.jsonl:9: broken line (not a JSON object" in troubles["broken"]
    assert "runs/typed/journal.jsonl:10: broken line (step is [30], not a" in troubles["typed"]
    assert "runs/new/journal.jsonl is missing: restore it, or, if no search" in troubles["new"]
    assert "runs/lost/leaderboard.csv holds their rows" in troubles["lost"]
    assert "run.yaml is missing" in troubles["no-settings"]
    assert "is no run.yaml" in troubles["empty-settings"]
    assert "best/metrics.json cannot be read" in troubles["half"]
    assert troubles["odd"] != ""
    told = {name: found[name]["status"] for name in ("new", "lost", "broken", "typed", "torn")}
    journals = {"new": "missing", "lost": "missing", "broken": "broken", "typed": "broken"}
    assert told == {**{n: f"{how} journal" for n, how in journals.items()}, "torn": "killed"}
    assert [found[name]["score"] for name in ("torn", "no-settings", "half")] == [0.7, 0.7, 0.7]
    text = printed(capsys, "--all")
    assert all(line.count(":") for line in text.splitlines() if line.startswith("no-settings: "))


@pytest.mark.parametrize(
    ("name", "said", "rows"),
    [
        ("torn", "journal.jsonl: its last line is torn", 2),
        ("broken", "what stands before it is shown", 2),
        ("no-settings", "which rows the scores are on is not known", 2),
        ("empty-settings", "is no run.yaml", 2),
        ("typed", "the search cannot be followed to its end: its journal is broken", 2),
        ("new", "2 trials were planned; the search cannot be followed: its journal is missing", 0),
        ("lost", "`tuner resume runs/lost` would search all over again", 0),
        ("half", "2 of 2 trials done", 2),
    ],
)
def test_the_leaderboard_of_a_run_that_is_not_whole_shows_what_is(
    storage: Path, capsys: pytest.CaptureFixture[str], name: str, said: str, rows: int
) -> None:
    damaged(storage)
    assert said in printed(capsys, name)
    assert len(json.loads(printed(capsys, name, "--format", "json"))) == rows
    assert "is no run" in refused(capsys, "no-run")


def test_a_search_that_has_not_begun_is_told_from_one_whose_journal_is_gone(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(storage, "new")
    run.journal_file.write_text("")
    assert "the search has not begun" in printed(capsys, "new")
    run.journal_file.unlink()
    with hold(run):
        text = printed(capsys, "new")
    assert "the search is running" in text
    assert "Not whole" not in text


def test_the_way_out_of_a_broken_journal_leads_out(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(storage, "typed", trials=[*TRIALS, Told("running", (0.5,))], reason=None)
    content = run.journal_file.read_text()
    run.journal_file.write_text(content.replace('"number":2', '"number":"two"'))
    text = printed(capsys, "typed")
    (trouble,) = [line for line in text.splitlines() if line.startswith("Not whole")]
    assert f"{run.journal_file}:4: broken line (number is 'two', not a whole number)" in trouble
    assert "resume" not in text, "that would be refused"
    with pytest.raises(UserError, match="jsonl:4: broken line"):
        Journal.open(run.journal_file)
    command = trouble.partition("before this line: ")[2].partition(";")[0]
    subprocess.run(command, shell=True, check=True)
    Journal.open(run.journal_file).close()
    assert len(board(capsys, "typed", "weak")) == 3
    assert "Not whole" not in printed(capsys, "typed")


def test_a_torn_line_of_a_run_that_goes_on_is_no_damage(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(storage, "live", reason=None)
    with Journal.open(run.journal_file) as journal:
        run_trial(journal, drawn(journal, 2), Told("running", (0.5,)))
    with run.journal_file.open("ab") as file:
        file.write(b'{"event":"rep')
    with hold(run):
        (found,) = [entry for entry in entries(str(storage)) if entry.run == "live"]
        assert (found.status, found.troubles) == ("running", ())
        assert "the search is running" in printed(capsys, "live")
        dead = made(storage, "dead", trials=[Told("running", (0.5,))], reason=None)
        lines = printed(capsys, dead.name, "live", "--columns", "run,status,done").splitlines()
        assert ["dead", "unfinished"] in [line.split()[:2] for line in lines]
        assert ["live", "running"] in [line.split()[:2] for line in lines]


def test_runs_side_by_side_say_what_differs_and_rank_all_trials_together(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(storage, "third", fraction=0.5, trials=[Told(values=(0.6, 0.65)), Told("failed", ())])
    found = json.loads(printed(capsys, "good", "weak", "third", "--format", "json"))
    assert found["differences"] == {"fraction": {"good": "1.0", "weak": "1.0", "third": "0.5"}}
    assert found["warnings"] == []
    assert [(row["rank"], row["run"], row["trial"]) for row in found["rows"]] == [
        (1, "good", "t000"),
        (2, "third", "t000"),
        (3, "weak", "t000"),
        (None, "good", "t001"),
        (None, "third", "t001"),
    ]
    assert [(run["run"], run["final"]) for run in found["runs"]] == [
        ("good", 0.68),
        ("weak", None),
        ("third", None),
    ]
    text = printed(capsys, "good", "third")
    assert "Not comparable" not in text
    assert "fraction  1.0   0.5" in text
    lines = printed(capsys, "good", "third", "--sort", "-accuracy", "--columns", "run,accuracy")
    assert [line.split() for line in lines.splitlines()[-4:]][:2] == [
        ["good", "0.7000"],
        ["third", "0.6500"],
    ]
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "good", "third", "--format", "csv"))))
    assert [row["run"] for row in rows] == ["good", "third", "good", "third"]
    assert "<table" in printed(capsys, "good", "third", "--format", "html")
    assert "| rank | run | trial |" in printed(capsys, "good", "third", "--format", "md")


def board(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[Any, ...]]:
    """Rank, run and trial of the rows of runs side by side."""
    found = json.loads(printed(capsys, *arguments, "--format", "json"))
    return [(row["rank"], row["run"], row["trial"]) for row in found["rows"]]


def test_side_by_side_each_run_keeps_its_own_order_and_means_over_seeds_rank(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [Told(values=(0.8,)), Told(values=(0.75,)), Told("stopped", (0.2, 0.3))]
    finals = made(storage, "finals", trials=trials)
    again(finals, "t000", 0.68, 0.65)
    assert board(capsys, "finals", "good", "weak") == [
        (1, "finals", "t000"),  # 0.71 is its mean
        (None, "finals", "t003"),
        (None, "finals", "t004"),
        (2, "finals", "t001"),  # 0.75 is no more than a score of its own
        (3, "good", "t000"),
        (4, "weak", "t000"),
        (None, "good", "t001"),
        (None, "finals", "t002"),
    ]
    ranked = [row[1:] for row in board(capsys, "good", "finals") if row[0]]
    assert ranked == [("finals", "t000"), ("finals", "t001"), ("good", "t000")]
    text = printed(capsys, "finals", "good")
    assert "0.7100 ± 0.0794 (3)" in text
    assert "good: scores of a single seed" in text
    (first,) = [line for line in text.splitlines() if line.startswith("finals  killed")]
    assert first.split()[3:8] == ["0.7100", "±", "0.0794", "(3)", "5/5"]
    assert "of a single seed" not in printed(capsys, "weak", "good")


def test_a_tie_with_the_leader_of_another_run_is_none_with_the_common_one(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, leader in (("a", 0.9), ("b", 0.8)):
        run = made(storage, name, trials=[Told(values=(leader,)), Told(values=(0.7,))])
        of = {"t000": Comparison(0.1, 0.5, 1.0), "t001": Comparison(0.1, 0.5, 1.0, 0.6, True)}
        write_comparisons(run, Comparisons("accuracy", "t000", {}, of))
    found = json.loads(printed(capsys, "a", "b", "--format", "json"))["rows"]
    assert [(row["run"], row["trial"], row["tied"]) for row in found] == [
        ("a", "t000", False),
        ("b", "t000", None),
        ("a", "t001", True),
        ("b", "t001", None),
    ]
    text = printed(capsys, "a", "b")
    assert "tied: with t000 of a; whether trials of another run" in text
    made(storage, "c", seed=1)
    assert "tied: with the leader of their own run" in printed(capsys, "a", "b", "c")


def test_runs_that_do_not_compare_keep_their_own_ranks_and_lengths(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(storage, "apart", seed=1, trials=[Told(values=(0.9,)), Told(values=(0.8,))])
    assert board(capsys, "good", "apart") == [
        (1, "good", "t000"),
        (None, "good", "t001"),
        (1, "apart", "t000"),
        (2, "apart", "t001"),
    ]
    top = ("good", "apart", "--top", "1")
    assert board(capsys, *top) == [(1, "good", "t000"), (1, "apart", "t000")]
    text = printed(capsys, *top)
    assert "All trials, each run's in an order of their own, as their scores do not compare" in text
    assert "... and 2 more rows" in text
    assert [run for _, run, _ in board(capsys, *top, "--sort", "-accuracy")] == ["apart"]
    assert not json.loads(printed(capsys, *top, "--format", "json"))["together"]
    assert json.loads(printed(capsys, "good", "weak", "--format", "json"))["together"]


def test_where_runs_have_other_metrics_no_score_stands_under_the_name_of_another(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(storage, "loose", objective="f1", trials=[Told(values=(0.9,))])
    text = printed(capsys, "good", "loose")
    heads, _, *rows = text[text.index("All trials") :].splitlines()[1:]
    assert heads.split()[:8] == [
        *("rank", "run", "trial", "status", "metric", "objective", "accuracy", "f1")
    ]
    cells = ("finished", "accuracy", "0.7000", "0.7000", "0.3500")
    assert rows[0].split()[:8] == ["1", "good", "t000", *cells]
    assert rows[2].split()[:6] == ["1", "loose", "t000", "finished", "f1", "0.9000"]
    came = text[text.index("What came out") :].splitlines()
    assert came[1].split()[:5] == ["run", "status", "trial", "metric", "score"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "cola"}, "runs of different tasks (rte and cola)"),
        ({"task": "stsb"}, "judged by different metrics (accuracy, pearson)"),
        ({"data": {"fingerprints": {"train": "c" * 64}}}, "scored on different rows"),
        ({"data": {"selected_on": "validation"}}, "scored on different rows"),
        ({"seed": 1}, "scored on different rows"),
        ({"data": {"fingerprints": {}}}, "is not known"),
    ],
)
def test_runs_whose_scores_do_not_compare_are_said_to(
    storage: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], said: str
) -> None:
    made(storage, "second", **given)
    warned = [
        line
        for line in printed(capsys, "good", "second").splitlines()
        if line.startswith("Not comparable: ")
    ]
    assert any(said in line for line in warned)


def test_other_validation_rows_matter_only_where_they_chose(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(storage, "second", data={"fingerprints": {**DATA["fingerprints"], "validation": "c" * 64}})
    assert "Not comparable" not in printed(capsys, "good", "second")


def test_side_by_side_runs_without_trials_have_the_same_columns(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        made(storage, name, trials=[], seed=1)
    for form in ("table", "csv", "json", "md", "html"):
        chosen = ("--columns", "run,accuracy,lr", "--sort", "run", "--format", form)
        shown = printed(capsys, "one", "two", *chosen)
        assert "run" in shown
    assert printed(capsys, "one", "two", "--columns", "run,lr", "--format", "csv") == (
        "run,hyperparameter.learning_rate\n"
    )
    assert "no such column" in refused(capsys, "one", "two", "--columns", "rum,x")


def test_runs_of_one_name_are_told_apart(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = made(tmp_path / "elsewhere", "good")
    found = json.loads(printed(capsys, "good", str(twin.folder), "--format", "json"))
    assert {row["run"] for row in found["rows"]} == {"runs/good", str(twin.folder)}


def test_the_final_score_of_an_earlier_winner_does_not_stand_beside_the_new_one(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(storage, "went-on", final=0.9)
    file = run.best_folder / "metrics.json"
    for rate, final in ((3.14e-5, 0.9), (1e-3, None)):
        own = {**TRIALS[0].configuration, "learning_rate": rate}
        scores = {"metrics": {"accuracy": 0.9}, "hyperparameters": own}
        file.write_text(json.dumps(scores))
        listed = json.loads(printed(capsys, "--all", "--format", "json"))
        (entry,) = [each for each in listed if each["run"] == "went-on"]
        assert entry["final"] == final
    assert entry["troubles"] == [
        "best/metrics.json is of an earlier winner: its scores are left out"
    ]


def test_a_model_in_a_folder_of_no_name_of_its_own_is_called_by_the_folder_above(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(storage, "again", model="runs/first/best")
    listed = json.loads(printed(capsys, "--all", "--format", "json"))
    assert {e["run"]: e["model"] for e in listed}["again"] == "first/best"


def test_the_page_of_all_runs_says_what_its_scores_are(storage: Path) -> None:
    write_overview(storage / "all.html", "Runs", entries(str(storage)))
    text = (storage / "all.html").read_text()
    assert "score: on the rows that chose it; final: the exported model&#39;s" in text
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)<', text)
    assert heads[:3] == ["run", "task", "score"]
