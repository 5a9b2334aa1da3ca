"""Comparisons of trials: what a plain bootstrap over rows says, and readers draw little anew."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.journals import Told, drawn, journal_of, run_trial
from tests.predictions import right_on, told, write_predictions
from tuner import comparer
from tuner.commands.boards import board as leaderboard
from tuner.comparer import Comparer, comparisons_of
from tuner.comparisons import (
    Comparisons,
    kept_comparisons,
    write_comparisons,
)
from tuner.draws import Draws, read_predictions
from tuner.headings import Heading, heading_lines
from tuner.history import Direction, History
from tuner.intervals import RESAMPLES, counts
from tuner.journal import Journal, read_history
from tuner.leaderboard import Row, rows
from tuner.leases import hold
from tuner.ranking import ranked
from tuner.runs import Run, find_run
from tuner.settings import Settings, write_run_file
from tuner.ties import apart
from tuner.upkeep import LeaderboardFiles

ODD = [None, [[1.0]], [["a"]], [None], [b"a"], [[[1.0]]], [{"a": 1}], [True], [[1.0, None]], [[]]]
"""What may stand in a column of a file that no slot wrote."""

ROWS = 300
RANDOM = np.random.default_rng(5)
LABELS = RANDOM.integers(0, 2, ROWS)
BASE = RANDOM.random(ROWS) < 0.8


def differing(gains: int, losses: int) -> np.ndarray:
    """Which rows are right of a trial that is right on `gains` rows more than BASE is, and wrong on
    `losses` rows on which BASE is right."""
    right = BASE.copy()
    right[np.flatnonzero(~BASE)[:gains]] = True
    right[np.flatnonzero(BASE)[:losses]] = False
    return right


TRIALS = {
    "t000": BASE,
    "t001": differing(0, 4),
    "t002": differing(0, 30),
    "t003": differing(3, 4),
    "t004": BASE,
}


def run_of(folder: Path, trials: dict[str, np.ndarray] = TRIALS, **changes: object) -> Run:
    """A run of finished trials with these rows right, and their predictions."""
    run = Run(folder / "run")
    run.folder.mkdir()
    # The later of equal trials has the higher loss.
    listed = [told(right, loss=0.5 + n / 100) for n, right in enumerate(trials.values())]
    journal_of(run.journal_file, listed, **changes)  # type: ignore[arg-type]
    for name, right in trials.items():
        write_predictions(run.predictions_folder, name, right_on(right, LABELS), LABELS)
    return run


def found(run: Run, objective: str = "accuracy", direction: Direction = "max") -> Comparisons:
    return comparisons_of(run, read_history(run.journal_file), objective, direction)


def board(run: Run) -> dict[str, Row]:
    listed = rows(read_history(run.journal_file), "max", found(run))
    return {row.trial: row for row in listed}


@cache
def drawn_rows() -> list[np.ndarray]:
    """The rows of every resample, with those drawn twice twice."""
    blocks = np.concatenate(list(counts(ROWS, RESAMPLES, 0))).astype(int)
    return [np.repeat(np.arange(ROWS), times) for times in blocks]


def apart_by_loops(draws: dict[str, np.ndarray], scores: dict[str, float]) -> set[str]:
    """Who is told from the first trial, by the definition: a resample, a trial at a time."""
    leader, *_ = left = list(draws)
    centred = {name: values - values.mean() for name, values in draws.items()}
    spreads = {(a, b): (centred[a] - centred[b]).std(ddof=1) for a in left for b in left}

    def distance(gap: float, one: str, other: str) -> float:
        return gap / spreads[one, other] if spreads[one, other] > 1e-7 else 0.0

    def beyond(name: str) -> float:
        gap, spread = scores[leader] - scores[name], spreads[leader, name]
        return gap / math.sqrt(spread**2 + gap**2 / ROWS) if gap else 0.0

    while True:
        farthest = []
        for n in range(RESAMPLES):
            best = max(left, key=lambda name: centred[name][n])
            gaps = [distance(centred[best][n] - centred[name][n], best, name) for name in left]
            farthest.append(max(gaps))
        bound = max(1.959964, np.quantile(farthest, 0.95, method="higher")) + 1e-6
        stay = [name for name in left if beyond(name) <= bound]
        if stay == left:
            return set(draws) - set(left)
        left = stay


def test_intervals_and_ties_are_those_of_a_plain_loop_over_resamples(tmp_path: Path) -> None:
    scores = {n: [right[i].mean() for i in drawn_rows()] for n, right in TRIALS.items()}
    listed = board(run_of(tmp_path))
    assert list(listed) == ["t000", "t004", "t003", "t001", "t002"]
    leader = np.array(scores["t000"])
    for name, row in listed.items():
        own = np.array(scores[name])
        assert row.objective_se == pytest.approx(own.std(ddof=1), abs=1e-6)
        low, high = np.quantile(own, [0.025, 0.975])
        assert (row.objective_low, row.objective_high) == pytest.approx((low, high), abs=1e-6)
        assert low < TRIALS[name].mean() < high
        if name != "t000":
            worse = (own < leader).mean() + (own == leader).mean() / 2
            assert row.worse == pytest.approx(worse, abs=1e-9)
    values = {name: np.array(scores[name]) for name in listed}
    told = apart_by_loops(values, {name: TRIALS[name].mean() for name in listed})
    assert told == {"t002"}
    assert {name for name, row in listed.items() if row.tied is False} == {"t000", *told}
    assert (listed["t000"].worse, listed["t000"].tied) == (None, False)
    assert listed["t004"].worse == 0.5, "it answers as the leader does"


@pytest.mark.parametrize(
    ("gains", "losses", "tied"),
    [(0, 3, True), (0, 7, False), (5, 7, True), (3, 4, True), (10, 30, False), (20, 28, True)],
)
def test_which_two_trials_are_tied_in_accuracy_is_what_mcnemars_exact_test_says(
    tmp_path: Path, gains: int, losses: int, tied: bool
) -> None:
    # Of the rows on which the two differ; the outcome itself counts half (mid-p).
    rows_ = gains + losses
    chances = [math.comb(rows_, n) / 2**rows_ for n in range(losses, rows_ + 1)]
    mid = sum(chances) - chances[0] / 2
    run = run_of(tmp_path, {"t000": BASE, "t001": differing(gains, losses)})
    row = board(run)["t001"]
    assert row.worse == pytest.approx(1 - mid, abs=0.06)
    # The leader is the better of the two, whichever that is: two-sided.
    assert row.tied == tied == (2 * mid >= 0.05)


def searches(trials: int, times: int, shares: np.ndarray) -> Iterator[np.ndarray]:
    """Who is told from the leader in each of so many searches of trials that are right on these
    shares of all rows there are: one and the same easy rows for all, and luck."""
    random, rows_ = np.random.default_rng(1), 100
    drawn = np.concatenate(list(counts(rows_, 400, 0))) / rows_
    bounds = np.array([NormalDist().inv_cdf(share) for share in shares])
    for _ in range(times):
        hard = random.normal(size=(rows_, 1))
        right = 0.8 * hard + 0.6 * random.normal(size=(rows_, trials)) < bounds
        scores = right.mean(axis=0)
        draws = np.asarray((drawn @ right).T, np.float32)
        yield apart(draws, scores, rows_, int(scores.argmax()))


def test_of_ten_equal_trials_one_is_told_from_the_leader_in_few_searches() -> None:
    told = [found.any() for found in searches(10, 200, np.full(10, 0.8))]
    # 5 % are promised; by twos, without a correction, it were 85 %.
    assert np.mean(told) < 0.10


def test_trials_that_are_clearly_worse_are_told_and_the_others_stay_tied() -> None:
    shares = np.array([0.8] * 5 + [0.5] * 5)
    told = list(searches(10, 50, shares))
    assert np.mean([found[5:] for found in told]) > 0.9
    assert np.mean([found[:5].any() for found in told]) < 0.10


def test_scores_that_no_resample_moves_are_told_apart_by_how_far_they_are_apart() -> None:
    """A Matthews of 1.0, and that of always the same answer."""
    still = np.array([[1.0], [0.0], [1.0]], np.float32).repeat(RESAMPLES, axis=1)
    assert apart(still, still[:, 0], ROWS).tolist() == [False, True, False]
    assert not apart(still, still[:, 0], 3).any()


def test_a_leader_that_is_clearly_better_is_told_from_all_others() -> None:
    told = list(searches(10, 50, np.array([0.95] + [0.75] * 9)))
    assert np.mean([found[1:] for found in told]) > 0.9


def test_one_that_is_unlike_the_others_does_not_blur_them() -> None:
    # Two alike, of which one is right on 12 rows more; and one that guesses.
    random = np.random.default_rng(2)
    right = np.stack([BASE, differing(0, 12), random.random(ROWS) < BASE.mean() - 0.05], axis=1)
    drawn = np.concatenate(list(counts(ROWS, 400, 0))) / ROWS
    told = apart(np.asarray((drawn @ right).T, np.float32), right.mean(axis=0), ROWS)
    assert told.tolist() == [False, True, False]


def test_another_metric_and_a_direction_are_heeded(tmp_path: Path) -> None:
    run = Run(tmp_path)
    labels = RANDOM.normal(size=ROWS)
    logits = {f"t{n:03d}": labels + RANDOM.normal(size=ROWS) * (1 + n / 4) for n in range(3)}
    everything = np.arange(ROWS)

    def rmse(name: str, which: np.ndarray) -> float:
        return float(np.sqrt(np.mean((logits[name][which] - labels[which]) ** 2)))

    values = {name: rmse(name, everything) for name in logits}
    journal_of(run.journal_file, [Told(values=(3.0, 3.0, value)) for value in values.values()])
    for name, said in logits.items():
        write_predictions(run.predictions_folder, name, said[:, None], labels)
    history = read_history(run.journal_file)
    listed = rows(history, "min", comparisons_of(run, history, "rmse", "min"))
    assert [row.trial for row in listed] == ["t000", "t001", "t002"]
    for row in listed[1:]:
        worse = np.mean([rmse("t000", i) < rmse(row.trial, i) for i in drawn_rows()])
        assert row.worse == pytest.approx(worse, abs=1e-3)
    assert listed[2].tied is False


def test_what_cannot_be_read_is_not_known_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    before = board(run)
    folder = run.predictions_folder
    half = (folder / "t001.parquet").read_bytes()
    (folder / "t001.parquet").write_bytes(half[: len(half) // 2])
    (folder / "t003.parquet").unlink()
    (folder / "t004.parquet").write_bytes(b"")
    run.comparisons_file.unlink()
    listed = board(run)
    for name in ("t001", "t003", "t004"):
        row = listed[name]
        assert (row.objective_se, row.objective_low, row.worse, row.tied) == (None,) * 4
        assert row.objective == before[name].objective
    assert listed["t002"] == before["t002"]
    (folder / "t000.parquet").unlink()
    run.comparisons_file.unlink()
    row = board(run)["t002"]
    assert (row.objective_se, row.worse) == (before["t002"].objective_se, None)


@pytest.mark.parametrize("logits", ODD, ids=str)
def test_a_file_of_anything_else_is_damaged_or_does_not_fit(logits: list[object] | None) -> None:
    for labels in ([1], [None], ["a"], [[1]], [{"a": 1}], [math.nan], [2**40], [-1]):
        for ids in ([0], [None], ["a"], [[0]], [0.5]):
            columns = {
                "row": ids,
                "label": labels,
                **({} if logits is None else {"logits": logits}),
            }
            content = io.BytesIO()
            pq.write_table(pa.table(columns), content)
            said = read_predictions(content.getvalue())
            for objective in ("accuracy", "matthews_correlation", "rmse", "spearman"):
                draws = Draws(objective, 5)
                draws.take({} if said is None else {"t000": said})
                if "t000" in draws:
                    assert np.isfinite(draws.of("t000")).all()


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        ("leader", 3),
        ("seeds", {"t000": "t001"}),
        ("seeds", []),
        ("unread", {"t000": "many"}),
        ("unread", None),
        ("undrawn", None),
        ("undrawn", [3]),
        ("trials", ["t000"]),
        ("trials", {"t000": None}),
        ("trials", {"t000": {"se": "0.1", "low": 0.1, "high": 0.2, "worse": None, "tied": None}}),
        ("trials", {"t000": {"se": 0.1, "low": 0.1, "high": True, "worse": None, "tied": None}}),
        ("trials", {"t000": {"se": 0.1, "low": 0.1, "high": 0.2, "worse": [], "tied": None}}),
        ("trials", {"t000": {"se": 0.1, "low": 0.1, "high": 0.2, "worse": 0.5, "tied": "no"}}),
        ("trials", {"t000": {"se": math.nan, "low": 0.1, "high": 0.2}}),
        ("trials", {"t000": {"se": 0.1, "low": 0.1, "high": 0.2, "more": 1}}),
    ],
)
def test_a_file_of_comparisons_with_odd_values_is_not_used_and_a_line_says_so(
    tmp_path: Path, part: str, odd: object
) -> None:
    run = Run(tmp_path)
    parts = {"objective": "accuracy", "leader": None, "seeds": {}, "unread": {}, "trials": {}}
    run.comparisons_file.write_text(json.dumps(parts))
    assert kept_comparisons(run, "accuracy").trouble is None
    run.comparisons_file.write_text(json.dumps({**parts, part: odd}))
    kept = kept_comparisons(run, "accuracy")
    assert kept == Comparisons("accuracy")
    assert (kept.trouble or "").startswith("comparisons.json is damaged (")


def test_a_damaged_file_of_comparisons_is_told_of_once_and_made_anew(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    for content in ('{"objective": "accuracy", "lea', "[1]", '"accuracy"', "{}"):
        run.comparisons_file.write_text(content)
        text = leaderboard(run, "table", None)
        assert text.count("Not whole: comparisons.json is damaged (") == 1
        assert "t000 cannot be told from" in text
        assert "json is damaged" not in leaderboard(run, "table", None)


@pytest.mark.parametrize("what", ["rows", "labels", "fewer"])
def test_trials_that_scored_other_rows_are_not_paired(tmp_path: Path, what: str) -> None:
    run = run_of(tmp_path)
    ids, labels, right = np.arange(ROWS), LABELS.copy(), TRIALS["t001"]
    if what == "rows":
        ids = ids + 1
    elif what == "labels":
        labels[0] = 1 - labels[0]
    else:
        ids, labels, right = ids[1:], labels[1:], right[1:]
    write_predictions(run.predictions_folder, "t001", right_on(right, labels), labels, ids)
    row = board(run)["t001"]
    assert row.objective_se is not None
    assert (row.worse, row.tied) == (None, None)


def reseeded(folder: Path) -> tuple[Run, History]:
    """Two configurations under three seeds each (one of the six failed), and one under one."""
    run = run_of(folder, {name: TRIALS[name] for name in ("t000", "t001", "t002")})
    again = {
        "t003": ("t000", differing(0, 10)),
        "t004": ("t001", differing(6, 4)),
        "t005": ("t000", differing(0, 20)),
        "t006": ("t001", differing(1, 9)),
        "t007": ("t001", None),
    }
    with Journal.open(run.journal_file) as journal:
        for number, (name, (of, right)) in enumerate(again.items(), start=3):
            configuration = {**Told().configuration, "seed": number}
            journal.append(
                "drawn", trial=name, number=number, configuration=configuration, reseed_of=of
            )
            run_trial(journal, name, Told("failed", ()) if right is None else told(right))
            if right is not None:
                write_predictions(run.predictions_folder, name, right_on(right, LABELS), LABELS)
    return run, read_history(run.journal_file)


def test_of_several_seeds_the_means_are_compared_and_the_seeds_noise_counts(
    tmp_path: Path,
) -> None:
    run, _ = reseeded(tmp_path)
    listed = board(run)
    assert list(listed) == ["t001", "t004", "t006", "t007", "t000", "t003", "t005", "t002"]
    assert [row.rank for row in listed.values()] == [1, None, None, None, 2, None, None, 3]
    first = [TRIALS["t001"], differing(6, 4), differing(1, 9)]
    second = [TRIALS["t000"], differing(0, 10), differing(0, 20)]
    means = [np.mean([right.mean() for right in group]) for group in (first, second)]
    sds = [np.std([right.mean() for right in group], ddof=1) for group in (first, second)]
    for row, mean, sd in zip((listed["t001"], listed["t000"]), means, sds, strict=True):
        assert (row.objective_mean, row.objective_sd) == pytest.approx((mean, sd))
        assert row.seeds == 3
    assert (listed["t002"].objective_mean, listed["t002"].seeds) == (None, 1)
    pooled = (sds[0] ** 2 + sds[1] ** 2) / 2
    for name, group in (("t000", second), ("t002", [TRIALS["t002"]])):
        noise = math.sqrt(pooled * (1 / 3 + 1 / len(group)))
        ahead = [
            np.mean([right[i].mean() for right in first])
            - np.mean([right[i].mean() for right in group])
            for i in drawn_rows()
        ]
        normal = NormalDist(0, noise)
        assert listed[name].worse == pytest.approx(np.mean([normal.cdf(d) for d in ahead]), 1e-5)
    for name in ("t003", "t004"):
        assert listed[name].objective_se is not None
        assert (listed[name].worse, listed[name].tied) == (None, None)
    assert listed["t003"].reseed_of == "t000"
    (run.predictions_folder / "t006.parquet").unlink()
    run.comparisons_file.unlink()
    assert board(run)["t000"].worse is None, "a mean of which a part is missing is no mean"


def test_what_was_kept_is_taken_and_where_a_trial_is_missing_all_are_compared_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path)
    whole = found(run)
    write_comparisons(run, whole)
    assert kept_comparisons(run, "accuracy") == whole
    assert kept_comparisons(run, "f1") == Comparisons("f1")
    read: list[str] = []
    content = Path.read_bytes

    def watched(path: Path) -> bytes:
        if path.suffix == ".parquet":
            read.append(path.stem)
        return content(path)

    monkeypatch.setattr(Path, "read_bytes", watched)
    assert found(run) == whole
    assert read == []
    write_comparisons(run, replace(whole, of={n: whole.of[n] for n in list(whole.of)[:4]}))
    assert found(run) == whole, "who is tied depends on all of them"
    assert sorted(read) == sorted(TRIALS)
    # Who leads has changed since: all is drawn anew.
    write_comparisons(run, replace(whole, leader="t003"))
    assert found(run) == whole
    damaged = run.comparisons_file.read_bytes()
    run.comparisons_file.write_bytes(damaged[: len(damaged) // 2])
    assert found(run) == whole


def test_what_a_reader_drew_the_next_one_finds(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    first = board(run)
    shutil.rmtree(run.predictions_folder)
    assert board(run) == first


def test_of_many_trials_a_reader_compares_the_best_and_the_others_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, best = run_of(tmp_path), {"t000", "t003", "t004"}
    monkeypatch.setattr(comparer, "FEW", 3)
    assert found(run).of.keys() == best == kept_comparisons(run, "accuracy").of.keys()
    whole = Comparer(run, "accuracy", "max").update(read_history(run.journal_file))
    write_comparisons(run, replace(whole, of={n: o for n, o in whole.of.items() if n != "t003"}))
    again = found(run)
    assert again.of.keys() == set(TRIALS)
    assert (again.of["t001"], again.of["t002"]) == (whole.of["t001"], whole.of["t002"])
    # Who leads has changed: of the others their own errors are known.
    write_comparisons(run, replace(whole, leader="t001"))
    again = found(run)
    assert again.of["t001"] == replace(whole.of["t001"], worse=None, tied=None)
    assert again.of["t004"] == whole.of["t004"]
    assert kept_comparisons(run, "accuracy") == again


def test_a_driver_compares_the_trials_that_a_reader_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path)
    history, whole = read_history(run.journal_file), found(run)
    older = json.loads(run.comparisons_file.read_text())
    write_comparisons(run, replace(whole, leader="t003"))  # as before t000 had finished
    monkeypatch.setattr(comparer, "FEW", 2)
    cut = found(run)
    assert cut.undrawn == {"t001", "t002", "t003"}
    assert {cut.of[name].tied for name in cut.undrawn} == {None}
    assert kept_comparisons(run, "accuracy") == cut
    entrants = ranked(history, "max")
    assert (cut.covers(entrants, 2), cut.covers(entrants)) == (True, False)
    assert comparisons_of(run, history, "accuracy", "max", fetch=True) == whole
    # A file without them may be such a one.
    del older["undrawn"]
    run.comparisons_file.write_text(json.dumps(older))
    assert not kept_comparisons(run, "accuracy").covers(entrants)
    assert found(run).of == whole.of


def test_what_was_known_of_trials_stays_where_their_predictions_are_gone(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    history, whole = read_history(run.journal_file), found(run)
    folder = run.predictions_folder
    (folder / "t002.parquet").unlink()
    (folder / "t003.parquet").write_bytes(b"other")
    some = Comparer(run, "accuracy", "max").update(history)
    assert some.unread == {"t002": 0, "t003": 5}
    assert some.of.keys() == {"t000", "t001", "t002", "t004"}
    assert some.of["t002"] == whole.alone.of["t002"], "the others were compared without it"
    shutil.rmtree(folder)
    none = Comparer(run, "accuracy", "max").update(history)
    assert none == replace(whole, unread=dict.fromkeys(TRIALS, 0))
    assert none.covers(ranked(history, "max"))
    write_comparisons(run, replace(whole, leader="t003"))
    assert Comparer(run, "accuracy", "max").update(history).of == whole.alone.of


def test_where_nothing_can_be_written_a_reader_says_the_same(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.comparisons_file.mkdir()  # as root, nothing else cannot be written
    first = found(run)
    assert run.comparisons_file.is_dir()
    run.comparisons_file.rmdir()
    assert found(run) == first


def test_where_a_driver_is_at_the_run_a_reader_draws_nothing(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    with hold(run):
        assert found(run) == Comparisons("accuracy")
        assert not run.comparisons_file.exists()
    assert found(run).leader == "t000"


def test_predictions_that_come_late_are_compared_once_they_are_there(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    whole = found(run)
    run.comparisons_file.unlink()
    file = run.predictions_folder / "t003.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:99])
    (run.predictions_folder / "t004.parquet").rename(tmp_path / "late")
    driver, history = Comparer(run, "accuracy", "max"), read_history(run.journal_file)
    for lacking in (found(run), driver.update(history)):
        assert lacking.unread == {"t003": 99, "t004": 0}
        assert lacking.of.keys() == {"t000", "t001", "t002"}
    file.write_bytes(content)
    (tmp_path / "late").rename(run.predictions_folder / "t004.parquet")
    assert found(run) == driver.update(history) == whole == kept_comparisons(run, "accuracy")


def test_thousands_of_trials_are_read_in_parts_and_a_driver_may_stop_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path)
    history, asked = read_history(run.journal_file), iter([False, False, True])
    monkeypatch.setattr(comparer, "_SLICE", 2)
    driver = Comparer(run, "accuracy", "max")
    part = driver.update(history, stop=lambda: next(asked))
    assert list(part.of) == ["t000", "t004", "t003", "t001"], "the best come first"
    assert driver.update(history, most=2).of == part.of
    whole = driver.update(history)
    assert whole == found(run)
    # A driver that is interrupted before it has drawn for all leaves the rest as it was.
    left = Comparer(run, "accuracy", "max").update(history, most=2)
    assert left == replace(whole, undrawn=frozenset({"t001", "t002", "t003"}))


def test_what_goes_wrong_in_comparing_ends_no_search_and_is_said_once(tmp_path: Path) -> None:
    run, notes = Run(tmp_path), list[str]()
    files = LeaderboardFiles(run, "max", "nosuch", every=0.001, note=notes.append)
    with Journal.open(run.journal_file) as journal:
        journal.append("session", planned=2, slots=1)
        for number in range(2):
            name = drawn(journal, number)
            write_predictions(run.predictions_folder, name, right_on(BASE, LABELS), LABELS)
            run_trial(journal, name, Told())
            files.event("finished", journal.history.records[name], journal.history)
        files.search_ended("complete")
    (note,) = notes
    assert note.startswith("trials cannot be compared: there is no metric 'nosuch'")
    assert json.loads(run.leaderboard_file("json").read_text())[0]["rank"] == 1


def test_a_leader_that_has_changed_leaves_nobody_tied_with_the_old_one(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    listed = rows(read_history(run.journal_file), "max", replace(found(run), leader="t003"))
    assert {row.worse for row in listed} == {None}
    assert all(row.objective_se is not None for row in listed)


def test_the_driver_keeps_what_a_reader_would_find(tmp_path: Path) -> None:
    source = run_of(tmp_path)
    run = Run(tmp_path / "driven")
    run.folder.mkdir()
    files = LeaderboardFiles(run, "max", "accuracy", every=0.01)
    with Journal.open(run.journal_file) as journal:
        journal.append("session", planned=len(TRIALS), slots=1)
        for number, (name, right) in enumerate(TRIALS.items()):
            said = told(right, loss=0.5 + number / 100)
            drawn(journal, number, said)
            write_predictions(run.predictions_folder, name, right_on(right, LABELS), LABELS)
            run_trial(journal, name, said)
            files.event("finished", journal.history.records[name], journal.history)
    files.search_ended("complete")
    assert kept_comparisons(run, "accuracy") == found(source)
    listed = json.loads(run.leaderboard_file("json").read_text())
    assert [row["tied"] for row in listed] == [row.tied for row in board(source).values()]
    names = ("objective_se", "objective_low", "objective_high", "worse")
    assert all(len(str(row[name])) <= 9 for row in listed for name in names), "no 0.80199998617"


def test_ranks_and_ties_do_not_depend_on_the_order_in_which_trials_ended(tmp_path: Path) -> None:
    expected = list(board(run_of(tmp_path)).values())
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        order = np.random.default_rng(seed).permutation(len(TRIALS)).tolist()
        assert list(board(run_of(folder, order=order)).values()) == expected


def stored(folder: Path, run: Run) -> Run:
    """A reader's view of the run after it was put into a store."""
    shutil.copytree(run.folder, folder / "store" / run.name)
    return find_run(f"file://{folder}/store", run.name)


