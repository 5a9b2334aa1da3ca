"""A run's page without a browser: what stands on it, when it is written, that texts stay texts."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import pages
from tests.journals import Told, drawn, journal_of, said
from tuner.cli import run_guarded
from tuner.errors import SearchError
from tuner.headings import Heading
from tuner.journal import History, Journal, read_history
from tuner.leaderboard import rows
from tuner.page import keeper
from tuner.page.captions import captions
from tuner.page.grid import grid
from tuner.page.html import embedded
from tuner.page.importance import Importance, importance
from tuner.page.keeper import ReportPage, page_text, write_page
from tuner.page.reading import read_report
from tuner.page.report import CURVES, POINTS, Report, Work, report
from tuner.page.verdict import Final, verdict
from tuner.runs import Run, driven
from tuner.spaces import load_space
from tuner.throttle import Throttle


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return pages.make_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(run: Run) -> Report:
    return read_report(run)


def test_the_verdict_names_winner_final_score_interval_and_cost(page: Report) -> None:
    said = " ".join(page.verdict)
    assert page.winner == pages.WINNER
    assert said.startswith("t001 won: lr 3e-05")
    final = page.final
    assert final is not None
    (metric,) = final.metrics
    assert f"accuracy {metric.value:.4f} (95 % interval {metric.low:.4f} to" in said
    assert "on 40 rows of the validation split, which had no part in the choice" in said
    assert "12 trials (5 finished, 6 stopped, 1 failed)" in said


def test_a_final_score_on_the_rows_that_chose_is_called_optimistic(run: Run) -> None:
    table = rows(read_history(run.journal_file), "max")
    about = Heading("r", "t", "accuracy", selected_on="validation", reason="complete")
    said = verdict(table, about, read_history(run.journal_file), Final(0.8, 40, "validation"))
    assert "this score is optimistic" in said[1]


def test_nobody_has_won_a_search_that_did_not_end(run: Run) -> None:
    history = read_history(run.journal_file)
    listed = rows(history, "max")
    for reason, how in (("complete", "won"), ("budget", "won"), (None, "is ahead")):
        about = Heading(objective="accuracy", reason=reason)
        assert verdict(listed, about, history, None)[0].startswith(f"t001 {how}: lr")
    about = Heading(objective="accuracy", reason="interrupted")
    assert verdict(listed, about, history, Final(0.8, 10, "validation"))[0].startswith("t001 won")


def test_ties_are_said_in_words(run: Run) -> None:
    history = read_history(run.journal_file)
    table = rows(history, "max")
    about = Heading("r", "t", "accuracy", reason="complete")
    tied = [dataclasses.replace(row, tied=row.rank == 2, worse=0.9) for row in table]
    assert "cannot tell it apart from t005" in " ".join(verdict(tied, about, history, None))
    apart = [dataclasses.replace(row, tied=False, worse=0.99) for row in table]
    assert "Every other finished trial is worse" in " ".join(verdict(apart, about, history, None))


def test_curves_hold_every_report_and_where_trials_were_stopped(page: Report) -> None:
    curves = {curve.trial: curve for curve in page.curves}
    assert len(curves) == len(pages.TRIALS)
    assert curves["t001"].scores == [0.52, 0.7, 0.81]
    assert curves["t001"].shares == [0.1111, 0.3333, 1.0]
    assert curves["t003"].status == "stopped"
    assert curves["t003"].shares[-1] == 0.3333
    assert page.rungs == pytest.approx([1 / 9, 1 / 3, 1])
    assert "Stopped by ASHA: 4 at 11 %, 2 at 33 %" in captions(page)["curves"]


def test_the_best_so_far_never_falls_and_ends_at_the_winner(page: Report) -> None:
    assert page.best.best == sorted(page.best.best)
    assert page.best.seconds == sorted(page.best.seconds)
    assert page.best.best[-1] == max(page.best.scores) == 0.81


def test_slots_never_do_two_things_at_once_and_lost_work_is_kept(page: Report) -> None:
    for slot in page.slots:
        pieces = sorted((w.start, w.end) for w in page.work if w.slot == slot)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(pieces))
    assert [w.ended for w in page.work if w.trial == "t003"] == ["lost", "stopped"]
    assert len(page.work) == len(pages.TRIALS) + 1


def test_pauses_between_drivers_are_no_work(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        journal.append("session", planned=1, slots=1, time=1000.0)
        drawn(journal, 0)
        journal.append("taken", trial="t000", time=1010.0)
        journal.append("session", planned=1, slots=1, time=9000.0)
        journal.append("taken", trial="t000", time=9005.0)
        journal.append("finished", **said("t000", 2, 0.7), time=9025.0)
    pieces = read_history(tmp_path / "journal.jsonl").stints
    assert [piece.ended for piece in pieces] == ["cut", "finished"]
    assert pieces[1].end - pieces[0].start < pieces[0].start + 100
    assert pieces[1].end - pieces[1].start == pytest.approx(20)


def test_importance_is_optunas_and_warns_while_trials_are_few(run: Run) -> None:
    found = importance(read_history(run.journal_file), load_space("small-models"), "max")
    assert set(found.shares) <= {
        "learning_rate",
        "num_train_epochs",
        "per_device_train_batch_size",
    }
    assert sum(found.shares.values()) == pytest.approx(1)
    assert "noise" in found.note
    few = journal_of(run.folder.parent / "few.jsonl", [Told(), Told()])
    assert importance(few, load_space("small-models"), "max").note == (
        "too few trials have finished (2) to tell"
    )


def test_a_learning_rate_gets_a_log_axis(page: Report) -> None:
    axes = {axis.name: axis.log for axis in page.points.axes}
    assert axes["learning_rate"]
    assert not axes["num_train_epochs"]


def test_texts_of_data_never_become_markup(run: Run) -> None:
    text = page_text(run)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    assert not set("<>&\u2028") & set(found[1])
    data = json.loads(found[1])
    assert data["run"] == pages.NAME
    assert data["final"]["errors"][0]["texts"][0][1].endswith("<!--")
    assert "<img" not in text.replace(found[0], "")
    assert "{{7*7}}" in text  # and not 49


def test_json_in_a_page_reads_back() -> None:
    data = {"a": pages.MARKUP, "b": [1.5, None, True]}
    assert json.loads(str(embedded(data))) == data


def test_a_page_fetches_nothing_and_runs_its_own_scripts_only(run: Run) -> None:
    text = page_text(run)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe-inline" not in policy[1].split("script-src")[1].split(";")[0]
    assert not re.search(r'(?:src|href)="(?!#)[^"]*//', text)


def test_a_page_of_ten_thousand_trials_draws_the_best_and_lists_them_all() -> None:
    history = History()
    history.apply({"event": "session", "planned": 10_000, "slots": 2, "time": 0.0})
    for number in range(10_000):
        name, value = f"t{number:03d}", 0.5 + number % 97 / 300
        finished = number % 9 == 0
        fresh = {"number": number, "configuration": {"learning_rate": 1e-5 * (1 + number)}}
        history.apply({"event": "drawn", "trial": name, "time": 1.0, **fresh})
        history.apply({"event": "taken", "trial": name, "time": 1.0 + number})
        scored = said(name, 2 if finished else 0, value)
        event = "finished" if finished else "stopped"
        history.apply({"event": event, "time": 2.0 + number, **scored})
    about = Heading("r", "t", "accuracy", reason="complete")
    table = rows(history, "max")
    page = report(about, table, history, importance=Importance(0), now=0.0)
    assert len(page.curves) == CURVES
    assert len(page.points.trials) == POINTS
    assert len(page.grid.lines) == 10_000
    assert "the best 500 of 10,000" in captions(page)["curves"]
    assert len(str(embedded(page.plain_data()))) < 5_000_000


def test_the_page_follows_a_search_and_costs_little(run: Run, tmp_path: Path) -> None:
    going = Run(tmp_path / "going")
    shutil.copytree(run.folder, going.folder)
    history = read_history(going.journal_file)
    record = history.records["t000"]
    with ReportPage(going, lambda: True, every=3600) as watcher:
        watcher.search_started(12, 2)
        for _ in range(3):
            watcher.event("report", record, history)
        file = going.folder / "report.html"
        while not file.exists():
            time.sleep(0.01)
        first = file.read_bytes()
        assert b"Still running" in first
        watcher.event("report", record, history)
        watcher.search_ended("complete")
        assert file.read_bytes() == first  # too soon for another
    assert b"Still running" not in file.read_bytes()


@pytest.mark.parametrize("error", [SearchError, KeyboardInterrupt, None])
def test_nothing_is_written_after_the_last_page_however_a_search_ends(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    going = Run(tmp_path / "going")
    shutil.copytree(run.folder, going.folder)
    history = read_history(going.journal_file)
    begun, goes_on = threading.Event(), threading.Event()

    def slow(run: Run, live: bool | None = None, *given: Any) -> str:
        if live:
            begun.set()
            goes_on.wait(60)
        return page_text(run, live, *given)

    monkeypatch.setattr(keeper, "page_text", slow)
    page = ReportPage(going, lambda: True, patience=0.05)
    with contextlib.suppress(SearchError, KeyboardInterrupt), page:
        page.event("report", history.records["t000"], history)
        assert begun.wait(60)
        if error is not None:
            raise error
    last = (going.folder / "report.html").read_bytes()
    assert b"Still running" not in last
    goes_on.set()
    (left,) = [thread for thread in threading.enumerate() if thread.name == "report"]
    left.join(60)
    assert not left.is_alive()
    assert (going.folder / "report.html").read_bytes() == last


def test_a_run_that_is_somebody_elses_by_now_gets_no_page(run: Run, tmp_path: Path) -> None:
    lost = Run(shutil.copytree(run.folder, tmp_path / "lost"))
    (lost.folder / "report.html").unlink(missing_ok=True)
    history = read_history(lost.journal_file)
    with ReportPage(lost, lambda: False, every=0.01) as page:
        page.event("report", history.records["t000"], history)
    assert not (lost.folder / "report.html").exists()


def test_a_page_that_takes_long_is_looked_for_as_rarely_as_it_is_written(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0.0, 4.0)  # reading it takes 4 s
    monkeypatch.setattr(keeper, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    refresh, silence = following(page_text(run, True, Throttle(15.0)))
    assert refresh == 200.0  # two percent of the time
    assert silence > refresh + keeper.BEAT + 4.0
    text = page_text(run, True, Throttle(15.0), 40.0)  # writing the last one took longer yet
    refresh, silence = following(text)
    assert refresh == 2000.0
    assert silence > refresh + keeper.BEAT + 40.0
    assert following(page_text(run, True, Throttle(3600.0))) == (3600.0, 7200.0)


def test_a_page_is_told_how_long_the_whole_of_the_last_writing_took(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    again = threading.Event()

    def slow(run: Run, live: bool | None, pace: Throttle | None, took: float) -> str:
        told.append(took)
        if len(told) > 1:
            again.set()
        return "a page"

    monkeypatch.setattr(keeper, "page_text", slow)
    monkeypatch.setattr(keeper, "write_text", lambda file, text: time.sleep(0.02))
    monkeypatch.setattr(keeper, "BEAT", 0.01)
    going = Run(shutil.copytree(run.folder, tmp_path / "going"))
    with ReportPage(going, lambda: True, every=0.01):
        assert again.wait(60)
    assert told[0] == 0.0
    assert told[1] >= 0.02


def following(text: str) -> tuple[float, float]:
    found = re.search(r'data-refresh="([\d.]+)" data-silence="([\d.]+)"', text)
    assert found is not None
    return float(found[1]), float(found[2])


def test_work_gets_its_share_of_the_time_and_no_more() -> None:
    throttle = Throttle(1.0)
    assert throttle.wait == 0
    with pytest.raises(OSError, match="full"), throttle.work():
        raise OSError("full")
    assert 0.9 < throttle.wait <= 1.0
    assert throttle.pause(0.001) == 1.0
    assert throttle.pause(8.0) == pytest.approx(400.0)


def test_a_page_that_cannot_be_written_ends_no_search(run: Run, tmp_path: Path) -> None:
    history = read_history(run.journal_file)
    broken = shutil.copytree(run.folder, tmp_path / "broken")
    (broken / "report.html").unlink(missing_ok=True)
    (broken / "report.html").mkdir()  # a file cannot take its place
    with ReportPage(Run(broken), lambda: True, every=0.01) as watcher:
        for _ in range(3):
            watcher.event("report", history.records["t000"], history)
            time.sleep(0.05)
        watcher.search_ended("complete")
    assert (broken / "report.html").is_dir()


def test_whatever_an_error_says_can_be_written(tmp_path: Path) -> None:
    run = pages.make_run(tmp_path, "odd")
    with Journal.open(run.journal_file) as journal:
        journal.append("drawn", trial="t900", number=900, configuration={"seed": 1})
        journal.append("taken", trial="t900")
        journal.append("failed", trial="t900", error="no such file: caf\udce9.csv")
    file = write_page(run)
    assert "no such file: caf" in file.read_text(encoding="utf-8")


def test_the_command_writes_the_page_and_prints_where(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_guarded(["report", str(run.folder)]) == 0
    assert Path(capsys.readouterr().out.strip()) == run.folder / "report.html"
    other = tmp_path / "elsewhere" / "page.html"
    assert run_guarded(["report", str(run.folder), "--output", str(other)]) == 0
    assert "</html>" in other.read_text()[-20:]


def test_a_run_whose_search_goes_on_says_so_and_asks_to_be_read_again(tmp_path: Path) -> None:
    run = pages.make_run(tmp_path, "going")
    run.journal_file.unlink()
    shutil.rmtree(run.best_folder)
    pages.tell(run.journal_file, ended=False)
    file = write_page(run, live=True)
    text = file.read_text()
    assert "The best so far is t001" in text
    assert following(text) == (15.0, 600.0)
    assert "location.reload" in text
    aside = write_page(run, tmp_path / "aside.html", live=True).read_text()
    assert "Still running" in aside
    assert "location.reload" not in aside  # nobody writes it again
    over = write_page(run, live=False).read_text()
    assert "location.reload" not in over
    assert "refresh" not in over.partition("<style>")[0]
    assert "its driver is gone" in over


def test_the_overview_lists_the_runs_and_leads_to_their_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages.make_run(tmp_path, "one")
    pages.make_run(tmp_path, "two <b>")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.yaml").write_text("]")
    assert run_guarded(["report", "one", "--storage", str(tmp_path)]) == 0
    assert run_guarded(["report", "--all", "--storage", str(tmp_path)]) == 0
    file = Path(capsys.readouterr().out.split()[-1])
    assert file == tmp_path / "report.html"
    text = file.read_text()
    assert '<a href="one/report.html">one</a>' in text
    assert "two <b>" not in text
    assert "broken: run.yaml" in text
    assert "0.8100" in text
    assert re.search(r"<td>0\.\d{4} to 0\.\d{4}</td>", text)  # of the final score
    assert len(text) < 100_000  # Plotly is not in it


def test_what_goes_together_with_all_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = ["--storage", str(tmp_path)]
    for words, complaint in (
        (["--all", "one"], "pass one of"),
        (["--task", "rte"], "goes with --all"),
        (["--all", "--task", "rte"], "there is no run in"),
    ):
        assert run_guarded(["report", *words, *storage]) == 2
        assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_driver_of_a_run_in_a_store_keeps_the_files_that_are_not_there_yet(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "store").mkdir()
    mine = driven(Run(tmp_path, (tmp_path / "store" / "here").as_uri()))
    here = shutil.copytree(run.folder, mine.folder)
    write_page(mine, live=False)
    assert (here / "best" / "metrics.json").exists()
    assert (here / "report.html").exists()


def test_a_slot_that_followed_another_one_does_not_make_both_idle(page: Report) -> None:
    page = dataclasses.replace(
        page,
        slots=["a", "b", "c"],
        seconds=10.0,
        work=[
            Work("a", "t0", 0.0, 4.0, "finished"),
            Work("b", "t1", 0.0, 10.0, "finished"),
            Work("c", "t2", 4.0, 10.0, "finished"),
        ],
    )
    said = "3 slots, 2 at once, at work on trials for 100 % of the time from the first trial on."
    assert captions(page)["work"] == said
    page = dataclasses.replace(page, slots=["a"], work=[Work("a", "t0", 1.0, 1.0, "failed")])
    assert captions(page)["work"].startswith("1 slot, at work on trials for 0 %")


def test_a_run_under_another_seed_names_the_trial_whose_configuration_it_is(
    tmp_path: Path,
) -> None:
    listed = rows(journal_of(tmp_path / "journal.jsonl", [Told()]), "max")
    again = dataclasses.replace(listed[0], trial="t001", rank=None, reseed_of="t000")
    shown = grid([*listed, again], Heading(objective="accuracy"))
    assert [line.cells[1] for line in shown.lines] == ["t000", "t001 of t000"]
    assert shown.lines[1].keys[1] == "t001"
