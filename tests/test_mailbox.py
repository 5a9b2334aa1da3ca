"""Orders, reports and words come through a mailbox in order, between threads or processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import ray

from tuner.errors import CrewLost
from tuner.mailbox import LocalMailbox, LoopSide, Order, PostOffice, Report

RUNG = Report("t0", "rung", step=1, metrics={"accuracy": 0.5}, loss=0.7, train_loss=0.6)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["local", "post office"])
def box(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "local":
        yield LocalMailbox()
        return
    request.getfixturevalue("cluster")
    office = PostOffice()
    yield office
    office.remove()


def loop(box: LoopSide) -> list[str]:
    """A train loop without training: a rung report for every order, an end where the word is go."""
    taken = []
    while (order := box.next_order(10)) != "exit":
        assert isinstance(order, Order)
        box.send(replace(RUNG, trial=order.trial))
        word = box.next_word(10)
        taken.append(f"{order.trial} {word}")
        if word == "go":
            box.send(Report(order.trial, "end", step=2))
    return taken


def test_a_loop_in_another_thread_or_process_gets_its_orders_and_words(box: Any) -> None:
    taken: list[list[str]] = []
    if isinstance(box, PostOffice):
        remote = ray.remote(num_cpus=0)(loop).remote(box)
    else:
        thread = threading.Thread(target=lambda: taken.append(loop(box)))
        thread.start()
    seen = []
    for trial, word in (("t0", "go"), ("t1", "stop"), ("t2", "go")):
        box.give(Order(trial, {"seed": 1, "learning_rate": 1e-5}))
        seen.append(box.next_report(30))
        box.say(word)
        if word == "go":
            seen.append(box.next_report(30))
    box.close()
    if isinstance(box, PostOffice):
        taken.append(ray.get(remote, timeout=30))
    else:
        thread.join(30)
    assert taken == [["t0 go", "t1 stop", "t2 go"]]
    assert [(report.trial, report.kind) for report in seen] == [
        *(("t0", "rung"), ("t0", "end"), ("t1", "rung"), ("t2", "rung"), ("t2", "end"))
    ]
    assert seen[0] == RUNG


def test_nothing_is_none_and_what_waits_comes_at_once(box: Any) -> None:
    assert box.next_order(0.01) is None
    assert box.next_word(0.01) is None
    assert box.next_report(0.0) is None
    box.send(RUNG)
    assert box.next_report(0.0) == RUNG


def test_closing_stops_a_trial_that_waits_for_its_word(box: Any) -> None:
    box.close()
    assert box.next_word(5) == "stop"
    assert box.next_order(5) == "exit"


def test_a_mailbox_whose_actor_is_gone_says_so(cluster: None) -> None:
    office = PostOffice()
    assert office.next_word(0.0) is None
    office.remove()
    with pytest.raises(CrewLost, match="the mailbox of a slot is gone"):
        office.next_order(1)
