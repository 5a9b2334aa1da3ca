"""Optuna's study of the run: it draws configurations and hears how trials ended.

A file in the run's folder that optuna-dashboard opens; rebuilt from the journal at every start,
so the journal stays the only truth. Knows nothing of Ray.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.history import Direction, Record
from tuner.hyperparameters import SEED, Configuration, Value
from tuner.spaces import Space

RANDOM_AFTER = 2000
"""TPE's own time grows with the trials it has seen (53 ms a draw at 10,000); past so many trials
configurations are drawn at random."""

_STARTUP = 10
"""Optuna's default number of random draws before TPE has something to model."""

_STATES = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class _Log(BaseJournalBackend):
    """Optuna's log of operations, in the form of its own `JournalFileBackend`.

    That one locks the file and forces it to the disk ten times a trial. This file has one writer,
    and derives from the run's journal: it may lag behind a full disk, and must not end a search.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._unread: list[dict[str, Any]] = []
        self._unwritten = b""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        self._unread += map(json.loads, lines)
        self._unwritten += "".join(lines).encode()
        with contextlib.suppress(OSError), self._file.open("ab", buffering=0) as file:
            while self._unwritten:  # a full disk may take a part only
                self._unwritten = self._unwritten[file.write(self._unwritten) :]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What has been appended since the last call: the one storage there is reads in order."""
        unread, self._unread = self._unread, []
        yield from unread


class _Storage(JournalStorage):
    """Optuna asks at every draw which trials are waiting, and looks through all of them: at 7,000
    trials that took half of the driver's time. None is, but for a start point just enqueued."""

    waiting = False

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        if states == (TrialState.WAITING,) and not self.waiting:
            return []
        return super().get_all_trials(study_id, deepcopy, states)


class Study:
    """Draws configurations for trials numbered 0, 1, …; start points first, then TPE.

    Of `records`, the trials so far, those that ran a configuration again under another seed were
    not drawn here: they take a name each, and count for nothing else.

    A seed is drawn outside the study, from the run's seed and the trial's number, and kept as a
    user attribute: TPE never models seeds.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        space: Space,
        direction: Direction,
        seed: int,
        records: list[Record],
        slots: int,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        drawn = [record for record in records if record.reseed_of is None]
        self._space = space
        self._seed = seed
        self._distributions = space.distributions()
        file.unlink(missing_ok=True)
        self._storage = _Storage(_Log(file))
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="maximize" if direction == "max" else "minimize",
            sampler=self._sampler(len(drawn), slots),
            pruner=optuna.pruners.NopPruner(),
        )
        self._random = self._sampler(RANDOM_AFTER, slots)
        for record in drawn:
            if record.done:
                self._study.add_trial(self._frozen(record))
        self._drawn, self._others = len(drawn), len(records) - len(drawn)
        self._asked: dict[str, optuna.trial.Trial] = {}

    def _sampler(self, drawn: int, slots: int) -> optuna.samplers.BaseSampler:
        seed = random.Random(f"{self._seed}:{drawn}").randrange(2**32)
        if drawn >= RANDOM_AFTER:
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=_STARTUP, constant_liar=slots > 1
        )

    @property
    def sampler(self) -> optuna.samplers.BaseSampler:
        """What draws the next configuration."""
        return self._study.sampler

    def draw(self) -> tuple[str, Configuration, bool]:
        """The next trial's name and full configuration, and whether it is a start point."""
        number = self._drawn
        self._drawn += 1
        start = self._space.start[number] if number < len(self._space.start) else None
        if number >= RANDOM_AFTER:
            self._study.sampler = self._random
        self._storage.waiting = start is not None
        if start is not None:
            self._study.enqueue_trial({k: v for k, v in start.items() if k in self._distributions})
        trial = self._study.ask(self._distributions)
        drawn: dict[str, Value] = dict(trial.params)
        if start is not None:
            drawn = {**start, **drawn}
        if SEED not in drawn and self._space.seeds is not None:
            low, high = self._space.seeds
            drawn[SEED] = random.Random(f"{self._seed}:{number}:seed").randint(low, high)
        configuration = self._space.complete(drawn)
        name = f"t{number + self._others:03d}"
        self._asked[name] = trial
        trial.set_user_attr("trial", name)
        trial.set_user_attr(SEED, configuration[SEED])
        return name, configuration, start is not None

    def tell(self, record: Record) -> None:
        """Tell how a done trial ended: stopped ones as pruned, with all their rung values."""
        frozen = self._frozen(record)
        trial = self._asked.pop(record.name, None)
        if trial is None:  # drawn by an earlier driver
            self._study.add_trial(frozen)
            return
        for level, value in frozen.intermediate_values.items():
            trial.report(value, level)
        if record.error:
            trial.set_user_attr("error", record.error)
        self._study.tell(trial, frozen.value, state=frozen.state)

    def _frozen(self, record: Record) -> FrozenTrial:
        """A trial of the journal as Optuna keeps it."""
        state = _STATES[record.status]
        value = record.last.objective if state == TrialState.COMPLETE and record.last else None
        if state == TrialState.COMPLETE and (value is None or math.isnan(value)):
            state, value = TrialState.FAIL, None
        known = {k: v for k, v in record.configuration.items() if k in self._distributions}
        within = {
            name: distribution
            for name, distribution in self._distributions.items()
            if name in known and distribution._contains(distribution.to_internal_repr(known[name]))
        }
        attributes: dict[str, Any] = {"trial": record.name}
        if SEED in record.configuration:
            attributes[SEED] = record.configuration[SEED]
        if record.error:
            attributes["error"] = record.error
        return create_trial(
            state=state,
            value=value,
            params={name: known[name] for name in within},
            distributions=within,
            user_attrs=attributes,
            intermediate_values=record.rung_values,
        )
