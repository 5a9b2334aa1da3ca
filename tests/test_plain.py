"""A training without a search, by its book: what ends it, and what resuming it finds. A stand-in
trains; ledger and journal are real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tuner import hosts, plain
from tuner.errors import CrewLost, SearchError, TunerError, Unwritable
from tuner.journal import Journal, Record, read_history
from tuner.ledger import Ledger
from tuner.mailbox import Order, Report
from tuner.plain import train_alone
from tuner.progress import Silent
from tuner.retrain import Trained
from tuner.runs import Run
from tuner.scheduler import Judge
from tuner.settings import Settings

GIVEN = {"num_train_epochs": 3, "per_device_train_batch_size": 16, "seed": 1}


class Draw:
    """The one configuration."""

    def draw(self) -> tuple[str, dict[str, Any], bool]:
        return "t000", GIVEN, True

    def tell(self, record: Record) -> None: ...


class Saying(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def score(epoch: int, kind: Any = "rung") -> Report:
    """The report at the end of an epoch that took ten seconds to train and one to score."""
    return Report(
        "t000",
        kind,
        epoch,
        10 * epoch,
        30,
        {"accuracy": 0.5},
        loss=0.5,
        train_seconds=10.0 * epoch,
        eval_seconds=1.0 * epoch,
    )


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Drive the training of the run in `tmp_path` with `trained` in place of the real one."""
    monkeypatch.setattr(hosts, "alive", lambda: ())
    monkeypatch.setattr(plain, "spread_over", lambda nodes, given: SimpleNamespace(workers=1))

    def go(trained: Callable[..., Any], watcher: Any = None, **settings: Any) -> Any:
        monkeypatch.setattr(plain, "train", trained)
        table = SimpleNamespace(num_rows=10)
        given = SimpleNamespace(
            settings=Settings(task="rte", **settings),
            data=SimpleNamespace(full_train=table, validation=table),
            materials=lambda *of: None,
        )
        run = Run(tmp_path)
        with Journal.open(run.journal_file) as journal:
            ledger = Ledger(
                journal,
                cast(Any, Draw()),
                Judge(1, "max", asha=False),
                (),
                objective="accuracy",
                direction="max",
                planned=1,
                slots=1,
                seconds=None,
                attempts=float("inf"),
            )
            found = train_alone(
                ledger, run, cast(Any, given), (), tmp_path, watcher or Silent(), lambda: None
            )
            ledger.close()
            return found

    return go


def raising(error: Exception) -> Callable[..., Any]:
    def train(*of: Any, **more: Any) -> Any:
        raise error

    return train


def ended(*of: Any, **more: Any) -> Trained:
    return Trained(Path("model"), score(3, "end"))


@pytest.mark.parametrize("settings", [{}, {"max_failures": 0}])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unwritable("model cannot be written (full); tuner resume it"), "model cannot be written"),
        (CrewLost("the run's store fails this host"), r"store fails.*tuner logs \S+ t000"),
    ],
)
def test_a_disk_or_a_store_that_takes_no_model_leaves_the_training_to_be_resumed(
    go: Callable[..., Any], tmp_path: Path, error: TunerError, said: str, settings: dict[str, Any]
) -> None:
    with pytest.raises((SearchError, Unwritable), match=said) as caught:
        go(raising(error), **settings)
    assert "tuner resume " in str(caught.value)
    assert "RUN" not in str(caught.value)
    history = read_history(Run(tmp_path).journal_file)
    assert history.reason == "lost"
    assert not history.records["t000"].done
    assert go(ended) is not None
    assert read_history(Run(tmp_path).journal_file).records["t000"].status == "finished"


def test_on_hosts_of_a_cluster_it_begins_again_as_often_as_max_failures_says(
    go: Callable[..., Any], tmp_path: Path
) -> None:
    begun: list[Order] = []

    def train(materials: Any, order: Order, *of: Any, **more: Any) -> Any:
        begun.append(order)
        raise CrewLost("its host is gone")

    with pytest.raises(SearchError, match="its host is gone"):
        go(train, address="auto", max_failures=2)
    assert len(begun) == 3
    assert not read_history(Run(tmp_path).journal_file).records["t000"].done


def test_an_epoch_shows_its_own_time_after_a_resume_too(
    go: Callable[..., Any], tmp_path: Path
) -> None:
    def cut_off(*of: Any, hear: Callable[[Report], None], **more: Any) -> Any:
        hear(score(1))
        hear(score(2))
        raise KeyboardInterrupt

    def again(*of: Any, hear: Callable[[Report], None], **more: Any) -> Any:
        hear(score(2))  # its checkpoint was written within the second epoch
        return Trained(Path("model"), score(3, "end"))

    first, then = Saying(), Saying()
    assert go(cut_off, first) is None
    go(again, then)
    assert [line.split(":")[0] for line in (*first.lines, *then.lines)] == [
        f"epoch {number} of 3" for number in (1, 2, 2, 3)
    ]
    for line in (*first.lines, *then.lines):
        assert line.endswith("; 10 s training, 1 s scoring"), line
