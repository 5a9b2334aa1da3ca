"""Counts of rows, as a watcher hears of them."""

from __future__ import annotations

import io
import time

import pytest

from tuner.meter import counting, rate, took
from tuner.progress import Lines, Silent


def test_a_count_is_a_stage_with_lines_now_and_then() -> None:
    stream = io.StringIO()
    with Lines(stream, tick_every=0) as watcher:
        watcher.stage("loading the model")
        advance = counting(watcher, "predicting", 2000)
        advance(500)
        advance(1500)
    assert stream.getvalue().splitlines() == [
        "loading the model",
        "predicting",
        "row 500 of 2,000 (25 %)",
        "row 2,000 of 2,000 (100 %)",
    ]
    quiet = io.StringIO()
    with Lines(quiet) as watcher:
        advance = counting(watcher, "predicting", 2000)
        for _ in range(2000):
            advance(1)
    assert quiet.getvalue() == "predicting\n"


def test_the_time_left_goes_by_the_rows_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, int, float | None, str]] = []
    clock = [0.0]

    class Hearing(Silent):
        def tick(self, step: int, total: int, left: float | None, unit: str = "step") -> None:
            heard.append((step, total, left, unit))

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    advance = counting(Hearing(), "predicting", 100)
    for clock[0], rows in ((0.1, 1), (10.0, 24), (40.0, 75)):
        advance(rows)
    assert heard == [(1, 100, None, "row"), (25, 100, 30.0, "row"), (100, 100, 0.0, "row")]


def test_what_was_counted_is_told_with_its_rate() -> None:
    assert rate(1234, 1) == "1,234 rows/s"
    assert rate(1, 2) == "0.5 rows/s"
    assert took(1, 0.5) == "1 row in 0.5 s, 2 rows/s"
