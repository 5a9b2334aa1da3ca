"""Counts of rows: plain lines now and then, and a bar on a terminal."""

from __future__ import annotations

import io

import pytest

from tuner.meter import Meter, progress, rate, took


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_it_is_a_line_a_stage_and_a_line_now_and_then() -> None:
    stream = io.StringIO()
    with Meter(stream, every=0) as meter:
        meter.stage("loading the model")
        advance = meter.counting("predicting", 2000)
        advance(500)
        advance(1500)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["loading the model", "predicting"]
    assert lines[2].startswith("predicting: 500 of 2,000 rows")
    assert lines[3].startswith("predicting: 2,000 of 2,000 rows")
    quiet = io.StringIO()
    with Meter(quiet) as meter:
        advance = meter.counting("predicting", 2000)
        for _ in range(2000):
            advance(1)
    assert quiet.getvalue() == "predicting\n"


def test_progress_tells_rows_their_rate_and_the_time_left() -> None:
    assert progress(1200, 50_000, 3) == "1,200 of 50,000 rows, 400 rows/s, about 2 min left"
    assert progress(50, 50, 100) == "50 of 50 rows, 0.5 rows/s"
    assert progress(0, 50, 0) == "0 of 50 rows"
    assert rate(1234, 1) == "1,234 rows/s"
    assert took(1, 0.5) == "1 row in 0.5 s, 2 rows/s"


def test_on_a_terminal_it_is_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Meter(stream) as meter:
        meter.stage("loading the model")
        advance = meter.counting("predicting", 10)
        advance(4)
        advance(6)
    shown = stream.getvalue()
    assert "predicting" in shown
    assert shown.rstrip().endswith("\x1b[2K"), "the last thing it does is to clear its line"


def test_a_stream_that_is_gone_ends_nothing() -> None:
    stream = io.StringIO()
    with Meter(stream, every=0) as meter:
        stream.close()
        meter.stage("loading")
        meter.counting("predicting", 3)(3)
