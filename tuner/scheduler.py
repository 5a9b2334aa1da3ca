"""Who may go on: Ray's ASHA over the fraction of each trial's own schedule, behind one question.

`Judge` knows trials by name and scores by rung; it knows nothing of slots, journals or Optuna.
`RungScheduler` is the thin piece that Tune talks to: it passes results to whoever keeps the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tuner.history import Direction, Score
from tuner.hyperparameters import REDUCTION
from tuner.preemption import Loss, loss_of

_TIE = 1e-6
"""How much a tie-breaking loss may move the signal: less than any discrete objective's step."""


def signal(objective: float, loss: float, direction: Direction) -> float:
    """What ASHA compares, always to be maximised: the objective, ties broken by the selection loss.

    A discrete objective says nothing while a model still predicts one class; the loss does.
    """
    towards = objective if direction == "max" else -objective
    return towards - _TIE * (loss / (1 + loss) if math.isfinite(loss) else 1.0)


@dataclass(frozen=True)
class _Entrant:
    """A trial as ASHA sees it: a name that outlives restarts and drivers."""

    trial_id: str


class Judge:
    """ASHA's verdicts at the rungs; `rungs` as in `hyperparameters.rungs`, levels 1, 3, 9, …"""

    def __init__(self, rungs: int, direction: Direction, asha: bool = True) -> None:
        self._direction = direction
        self._asha = (
            ASHAScheduler(
                time_attr="level",
                metric="signal",
                mode="max",
                grace_period=1,
                max_t=REDUCTION ** (rungs - 1),
                reduction_factor=REDUCTION,
                brackets=1,
            )
            if asha and rungs > 1
            else None
        )
        self._entered: set[str] = set()
        self._judged: set[tuple[str, int]] = set()

    def goes_on(self, trial: str, score: Score) -> bool:
        """Record a trial's score at a rung and say whether it may go on.

        A rung that the same trial reported before is not judged again: a restarted trial passes
        where it passed.
        """
        if self._asha is None or (trial, score.level) in self._judged:
            return True
        self._judged.add((trial, score.level))
        entrant: Any = _Entrant(trial)
        nobody: Any = None
        if trial not in self._entered:
            self._entered.add(trial)
            self._asha.on_trial_add(nobody, entrant)
        verdict = self._asha.on_trial_result(
            nobody,
            entrant,
            {
                "level": score.level,
                "signal": signal(score.objective, score.loss, self._direction),
            },
        )
        return bool(verdict != TrialScheduler.STOP)


class RungScheduler(FIFOScheduler):
    """Tune's scheduler: `result(name, result)` decides, `lost(name, error, preempted)` hears of
    dead slots.

    Trials carry their names in `config["trial"]`.
    """

    def __init__(
        self,
        result: Callable[[str, dict[str, Any]], bool],
        lost: Callable[[str, str, bool], None],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._result = result
        self._lost = lost

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Always None: Tune then hands warm slots to new trials in the order they were drawn.

        FIFO names the oldest waiting trial, also one whose slot is still starting; Tune would give
        it the warm slot and end the starting one.
        """
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        goes_on = self._result(trial.config["trial"], result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        loss = _loss(trial)
        self._lost(trial.config["trial"], loss.why, loss.preempted)


def _loss(trial: Trial) -> Loss:
    """Why a trial's slot is gone. Tune keeps the error in a file of this driver's own; errors of
    Tune itself only as text."""
    pickled, written = trial.pickled_error_file, trial.error_file
    if pickled is not None:
        try:
            return loss_of(cloudpickle.loads(Path(pickled).read_bytes()))
        except Exception:
            pass  # the text says it too
    try:
        text = Path(written or "").read_text(errors="replace").strip()
    except OSError:
        text = ""
    return Loss(text.splitlines()[-1].strip()[:300] if text else "its process died")
