"""Trials whose checkpoints, predictions and models lie in a store: the real Trainer, a real S3."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.buckets import Buckets
from tests.test_bench import CONFIGURATION, run, saying
from tests.toy import go, numbers, toy_materials
from tuner.bench import Bench
from tuner.checkpoints import newest, note_bound, noted_bound, sweep
from tuner.errors import CrewLost
from tuner.mailbox import Order, Report
from tuner.progress import Silent
from tuner.stores import open_store

CHANGES: dict[str, Any] = {"num_train_epochs": 3, "lr_scheduler_type": "cosine"}


@pytest.fixture
def storage(service: Buckets) -> str:
    return f"{service.make()}/runs/r"


@pytest.fixture(scope="module")
def bench() -> Bench:
    """A bench with dropout, so that the state of the generators counts."""
    return Bench(toy_materials(dropout=0.1))


def interrupted(bench: Bench, checkpoints: str, *, rungs: int) -> list[Report]:
    """The reports of a trial that is interrupted at a rung."""
    reports: list[Report] = []
    order = Order("t0", {**CONFIGURATION, **CHANGES}, checkpoints=checkpoints, checkpoint_every=0.0)
    with pytest.raises(KeyboardInterrupt):
        bench.run(order, reports.append, saying(*["go"] * (rungs - 1)))
    return reports


def test_a_trial_resumes_from_a_checkpoint_in_a_store_bit_for_bit(
    bench: Bench, storage: str
) -> None:
    through = run(bench, configuration=CHANGES)
    kept, store = f"{storage}/checkpoints/t0", open_store(f"{storage}/checkpoints")
    before = interrupted(bench, kept, rungs=1)
    found = newest(kept)
    assert found is not None
    assert found[1].step == before[-1].step - 1
    assert store.folders("t0") == [f"checkpoint-{found[1].step}"]
    # A newer one that was not copied up to its end has no progress, and never counts.
    store.write("t0/checkpoint-999/model.safetensors", b"torn")
    after = run(bench, configuration=CHANGES, checkpoints=kept, checkpoint_every=600.0)
    assert numbers(after) == numbers(through)
    assert after[0].total_seconds > found[1].total_seconds > 0
    assert store.entries() == []


def test_a_store_that_takes_no_checkpoint_does_not_end_the_trial(
    bench: Bench, storage: str, service: Buckets
) -> None:
    through = run(bench, configuration=CHANGES)
    kept = f"{storage}/checkpoints/t0"
    before = interrupted(bench, kept, rungs=1)[-1].step - 1
    away = False

    def word() -> Any:
        nonlocal away
        if not away:
            away = True
            service.go_away()
            time.sleep(2.0)  # and the next checkpoint is due
        return go()

    order = Order("t0", {**CONFIGURATION, **CHANGES}, checkpoints=kept, checkpoint_every=2.0)
    reports: list[Report] = []
    try:
        with pytest.warns(UserWarning, match=r"no checkpoint is kept at step \d+"):
            bench.run(order, reports.append, word)
    finally:
        service.come_back()
    assert numbers(reports) == numbers(through)
    found = newest(kept)
    assert found is not None
    assert found[1].step == before


def test_the_end_of_a_trial_writes_model_and_predictions_into_the_store(
    bench: Bench, storage: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    store = open_store(storage)
    (report,) = run(
        bench, rungs=1, save_to=f"{storage}/.model", predictions=f"{storage}/predictions/t0.parquet"
    )
    assert report.kind == "end"
    content = store.read("predictions/t0.parquet")
    assert content is not None
    table = pq.read_table(io.BytesIO(content))
    assert table.column_names == ["row", "logits", "label"]
    assert table.num_rows == 60
    store.fetch(".model", tmp_path / "model")
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    here = tmp_path / "t0.parquet"
    run(bench, rungs=1, predictions=str(here))
    assert pq.read_table(here) == table


def test_a_store_that_takes_no_predictions_costs_the_slot_and_not_the_trial(
    bench: Bench, service: Buckets
) -> None:
    with pytest.raises(CrewLost, match="no-such-bucket-there"):
        run(bench, rungs=1, predictions="s3://no-such-bucket-there/predictions/t0.parquet")


def test_a_model_that_was_retrained_on_another_host_comes_through_the_store(
    storage: str, tmp_path: Path
) -> None:
    from tuner.resources import Layout
    from tuner.retrain import retrain
    from tuner.session import ray_session

    with ray_session():
        retrained = retrain(
            toy_materials(),
            CONFIGURATION,
            Layout(slots=1, workers=1, cpus=1.0, gpus=0.0, threads=1),
            tmp_path / "here",
            Silent(),
            run="r",
            local=False,
            handover=f"{storage}/.retrained",
        )
    assert retrained.report.kind == "end"
    files = {path.name for path in retrained.folder.iterdir()}
    assert {"config.json", "model.safetensors"} <= files
    assert open_store(storage).entries() == []


def test_what_a_worker_leaves_for_the_next_attempt_and_what_is_swept_away(storage: str) -> None:
    trials = open_store(f"{storage}/checkpoints")
    assert noted_bound(f"{trials.uri}/t0") is None
    for trial in ("t0", "t1"):
        note_bound(f"{trials.uri}/{trial}", 3)
        assert noted_bound(f"{trials.uri}/{trial}") == 3
    trials.write("t0/checkpoint-5/tuner.json", json.dumps({"step": 5}).encode())
    assert newest(f"{trials.uri}/t0") is None  # it cannot be read: nothing to go on from
    sweep(trials.uri, {"t0", "t9"})
    assert trials.folders() == ["t1"]
