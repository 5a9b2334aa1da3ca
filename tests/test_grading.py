"""The final model's evaluation comes from its own logits, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuner.grading import final_evaluation, forget
from tuner.metrics import score
from tuner.tasks import find_task

TASK = find_task("sst2")
LABELS = np.arange(50) % 2
ROWS = pa.table({"sentence": [f"text {row}" for row in range(50)], "label": LABELS})


def logits(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(50, 2)).astype(np.float32)


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """The logits of two models; the second is the one that was scored."""
    found = []
    for seed in (1, 2):
        path = tmp_path / f"{seed}.parquet"
        table = {"row": np.arange(50), "logits": list(logits(seed)), "label": LABELS}
        pq.write_table(pa.table(table), path)
        found.append(str(path))
    return found


def test_only_logits_that_give_the_very_metrics_are_the_models(places: list[str]) -> None:
    metrics = score(TASK.metrics, logits(2), LABELS)
    assert metrics != score(TASK.metrics, logits(1), LABELS)
    found = final_evaluation(TASK, ROWS, metrics, places)
    assert found is not None
    assert found.plain()["metrics"] == metrics
    assert found.worst[0].texts[0].startswith("text ")
    assert final_evaluation(TASK, ROWS, metrics, places[:1]) is None


def test_logits_that_are_missing_broken_or_of_other_rows_cost_the_evaluation_only(
    places: list[str], tmp_path: Path
) -> None:
    metrics = score(TASK.metrics, logits(2), LABELS)
    (tmp_path / "broken").write_text("no Parquet")
    for others in (["nowhere"], [str(tmp_path / "broken")], ["s3://"]):
        assert final_evaluation(TASK, ROWS, metrics, others) is None
    assert final_evaluation(TASK, ROWS.slice(0, 40), metrics, places) is None
    assert final_evaluation(TASK, None, metrics, places) is None
    forget(places[0])
    forget(places[0])
    assert not Path(places[0]).exists()
