"""The pace of a search to come: a few steps and an evaluation, timed on slots like its own.

Slots of one host share its memory and its cores, and start in the same moment: as many are timed at
once as the search will have, up to `MOST`. Their crews are the search's, and so are the batches;
only the schedules are cut short. Knows nothing of Tune, nor of what the search will draw.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from scipy.optimize import nnls

from tuner.batches import GroupedBatches, Numbers, Rows, scoring_batches
from tuner.crews import CrewPlan
from tuner.errors import SearchError
from tuner.forecast import Pace
from tuner.hyperparameters import BATCH, EPOCHS, LEARNING_RATE, SEED, Batch, Configuration
from tuner.mailbox import Order, Report
from tuner.materials import Materials
from tuner.preparation import Preparation
from tuner.resources import Layout
from tuner.scoring import SCORING_ROWS, SCORING_TOKENS

SECONDS = 4.0
"""About how long the steps of one batch size are timed."""

STEPS = (3, 80)
"""Steps that are timed, at least and at most."""

WARM_UP = 2
"""Steps that only warm the slot up."""

SCORED = 512
"""Selection rows that an evaluation is timed on, at most."""

PATIENCE = 600.0
"""Seconds that the cluster gets to find room for the first slot."""

BESIDE = 60.0
"""Seconds that it gets to find room for those beside it, which it may have no room for now."""

SILENT = 900.0
"""Seconds that the slots get for one trial, which is a matter of seconds or a few minutes."""

MOST = 8
"""Slots that are timed at once, at most: about as many as share a host."""

_SAMPLE = 20_000
"""Rows whose batches tell how many tokens a batch has."""


class _Stand:
    """An actor with a slot's devices and a slot's crew."""

    def __init__(self, plan: CrewPlan) -> None:
        self._crew = plan.open()

    def ready(self) -> bool:
        return True

    def run(self, order: Order) -> tuple[Report, float]:
        """The report of a trial, and the seconds that it took."""
        began = time.monotonic()
        self._crew.give(order)
        return self._crew.next_report(), time.monotonic() - began

    def close(self) -> None:
        self._crew.close()


def probe(
    preparation: Preparation,
    layout: Layout,
    configuration: Configuration,
    batches: Sequence[int],
) -> Pace:
    """Time trials of `configuration` with the smallest and the largest of `batches`.

    Ray is connected already. Raises SearchError when no slot starts, when one falls silent, or when
    a trial fails on it; what was started is ended.
    """
    data = preparation.data
    scored = np.linspace(
        0, data.selection.num_rows - 1, min(SCORED, data.selection.num_rows), dtype=np.int64
    )
    selection = data.selection.take(scored).combine_chunks()
    materials = preparation.materials(layout, data.train, selection)
    plan = CrewPlan((ray.put(materials),), layout.workers, layout.cpus, layout.gpus)
    began = time.monotonic()
    stands = _stands(plan, layout)
    try:
        timer = _Timer(stands, materials, configuration)
        sizes = sorted({min(batches), max(batches)})
        timer.time(sizes[0], WARM_UP)
        ready = time.monotonic() - began
        guess = timer.train[0] / timer.tokens[0]
        for size in sizes:
            tokens = mean_tokens(materials.training_rows, size)
            least, most = STEPS
            timer.time(size, min(most, max(least, int(SECONDS / (guess * tokens)))))
        with contextlib.suppress(ray.exceptions.RayError):  # they are ended all the same
            ray.get([stand.close.remote() for stand in stands], timeout=BESIDE)
    finally:
        for stand in stands:
            ray.kill(stand)
    whole = scoring_tokens(Rows.of(data.selection), layout.gpus)
    return timer.pace(ready, whole)


def _stands(plan: CrewPlan, layout: Layout) -> list[Any]:
    """As many slots as the search will have at once, or as there is room for now."""
    # A slot of several workers trains in a worker group, which asks for the devices itself.
    own = layout.workers == 1
    actor: Any = ray.remote(_Stand)
    devices = {"num_cpus": layout.cpus, "num_gpus": layout.gpus} if own else {"num_cpus": 0}
    wanted = [actor.options(**devices).remote(plan) for _ in range(min(layout.slots, MOST))]
    said = {stand.ready.remote(): stand for stand in wanted}
    first, _ = ray.wait([*said], timeout=PATIENCE)
    there, missing = ray.wait([*said], num_returns=len(said), timeout=BESIDE if first else 0)
    for late in missing:
        ray.kill(said[late])
    if not first:
        raise SearchError(
            f"no slot came free within {PATIENCE:g} s to be timed: others use the cluster; "
            "try again later, or plan without --probe"
        )
    stands, failed = [], None
    for ready in there:
        try:
            ray.get(ready)
            stands.append(said[ready])
        except ray.exceptions.RayError as error:
            ray.kill(said[ready])
            failed = error
    if not stands:
        raise SearchError(f"the slot to be timed did not start: {_line(failed)}") from failed
    return stands


class _Timer:
    """Short trials, each on all slots at once, and what they took: seconds by trial, for each a
    number in `wall` (from order to report), `train`, `scored`, the means of the slots; `steps` done
    and `tokens` in them."""

    def __init__(
        self, stands: Sequence[Any], materials: Materials, configuration: Configuration
    ) -> None:
        self._stands = stands
        self._materials = materials
        # A rate at which nothing diverges: it has no part in the time.
        self._configuration = {**configuration, LEARNING_RATE: 1e-6, SEED: 0}
        self.wall: list[float] = []
        self.train: list[float] = []
        self.scored: list[float] = []
        self.steps: list[int] = []
        self.tokens: list[float] = []

    def time(self, size: int, steps: int) -> None:
        """One trial of `steps` steps, an epoch's at most, in batches of `size` rows."""
        rows = self._materials.training_rows
        epoch = -(-len(rows) // size)
        steps = min(steps, epoch)
        changes = {BATCH: size, EPOCHS: (steps - 0.5) / epoch}
        order = Order("probe", {**self._configuration, **changes}, rungs=1)
        try:
            timed: list[tuple[Report, float]] = ray.get(
                [stand.run.remote(order) for stand in self._stands], timeout=SILENT
            )
        except ray.exceptions.GetTimeoutError as error:
            raise SearchError(
                f"a slot that was timed said nothing for {SILENT / 60:g} minutes; look whether its "
                "host still answers and try again, or plan without --probe"
            ) from error
        except ray.exceptions.RayError as error:
            raise SearchError(f"the slot that was timed was lost: {_line(error)}") from error
        for report, _ in timed:
            if report.kind == "failed":
                raise SearchError(f"the trial that was timed failed: {report.error}")
        report = timed[0][0]
        self.wall.append(float(np.mean([seconds for _, seconds in timed])))
        self.train.append(float(np.mean([report.train_seconds for report, _ in timed])))
        self.scored.append(float(np.mean([report.eval_seconds for report, _ in timed])))
        self.steps.append(report.step)
        widths = _widths(rows, size)[: report.step]
        self.tokens.append(float(sum(width * many for width, many in widths)))

    def pace(self, ready: float, selection_tokens: float) -> Pace:
        """The trials after the first as a pace; the selection rows have `selection_tokens`.

        `ready` seconds after the slots were asked for, the first trial had ended. What it took
        beyond its steps at the pace of the others is part of a slot's start.
        """
        materials = self._materials
        features = np.column_stack([self.steps[1:], self.tokens[1:]]).astype(float)
        (step, token), _ = nnls(features / features.max(axis=0), np.array(self.train[1:]))
        step, token = np.array([step, token]) / features.max(axis=0)
        share = selection_tokens / scoring_tokens(materials.selection_rows, materials.gpus)
        beside = [
            wall - train - scored
            for wall, train, scored in zip(self.wall, self.train, self.scored, strict=True)
        ]
        trial = max(0.0, float(np.mean(beside[1:])))
        scoring = float(np.mean(self.scored[1:]))
        warm = self.steps[0] * step + self.tokens[0] * token + trial + scoring
        return Pace(
            start=max(0.0, ready - float(warm)),
            trial=trial,
            evaluation=scoring * share,
            step=float(step),
            token=float(token),
            tokens=functools.cache(functools.partial(mean_tokens, materials.training_rows)),
        )


def _widths(rows: Rows, size: int) -> list[tuple[int, int]]:
    """Tokens a row and rows of each batch of the first epoch, in their order."""
    batches = GroupedBatches(rows.lengths, Batch(size, 1, size, 1), 0).global_batches()
    return [(rows.width(int(rows.lengths[batch[0]])), len(batch)) for batch in batches]


def mean_tokens(rows: Rows, size: int) -> float:
    """Tokens in a batch of `size` rows, padding included: the mean over an epoch."""
    lengths: Numbers = rows.lengths[:: -(-len(rows) // _SAMPLE)]
    batches = GroupedBatches(lengths, Batch(size, 1, size, 1), 0).global_batches()
    return float(np.mean([rows.width(int(lengths[batch[0]])) * len(batch) for batch in batches]))


def scoring_tokens(rows: Rows, gpus: float) -> float:
    """Tokens in all batches that score the rows, padding included."""
    most = SCORING_TOKENS["gpu" if gpus else "cpu"]
    batches = scoring_batches(rows, most, SCORING_ROWS)
    return float(sum(rows.width(int(rows.lengths[batch[0]])) * len(batch) for batch in batches))


def _line(error: BaseException | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
