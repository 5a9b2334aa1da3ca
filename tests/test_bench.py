"""A bench runs each trial as if it were the first, whatever ran before it.

Everything here runs the real Trainer on a toy model, in this process.
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch

from tests.toy import go, numbers, toy_materials
from tuner import attempts
from tuner.bench import Bench, work
from tuner.checkpoints import newest
from tuner.hyperparameters import rungs, total_steps
from tuner.mailbox import LocalMailbox, Order, Report, Word

CONFIGURATION = {
    "learning_rate": 1e-3,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "seed": 7,
}


@pytest.fixture(scope="module")
def bench() -> Bench:
    """A bench with dropout, so that the state of the generators counts."""
    return Bench(toy_materials(dropout=0.1))


def run(bench: Bench, word: Callable[[], Word] = go, **order: Any) -> list[Report]:
    """The reports of one trial; `configuration` is CONFIGURATION and what is given."""
    configuration = {**CONFIGURATION, **order.pop("configuration", {})}
    reports: list[Report] = []
    bench.run(Order("t0", configuration, **order), reports.append, word)
    return reports


def saying(*words: Word) -> Callable[[], Word]:
    """These words, and then an interruption."""
    left = iter(words)

    def say() -> Word:
        for word in left:
            return word
        raise KeyboardInterrupt

    return say


def limited(monkeypatch: pytest.MonkeyPatch, most: int, error: Callable[[], Exception]) -> None:
    """Give trials a model that raises `error` for a training batch of more than `most` rows."""
    build = attempts.build_model

    def narrow(weights: Any) -> Any:
        model = build(weights)
        forward = model.forward

        def checked(**inputs: Any) -> Any:
            if model.training and len(inputs["input_ids"]) > most:
                raise error()
            return forward(**inputs)

        model.forward = checked
        return model

    monkeypatch.setattr(attempts, "build_model", narrow)


def test_a_trial_reports_at_its_rungs_and_at_its_end(bench: Bench) -> None:
    for epochs, count in ((2, 3), (0.4, 3), (1, 1)):
        reports = run(bench, configuration={"num_train_epochs": epochs}, rungs=count)
        steps = total_steps(120, 8, epochs)
        wanted = [(rung.level, rung.step) for rung in rungs(steps, count)]
        assert [(report.level, report.step) for report in reports] == wanted
        assert {report.total_steps for report in reports} == {steps}
        assert [report.kind for report in reports] == ["rung"] * (len(wanted) - 1) + ["end"]
        assert reports[-1].progress == 1.0
        for report in reports:
            assert 0 < report.metrics["accuracy"] < 1
            assert 0 < report.loss < 2
            assert 0 < report.train_loss < 2
            assert 0 < report.train_seconds + report.eval_seconds <= report.total_seconds
            assert (report.effective_batch_size, report.workers) == (8, 1)


def test_rungs_do_not_change_what_a_trial_learns(bench: Bench) -> None:
    with_rungs, without = run(bench, rungs=4)[-1], run(bench, rungs=1)[-1]
    assert (with_rungs.loss, with_rungs.metrics) == (without.loss, without.metrics)


def test_a_used_bench_repeats_a_fresh_one_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ten other trials of all kinds in between, on benches of different rows, leave no trace."""
    materials = toy_materials(dropout=0.1)
    first = numbers(run(Bench(materials)))
    used = Bench(materials)
    others: list[dict[str, Any]] = [
        {"per_device_train_batch_size": 32},
        {"num_train_epochs": 1, "lr_scheduler_type": "cosine", "warmup_steps": 3},
        {"seed": 8, "weight_decay": 0.1, "label_smoothing_factor": 0.1},
        {"optim": "sgd", "learning_rate": 1e30},
        {"num_train_epochs": 0.1, "neftune_noise_alpha": 5.0},
        {"lr_scheduler_type": "no such schedule"},
        {"num_train_epochs": 3, "adam_beta1": 0.8, "lr_scheduler_type": "constant"},
    ]
    kinds = [run(used, configuration=changes)[-1].kind for changes in others]
    assert kinds == ["end", "end", "end", "failed", "end", "failed", "end"]
    assert run(used, saying("stop"))[-1].kind == "rung"
    other_rows = Bench(toy_materials(rows=70, most_tokens=30))
    assert run(other_rows)[-1].gradient_accumulation_steps > 1
    with monkeypatch.context() as patch:
        limited(patch, 3, lambda: torch.OutOfMemoryError("full"))
        assert run(used)[-1].micro_batch_size < 4
    assert numbers(run(used)) == first


