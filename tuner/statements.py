"""What a trial's report says, as the journal keeps it.

Knows nothing of what it means for a search.
"""

from __future__ import annotations

from typing import Any

from tuner.history import Score
from tuner.mailbox import Report


def fields_of(report: Report, objective: str, slot: str) -> dict[str, Any]:
    """The fields of a report's event in the journal; `objective` is the metric that is searched
    for, `slot` where the trial ran."""
    fields = {key: getattr(report, key) for key in _REPORTED}
    if report.train_metrics:
        fields["train_metrics"] = report.train_metrics
    if report.warning is not None:
        fields["warning"] = report.warning
    value = report.metrics.get(objective)
    return {**fields, "progress": report.progress, "objective": value, "slot": slot}


def score_of(report: Report, objective: str, slot: str) -> Score:
    """The score in a report. Raises KeyError for one without the objective."""
    return Score(
        level=report.level,
        step=report.step,
        total_steps=report.total_steps,
        objective=report.metrics[objective],
        loss=report.loss,
        metrics=report.metrics,
        slot=slot,
    )


_REPORTED = (
    "trial",
    "level",
    "step",
    "total_steps",
    "metrics",
    "loss",
    "train_loss",
    "train_seconds",
    "eval_seconds",
    "total_seconds",
    "effective_batch_size",
    "micro_batch_size",
    "gradient_accumulation_steps",
    "workers",
    "halvings",
)
