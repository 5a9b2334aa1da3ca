"""What a run comes to, for whoever called `tune`, `train` or `resume`.

Knows nothing of how it came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.formats import to_frame
from tuner.leaderboard import Row, best
from tuner.runs import Run
from tuner.shortfall import Shortfall

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """What came out of a run. `metrics` are the retrained model's on the validation split; they and
    `model_dir` are None when nothing was retrained. `more` holds them on other splits that the task
    is judged by (MNLI's mismatched genres), by the splits' names. `intervals` are the metrics' 95 %
    intervals, where they are known; `shortfall` tells that the model falls short of its trial,
    where it does. `reason` tells why the search ended: "complete", "budget", "interrupted" or
    "lost"."""

    run: Run
    rows: tuple[Row, ...]
    reason: str
    metrics: Mapping[str, float] | None = None
    model_dir: Path | None = None
    more: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    shortfall: Shortfall | None = None

    @property
    def best(self) -> Row | None:
        """The winner: the best finished trial."""
        return best(self.rows)

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended by hand; `tuner resume` goes on with it."""
        return self.reason == "interrupted"

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The leaderboard as a frame, a row a trial, best first."""
        return to_frame(self.rows)