def test_the_seed_of_the_configuration_decides_everything_random(bench: Bench) -> None:
    torch.manual_seed(1)
    first = numbers(run(bench))
    random.seed(2)
    np.random.seed(2)
    torch.manual_seed(2)
    assert numbers(run(bench)) == first
    assert numbers(run(bench, configuration={"seed": 8})) != first


def test_stop_ends_a_trial_at_its_rung(bench: Bench, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoints"
    reports = run(bench, saying("go", "stop"), checkpoints=str(kept), checkpoint_every=0.0)
    assert [report.kind for report in reports] == ["rung", "rung"]
    assert not kept.exists()
    assert run(bench)[-1].kind == "end"


def test_leave_ends_a_trial_at_its_rung_and_keeps_its_checkpoint(
    bench: Bench, tmp_path: Path
) -> None:
    through = run(bench)
    kept: dict[str, Any] = {"checkpoints": str(tmp_path / "kept"), "checkpoint_every": 0.0}
    left = run(bench, saying("go", "leave"), **kept)
    assert [report.kind for report in left] == ["rung", "rung"]
    found = newest(kept["checkpoints"])
    assert found is not None
    assert found[1].step == left[-1].step - 1
    assert numbers(run(bench, **kept)) == numbers(through[1:])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"lr_scheduler_type": "no such schedule"}, "ValueError: no such schedule is not"),
        ({"unheard_of": 1}, "TypeError: TrainingArguments.__init__() got an unexpected"),
        ({"per_device_train_batch_size": 0}, "ZeroDivisionError: "),
    ],
)
def test_a_configuration_that_cannot_be_trained_fails_with_its_reason_in_one_line(
    bench: Bench, changes: dict[str, Any], error: str, tmp_path: Path
) -> None:
    kept = tmp_path / "checkpoints"
    kept.mkdir()
    (report,) = run(bench, configuration=changes, checkpoints=str(kept))
    assert report.kind == "failed"
    assert report.error is not None
    assert report.error.startswith(error)
    assert "\n" not in report.error
    assert not kept.exists()


def test_a_loss_that_is_not_finite_fails_the_trial_and_names_the_step(bench: Bench) -> None:
    reports = run(bench, configuration={"learning_rate": 1e30, "optim": "sgd", "max_grad_norm": 0})
    assert reports[-1].kind == "failed"
    assert reports[-1].error is not None
    assert reports[-1].error.startswith("the loss became nan at step 2 of 30; ")
    assert reports[-1].error.endswith("a smaller learning rate may help")
    assert reports[-1].step == 2


def test_a_loss_on_the_selection_rows_that_is_not_finite_fails_the_trial(bench: Bench) -> None:
    """One step: its own loss is fine, what it leaves behind is not."""
    changes = {"learning_rate": 1e30, "optim": "sgd", "max_grad_norm": 0}
    (report,) = run(
        bench, configuration={**changes, "num_train_epochs": 0.01, "lr_scheduler_type": "constant"}
    )
    assert report.kind == "failed"
    assert report.error is not None
    assert report.error.startswith("the loss on the selection rows became nan at step 1 of 1")


def test_smoothing_the_labels_of_a_regression_is_refused() -> None:
    (report,) = run(
        Bench(toy_materials(regression=True)), configuration={"label_smoothing_factor": 0.1}
    )
    assert report.error is not None
    assert report.error.startswith("ValueError: label_smoothing_factor is 0.1, but a regression")


OUT_OF_MEMORY = {
    "device": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "host": lambda: MemoryError(),
    "allocator": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"),
}


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_a_trial_that_runs_out_of_memory_starts_anew_with_smaller_passes(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(bench)
    limited(monkeypatch, 2, OUT_OF_MEMORY[kind])
    reports = run(bench)
    assert [report.kind for report in reports] == ["rung", "rung", "end"]
    assert {report.micro_batch_size for report in reports} == {2}
    assert {report.halvings for report in reports} == {2}
    assert {report.halvings for report in whole} == {0}
    assert {report.gradient_accumulation_steps for report in reports} == {4}
    assert {report.effective_batch_size for report in reports} == {8}
    assert reports[-1].step == whole[-1].step


def test_memory_that_does_not_even_hold_one_row_fails_the_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 0, lambda: MemoryError("no room"))
    (report,) = run(bench)
    assert report.error == "out of memory, even row by row: MemoryError: no room"
    assert report.micro_batch_size == 1


