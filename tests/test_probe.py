"""Slots that are timed and do not answer are not waited for for ever. Stand-ins are timed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray import exceptions as of_ray

from tests.toy import toy_table
from tuner import probe
from tuner.batches import Rows
from tuner.errors import SearchError
from tuner.forecast import Pace
from tuner.mailbox import Order, Report
from tuner.resources import Layout


class Stands:
    """Two slots, of which one answers the first so many orders only; takes the place of `ray`."""

    exceptions = of_ray

    def __init__(self, answered: int) -> None:
        self.left = answered
        self.killed: list[Any] = []
        self.all = [
            SimpleNamespace(
                run=SimpleNamespace(remote=self.run), close=SimpleNamespace(remote=lambda: None)
            )
            for _ in range(2)
        ]

    def run(self, order: Order) -> tuple[Report, float]:
        done = Report("probe", "end", step=2, total_steps=2, train_seconds=0.1, eval_seconds=0.1)
        return done, 0.3

    def put(self, value: Any) -> None: ...

    def get(self, asked: list[Any], timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "this would wait for ever"
        self.left -= 1
        if self.left < 0:
            raise of_ray.GetTimeoutError("Get timed out")
        return asked

    def kill(self, stand: Any) -> None:
        self.killed.append(stand)


def timed(monkeypatch: pytest.MonkeyPatch, stands: Stands) -> Pace:
    monkeypatch.setattr(probe, "ray", stands)
    monkeypatch.setattr(probe, "_stands", lambda plan, layout: stands.all)
    table = toy_table(60, False, seed=1)
    rows = Rows.of(table)
    given = SimpleNamespace(
        data=SimpleNamespace(train=table, selection=table),
        materials=lambda *of: SimpleNamespace(training_rows=rows, selection_rows=rows, gpus=0.0),
    )
    layout = Layout(slots=2, workers=1, cpus=1.0, gpus=0.0, threads=1)
    return probe.probe(cast(Any, given), layout, {"num_train_epochs": 1}, (8, 32))


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_slot_that_falls_silent_ends_the_probe_and_all_slots_are_ended(
    monkeypatch: pytest.MonkeyPatch, answered: int
) -> None:
    stands = Stands(answered)
    with pytest.raises(SearchError, match=r"said nothing for 15 minutes; .* without --probe"):
        timed(monkeypatch, stands)
    assert stands.killed == stands.all


def test_slots_that_do_not_say_goodbye_are_ended_and_the_pace_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stands = Stands(3)
    assert timed(monkeypatch, stands).trial == pytest.approx(0.1)
    assert stands.killed == stands.all
