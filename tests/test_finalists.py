"""The finalists: who runs again, when, under which seeds, and what a kill in the middle changes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journals import Told, drawn, journal_of, run_trial
from tuner import ranking
from tuner.errors import UserError
from tuner.finalists import Finals, again, due
from tuner.history import History, Record
from tuner.identity import extended
from tuner.journal import Journal, read_history
from tuner.leaderboard import Row, best, rows
from tuner.preparation import resolve
from tuner.ranking import repeats, settled
from tuner.rendering import render
from tuner.settings import Settings

TRIALS = (
    Told(values=(0.5, 0.6, 0.70)),
    Told("stopped", (0.9,)),
    Told(values=(0.5, 0.6, 0.75), loss=0.6),
    Told(values=(0.5, 0.6, 0.75), loss=0.4),
    Told("failed", (0.8,)),
    Told(values=(0.5, 0.6, 0.72)),
)
FINALS = Finals(finalists=3, reseeds=2, seed=7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_the_best_by_their_own_score_run_again_turn_by_turn(path: Path) -> None:
    history = journal_of(path, TRIALS)
    assert due(history, "max", FINALS) == ["t003", "t002", "t005"] * 2
    assert due(history, "min", FINALS)[:3] == ["t000", "t005", "t003"]
    assert due(history, "max", replace(FINALS, finalists=9)) == ["t003", "t002", "t005", "t000"] * 2
    assert due(history, "max", Finals()) == []


def test_what_has_run_again_before_counts_whatever_came_of_it(path: Path) -> None:
    journal_of(path, TRIALS)
    history = repeated(path, ("t003", Told("failed", ())), ("t002", Told(values=(0.1, 0.1, 0.1))))
    assert due(history, "max", FINALS) == ["t005", "t003", "t002", "t005"]
    assert due(history, "max", replace(FINALS, finalists=1)) == ["t003"]
    # A search that was extended has other finalists.
    with Journal.open(path) as journal:
        run_trial(journal, drawn(journal, 8), Told(values=(0.5, 0.6, 0.9)))
        assert due(journal.history, "max", FINALS) == ["t008", "t008", "t003", "t002"]


def repeated(path: Path, *runs: tuple[str, Told]) -> History:
    """The journal goes on with runs of its trials again, each under the next seed of FINALS."""
    with Journal.open(path) as journal:
        for name, told in runs:
            number = len(journal.history.records)
            configuration = again(journal.history, name, FINALS)
            fields = {"trial": f"t{number:03d}", "number": number, "reseed_of": name}
            journal.append("drawn", configuration=configuration, **fields)
            run_trial(journal, f"t{number:03d}", told)
        return journal.history


def test_seeds_are_new_and_follow_from_the_run_the_trial_and_the_repeat(path: Path) -> None:
    history = journal_of(path, TRIALS)
    first = again(history, "t003", FINALS)
    assert {**first, "seed": 7} == TRIALS[3].configuration
    assert first == again(history, "t003", FINALS)
    assert first != again(history, "t002", FINALS)
    assert first != again(history, "t003", replace(FINALS, seed=8))
    history = repeated(path, *[("t003", Told())] * 40)
    seeds = [r.configuration["seed"] for r in history.records.values() if r.name >= "t006"]
    assert seeds[0] == first["seed"]
    assert len({7, *seeds}) == 41


def test_a_seed_that_is_taken_is_drawn_once_more(path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tuner.finalists._SEEDS", 9)
    history = journal_of(path, TRIALS)
    for _ in range(8):
        history = repeated(path, ("t003", Told()))
    seeds = [r.configuration["seed"] for r in history.records.values() if r.name >= "t006"]
    assert sorted({7, *seeds}) == list(range(9))


REPEATS = (
    ("t003", Told(values=(0.5, 0.6, 0.71), loss=0.5)),
    ("t002", Told(values=(0.5, 0.6, 0.73), loss=0.5)),
    ("t005", Told("failed", ())),
    ("t003", Told(values=(0.5, 0.6, 0.73), loss=0.5)),
    ("t002", Told("failed", (0.6,), error="out of memory")),
    ("t005", Told("failed", (0.6,), error="out of memory")),
)


def test_means_rank_first_and_runs_again_follow_their_trial_without_a_rank(path: Path) -> None:
    journal_of(path, TRIALS)
    board = rows(repeated(path, *REPEATS), "max")
    assert [(row.rank, row.trial) for row in board] == [
        (1, "t002"),
        (None, "t007"),
        (None, "t010"),
        (2, "t003"),
        (None, "t006"),
        (None, "t009"),
        (3, "t005"),  # both of its runs are without a score, so that it has one seed
        (None, "t008"),
        (None, "t011"),
        (4, "t000"),
        (None, "t001"),
        (None, "t004"),
    ]
    first, second = board[0], board[3]
    assert (first.objective_mean, first.seeds) == (pytest.approx(0.74), 2)
    assert (second.objective_mean, second.seeds) == (pytest.approx(0.73), 3)
    assert second.objective_sd == pytest.approx(0.02)
    assert (board[6].objective_mean, board[6].objective_sd, board[6].seeds) == (None, None, 1)
    assert best(board) == first
    assert first.hyperparameters["seed"] == 7, "the winner keeps its own seed"


def test_means_count_only_once_all_finalists_have_run_again_as_often(path: Path) -> None:
    journal_of(path, TRIALS[2:4])
    with Journal.open(path) as journal:
        journal.append("session", planned=2, slots=1, finalists=2, reseeds=1)
    own = [row.trial for row in rows(read_history(path), "max")]
    bad, good = Told(values=(0.1, 0.2, 0.3)), Told(values=(0.5, 0.9, 0.99))
    half = repeated(path, (own[1], good))
    assert [row.trial for row in rows(half, "max") if row.rank] == own
    whole = repeated(path, (own[0], bad))
    assert [row.trial for row in rows(whole, "max") if row.rank] == own[::-1]


def test_equal_means_rank_by_the_mean_loss(path: Path) -> None:
    journal_of(path, TRIALS[2:4])
    said = Told(values=(0.5, 0.6, 0.75))
    first = repeated(path, ("t000", replace(said, loss=0.1)), ("t001", replace(said, loss=0.4)))
    assert [row.trial for row in rows(first, "max")][0::2] == ["t000", "t001"]


def test_ranks_of_means_do_not_depend_on_the_order_in_which_runs_ended(tmp_path: Path) -> None:
    def board(order: list[int]) -> list[Row]:
        path = tmp_path / "-".join(map(str, order))
        journal_of(path, TRIALS)
        with Journal.open(path) as journal:
            names = []
            for name, _ in REPEATS:
                number = len(journal.history.records)
                configuration = again(journal.history, name, FINALS)
                fields = {"trial": f"t{number:03d}", "number": number, "reseed_of": name}
                journal.append("drawn", configuration=configuration, **fields)
                names.append(f"t{number:03d}")
            for place in order:
                run_trial(journal, names[place], REPEATS[place][1])
            return rows(journal.history, "max")

    expected = board(list(range(6)))
    for seed in range(5):
        assert board(random.Random(seed).sample(range(6), 6)) == expected


def test_the_table_and_the_heading_tell_means_and_whose_runs_they_are(path: Path) -> None:
    journal_of(path, TRIALS)
    board = rows(repeated(path, *REPEATS), "max")
    text = render(board, "table")
    assert "0.7300 ± 0.0200 (3)" in next(line for line in text.splitlines() if " t003 " in line)
    assert "  t006 of t003" in text
    assert "mean ± sd (seeds)" in text


# Settings, plans and headings


@pytest.mark.parametrize(("given", "other"), [("finalists", "reseeds"), ("reseeds", "finalists")])
def test_one_of_the_two_options_without_the_other_is_refused(given: str, other: str) -> None:
    with pytest.raises(UserError, match=f"--{given} 3: needs --{other}, too") as caught:
        resolve(Settings(task="demo", **{given: 3}))
    assert "\n" not in str(caught.value)
    assert resolve(Settings(task="demo", finalists=3, reseeds=2))[0].finalists == 3
    assert Settings(task="demo", finalists=3, reseeds=2).without_search().finalists == 0


def test_a_plan_of_more_trials_counts_without_the_runs_again(path: Path) -> None:
    journal_of(path, TRIALS)
    history = repeated(path, *REPEATS)
    assert extended(Settings(task="demo", trials=6), history, None, None, None).trials == 6
    assert extended(Settings(task="demo", trials=6), history, 7, None, None).trials == 7
    with pytest.raises(UserError, match="--trials 5: the run has 6 trials already"):
        extended(Settings(task="demo", trials=6), history, 5, None, None)
    # Finalists of a search that its budget ended: no trial comes before them unless asked for.
    ended = Settings(task="demo", trials=1000, budget=60)
    asked = {"finalists": 3, "reseeds": 2}
    assert extended(ended, history, None, None, None, **asked).trials == 6
    assert extended(ended, history, 8, None, None, **asked).trials == 8
    assert extended(ended, history, None, None, None).trials == 1000


@pytest.mark.parametrize(
    ("finalists", "reseeds", "over"), [(3, 2, True), (2, 2, True), (2, 1, True), (4, 2, False)]
)
def test_means_count_as_soon_as_the_finals_that_were_asked_for_last_are_over(
    path: Path, finalists: int, reseeds: int, over: bool
) -> None:
    journal_of(path, TRIALS)
    repeated(path, *REPEATS)
    with Journal.open(path) as journal:
        journal.append("session", planned=6, slots=1, finalists=finalists, reseeds=reseeds)
        history = journal.history
    assert settled(history, "max") is over
    assert due(history, "max", Finals(finalists, reseeds)) == ([] if over else ["t000"] * 2)


def test_what_ran_again_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = journal_of(tmp_path / "journal.jsonl", [Told()])
    history.sessions.append(replace(history.sessions[-1], finalists=1, reseeds=1))
    asked: list[int] = []

    def counted(records: Sequence[Record]) -> dict[str, list[Record]]:
        asked.append(len(records))
        return repeats(records)

    monkeypatch.setattr(ranking, "repeats", counted)
    assert not ranking.settled(history, "max")
    assert asked == [1]