def test_a_real_allocation_that_cannot_be_met_counts_as_out_of_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible() -> Exception:
        try:
            torch.empty(1 << 60)
        except Exception as error:
            return error
        raise AssertionError("an exabyte was allocated")

    limited(monkeypatch, 4, impossible)
    assert run(bench)[-1].micro_batch_size == 4


def test_rungs_reported_before_memory_ran_out_are_not_reported_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, passes = attempts.build_model, iter(range(1000))

    def late(weights: Any) -> Any:
        """Out of memory in the tenth pass, once."""
        model = build(weights)
        forward = model.forward

        def checked(**inputs: Any) -> Any:
            if model.training and next(passes) == 9:
                raise MemoryError
            return forward(**inputs)

        model.forward = checked
        return model

    monkeypatch.setattr(attempts, "build_model", late)
    reports = run(bench)
    assert [report.level for report in reports] == [1, 3, 9]
    assert reports[0].micro_batch_size == 8
    assert reports[-1].micro_batch_size == 4


@pytest.mark.parametrize("interrupted_after", [1, 2])
def test_a_trial_resumes_from_its_checkpoint_bit_for_bit(
    bench: Bench, tmp_path: Path, interrupted_after: int
) -> None:
    """Interrupted in its first epoch and in a later one; seconds go on counting."""
    changes = {"num_train_epochs": 3, "lr_scheduler_type": "cosine"}
    through = run(bench, configuration=changes)
    kept = str(tmp_path / "checkpoints")
    order: dict[str, Any] = {
        "configuration": changes,
        "checkpoints": kept,
        "checkpoint_every": 0.0,
    }
    before: list[Report] = []
    with pytest.raises(KeyboardInterrupt):
        bench.run(
            Order("t0", {**CONFIGURATION, **changes}, checkpoints=kept, checkpoint_every=0.0),
            before.append,
            saying(*["go"] * (interrupted_after - 1)),
        )
    assert numbers(before) == numbers(through[:interrupted_after])
    found = newest(kept)
    assert found is not None
    # The checkpoint of the step before the rung is the newest: 4 or 14 of 15 steps an epoch …
    assert found[1].step == before[-1].step - 1
    # … and a torn one that a crash may leave beside it is never used.
    torn = Path(kept, "writing", "checkpoint-999")
    torn.mkdir(parents=True)
    (torn / "model.safetensors").write_bytes(b"torn")
    after = run(bench, **order)
    assert numbers(after) == numbers(through[interrupted_after - 1 :])
    assert after[0].total_seconds > found[1].total_seconds > 0
    assert not Path(kept).exists()


def test_a_checkpoint_at_the_end_of_an_epoch_resumes_bit_for_bit(
    bench: Bench, tmp_path: Path
) -> None:
    """15 steps an epoch: the second rung of 48 epochs' worth of steps lies right behind one."""
    changes = {"num_train_epochs": 3.2, "per_device_train_batch_size": 8}
    through = run(bench, configuration=changes)
    assert [report.step for report in through] == [6, 16, 48]
    kept = str(tmp_path / "checkpoints")
    with pytest.raises(KeyboardInterrupt):
        run(bench, saying("go"), configuration=changes, checkpoints=kept, checkpoint_every=0.0)
    found = newest(kept)
    assert found is not None
    assert found[1].step == 15
    assert numbers(run(bench, configuration=changes, checkpoints=kept)) == numbers(through[1:])


def test_a_checkpoint_of_another_configuration_is_not_resumed(bench: Bench, tmp_path: Path) -> None:
    kept = str(tmp_path / "checkpoints")
    with pytest.raises(KeyboardInterrupt):
        run(bench, saying("go"), checkpoints=kept, checkpoint_every=0.0)
    changes = {"learning_rate": 2e-3}
    again = run(bench, configuration=changes, checkpoints=kept)
    assert numbers(again) == numbers(run(bench, configuration=changes))


