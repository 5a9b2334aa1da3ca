"""How long a crew's end is waited for. A stand-in trains in the place of Train's run."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tuner import crews
from tuner.crews import Crew, CrewPlan
from tuner.errors import CrewLost
from tuner.mailbox import LocalMailbox, Order, Report


def crew_that(fit: Any, monkeypatch: pytest.MonkeyPatch) -> Crew:
    monkeypatch.setattr(crews, "_HURRY", 0.2)
    monkeypatch.setattr(Crew, "_trainer", lambda self: SimpleNamespace(fit=lambda: fit(self._box)))
    return Crew(CrewPlan(cast(Any, (None,)), workers=1, cpus=1.0, gpus=0.0))


def closed_in(crew: Crew) -> float:
    began = time.monotonic()
    crew.close()
    return time.monotonic() - began


def test_a_trial_that_nobody_waits_for_any_more_is_hardly_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard, never = list[str](), threading.Event()

    def fit(box: LocalMailbox) -> None:
        box.next_order(5.0)
        box.send(Report("t0", "tick"))
        never.wait(2.0)
        try:
            box.send(Report("t0", "tick"))
        except CrewLost as error:
            heard.append(str(error))

    crew = crew_that(fit, monkeypatch)
    crew.give(Order("t0", {}))
    assert crew.next_report().kind == "tick"
    assert closed_in(crew) < 1.0
    never.set()
    crew._thread.join(5.0)
    assert heard == ["nobody waits for this trial any more"]


@pytest.mark.parametrize("kind", ["end", "failed", "unsaved"])
def test_a_loop_that_has_nothing_to_do_is_given_its_time(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    ended = []

    def fit(box: LocalMailbox) -> None:
        box.next_order(5.0)
        box.send(Report("t0", kind))
        assert box.next_order(5.0) == "exit"
        time.sleep(0.5)  # longer than a hurry
        ended.append(kind)

    crew = crew_that(fit, monkeypatch)
    crew.give(Order("t0", {}))
    assert crew.next_report().kind == kind
    crew.close()
    assert ended == [kind]


def test_so_is_one_that_was_told_to_leave_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Any] = []

    def fit(box: LocalMailbox) -> None:
        box.next_order(5.0)
        box.send(Report("t0", "rung"))
        left.append(box.next_word(5.0))
        time.sleep(0.5)
        left.append("checkpoint written")

    crew = crew_that(fit, monkeypatch)
    crew.give(Order("t0", {}))
    crew.next_report()
    crew.say("leave")
    crew.close()
    assert left == ["leave", "checkpoint written"]