def test_of_a_run_in_a_store_a_reader_brings_down_the_comparisons_and_no_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    run = run_of(tmp_path)
    expected = found(run)
    write_comparisons(run, expected)
    reader = stored(tmp_path, run)
    assert found(reader) == expected
    assert not reader.predictions_folder.exists()
    # Who leads has changed since: the errors stay, and the reader fetches nothing for the rest.
    kept = tmp_path / "store" / run.name / "comparisons.json"
    kept.write_text(kept.read_text().replace('"leader": "t000"', '"leader": "t003"'))
    listed = board(reader)
    assert {row.worse for row in listed.values()} == {None}
    assert listed["t001"].objective_se == expected.of["t001"].se
    # A driver does, and a store that lacks the file has nothing to tell a reader.
    history = read_history(reader.journal_file)
    assert comparisons_of(reader, history, "accuracy", "max", fetch=True) == expected
    kept.unlink()
    assert found(reader) == Comparisons("accuracy")
    assert comparisons_of(reader, history, "accuracy", "max", fetch=True) == expected


def test_a_killed_run_shows_what_is_whole_and_says_what_is_not(tmp_path: Path) -> None:
    run = run_of(tmp_path, planned=9, reason=None)
    write_run_file(run, Settings(task="rte", trials=9), {"data": {"selection_rows": ROWS}})
    with run.journal_file.open("a") as file:
        file.write('{"event":"drawn","trial":"t005","num')
    half = (run.predictions_folder / "t003.parquet").read_bytes()
    (run.predictions_folder / "t003.parquet").write_bytes(half[: len(half) // 2])
    for form in ("table", "md"):
        text = leaderboard(run, form, None)
        assert "5 of 9 trials done (5 finished)" in text
        assert "was cut short (its driver is gone)" in text
        how = "paired bootstrap over 300 rows, 95 % for all 4 at once"
        assert f"t000 cannot be told from t004, t001 ({how}); 1 was not compared" in text
        assert "how sure the scores of t003 are is not known" in text
        assert "300 held-out rows of the training split, which choose the winner" in text
        assert "The final score is on other rows, which play no part in this." in text
        assert all(f"t00{n}" in text for n in range(5))


def lines_of(run: Run) -> list[str]:
    return heading_lines(list(board(run).values()), Heading(selection_rows=ROWS))


def test_a_leader_ahead_of_all_others_is_called_that(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"t000": BASE, "t001": differing(0, 30)})
    said = "t000 is ahead of every other finished trial (paired bootstrap over 300 rows, 95 %)"
    assert said in lines_of(run)


def test_what_was_not_compared_is_not_called_behind(tmp_path: Path) -> None:
    trials = {"t000": BASE, "t001": differing(0, 30), "t002": differing(0, 20), "t003": BASE}
    run = run_of(tmp_path, trials)
    (run.predictions_folder / "t003.parquet").unlink()
    how = "(paired bootstrap over 300 rows, 95 % for all 3 at once); 1 was not compared"
    assert f"t000 is ahead of 2 of 3 other finished trials {how}" in lines_of(run)
    (run.predictions_folder / "t002.parquet").unlink()
    write_predictions(run.predictions_folder, "t003", right_on(BASE, LABELS), LABELS)
    run.comparisons_file.unlink()
    how = "(paired bootstrap over 300 rows, 95 % for all 3 at once); 1 was not compared"
    assert f"t000 cannot be told from t003 {how}" in lines_of(run)


def test_a_single_score_above_a_mean_over_seeds_is_not_called_behind(tmp_path: Path) -> None:
    first, second = board(run_of(tmp_path, {"t000": BASE, "t001": differing(0, 30)})).values()
    first = replace(first, seeds=3)
    above = [first, replace(second, worse=0.01, tied=False)]
    said = "ahead of every other finished trial but t001, which scored more under one seed"
    assert said in " ".join(heading_lines(above, Heading(selection_rows=ROWS)))