def test_the_end_writes_the_model_and_the_predictions(bench: Bench, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model, predictions = tmp_path / "new" / "model", tmp_path / "new" / "t0.parquet"
    (report,) = run(bench, rungs=1, save_to=str(model), predictions=str(predictions))
    table = pq.read_table(predictions)
    assert table.column_names == ["row", "logits", "label"]
    logits = np.array(table.column("logits").to_pylist(), np.float32)
    labels = table.column("label").to_numpy()
    assert (logits.argmax(1) == labels).mean() == report.metrics["accuracy"]
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits).double(), torch.tensor(labels).long()
    )
    assert report.loss == pytest.approx(float(loss))
    read = AutoModelForSequenceClassification.from_pretrained(model).eval()
    selection = bench.materials.selection.column("input_ids").to_pylist()
    with torch.no_grad():
        again = read(input_ids=torch.tensor([selection[3]])).logits[0]
    assert again.tolist() == pytest.approx(logits[3].tolist(), abs=1e-5)
    assert sorted(path.name for path in model.parent.iterdir()) == ["model", "t0.parquet"]


def test_ticks_are_signs_of_life_without_scores(bench: Bench) -> None:
    reports = run(bench, ticks=1e-9)
    ticks = [report for report in reports if report.kind == "tick"]
    assert len(ticks) >= 20
    assert all(not tick.metrics and 0 < tick.progress < 1 for tick in ticks)
    assert numbers([r for r in reports if r.kind != "tick"]) == numbers(run(bench))


def test_half_precision_trains_and_scores(bench: Bench) -> None:
    reports = run(Bench(toy_materials(precision="bf16")))
    assert reports[-1].kind == "end"
    assert reports[-1].loss != run(Bench(toy_materials()))[-1].loss


def test_work_takes_orders_until_it_is_told_to_exit() -> None:
    box = LocalMailbox()
    thread = threading.Thread(target=work, args=(box, toy_materials()))
    thread.start()
    for trial in ("t0", "t1"):
        box.give(Order(trial, CONFIGURATION, rungs=2))
        rung = box.next_report(60)
        assert rung is not None
        assert (rung.trial, rung.kind) == (trial, "rung")
        box.say("go")
        end = box.next_report(60)
        assert end is not None
        assert (end.trial, end.kind) == (trial, "end")
    box.close()
    thread.join(30)
    assert not thread.is_alive()


def test_rank_0_without_a_mailbox_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 0 of a worker group needs the mailbox"):
        work(None, toy_materials())


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def test_trials_leave_no_files_threads_or_memory_behind(
    bench: Bench, temporary_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The resident size of the 200th trial of two steps is within 5 % of the 10th's."""
    short = {"num_train_epochs": 0.1, "per_device_train_batch_size": 8}
    process = psutil.Process()
    before: tuple[int, int, int] | None = None
    for number in range(1, 201):
        last = run(bench, configuration=short, rungs=1)[-1]
        assert (last.kind, last.step) == ("end", 2)
        if number % 20 == 0:
            assert run(bench, configuration={"learning_rate": 1e30})[-1].kind == "failed"
            run(bench, saying("stop"))
        if number == 10:
            gc.collect()
            before = (process.memory_info().rss, process.num_threads(), process.num_fds())
    gc.collect()
    assert before is not None
    assert process.memory_info().rss < before[0] * 1.05
    assert process.num_threads() <= before[1]
    assert process.num_fds() <= before[2]
    assert os.listdir(temporary_folder) == []
    assert capfd.readouterr() == ("", "")


def test_a_saved_model_is_scored_in_full_precision_whatever_it_was_trained_in(tmp_path: Path):
    from transformers import AutoModelForSequenceClassification

    bench = Bench(toy_materials(precision="bf16"))
    (end,) = run(bench, rungs=1, save_to=str(tmp_path / "m"), predictions=str(tmp_path / "p"))
    assert end.kind == "end", end.error
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    rows = bench.materials.selection["input_ids"].to_pylist()
    with torch.no_grad():
        expected = [network(input_ids=torch.tensor([row])).logits[0].numpy() for row in rows]
    found = np.array(pq.read_table(tmp_path / "p")["logits"].to_pylist())
    # bf16 keeps 8 bits: had it scored, the logits would be some thousandths off.
    np.testing.assert_allclose(found, np.array(expected), atol=1e-5)
