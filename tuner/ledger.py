"""The driver's book of a running search: which trial is next, what a result means, when to end.

It writes the journal first and then answers; Tune's scheduler and searcher only pass questions on.
Knows nothing of Ray, and nothing of how a trial trains.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from tuner import finalists
from tuner.errors import SearchError
from tuner.finalists import Finals
from tuner.history import DONE, Direction, History, Record, Score
from tuner.journal import Journal
from tuner.mailbox import Report
from tuner.statements import fields_of, score_of

if TYPE_CHECKING:
    from tuner.study import Study

Reason = Literal["complete", "budget", "interrupted", "lost"]

_HOPELESS = 2
"""So many trials in a row per slot that lost every slot they were given, nothing heard in between:
the slots themselves cannot run."""


class Verdict(Protocol):
    """Whether a trial that reached a rung may go on (`scheduler.Judge`)."""

    def goes_on(self, trial: str, score: Score) -> bool: ...


class SearchWatcher(Protocol):
    """Who is told what happens in a search."""

    def note(self, text: str) -> None: ...

    def search_started(self, planned: int, slots: int) -> None: ...

    def event(self, name: str, record: Record, history: History) -> None: ...

    def search_ended(self, reason: str) -> None: ...


_NO_FINALS = Finals()


class Ledger:
    """A search's state between its journal and Tune.

    `planned` is the number of trials that the study draws in all, `slots` how many may run at once,
    `seconds` this driver's budget of time (None: no limit), `attempts` how many slots may die with
    a trial before it counts as failed; preempted ones do not count. Trials that an earlier driver
    began come first, under their own names. When all that the study draws are done, the finalists
    run again as `finals` say: nothing stops those trials, and the study does not hear of them. The
    budget is for all of it: where it ends the search, the finals wait for a driver with more.
    `run` is what a person names the run by (None: its journal's folder).
    """

    def __init__(
        self,
        journal: Journal,
        study: Study,
        judge: Verdict,
        watchers: Sequence[SearchWatcher],
        *,
        objective: str,
        direction: Direction,
        planned: int,
        slots: int,
        seconds: float | None,
        attempts: float,
        finals: Finals = _NO_FINALS,
        run: str | None = None,
    ) -> None:
        self._journal = journal
        self._study = study
        self._judge = judge
        self._watchers = tuple(watchers)
        self._objective = objective
        self._direction = direction
        self._slots = slots
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._attempts = attempts
        self._finals = finals
        self._again: list[str] | None = None
        self._undrawn = planned - finalists.searched(self._history)
        self._open = finalists.open_trials(self._history, planned)
        self._run = shlex.quote(run or str(journal.path.parent))
        self._running: set[str] = set()
        self._seated: set[str] = set()
        self._waiting = [r.name for r in self._history.records.values() if not r.done]
        self._given_up = 0
        self._stopping: Reason | None = None
        self._said_so = False
        self.hopeless: str | None = None
        for name, score, status in self._history.results:
            if status != "failed" and self._history.records[name].reseed_of is None:
                judge.goes_on(name, score)
        asked = {"finalists": finals.finalists, "reseeds": finals.reseeds} if finals.trials else {}
        journal.append("session", planned=planned, slots=slots, **asked)
        for watcher in self._watchers:
            watcher.search_started(planned, slots)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Pickled as None: Tune pickles its searcher for restores that are never made."""
        return type(None), ()

    @property
    def _history(self) -> History:
        return self._journal.history

    def stop(self, reason: Reason) -> None:
        """End the search: nothing new is begun, running trials end at their next report.

        The first reason counts, but for an interruption, which always does.
        """
        if self._stopping is None or reason == "interrupted":
            self._stopping = reason

    @property
    def reason(self) -> Reason | None:
        """Why the search is ending before its plan is done; None while it is not."""
        overdue = self._deadline is not None and time.monotonic() >= self._deadline
        if self._stopping is None and overdue:
            self._stopping = "budget"
        return self._stopping

    def room(self, slots: int, why: str) -> None:
        """So many trials may run at once from now on. With 0 none is begun until there is room
        again; those that run are left alone."""
        if slots != self._slots:
            self._slots = slots
            text = f"{slots} slot{'' if slots == 1 else 's'} from now on: {why}"
            self._journal.append("note", text=text, slots=slots)
            for watcher in self._watchers:
                watcher.note(text)

    def give_up(self, why: str, trial: str | None = None) -> None:
        """End the search, which cannot go on; `close` raises SearchError with `why`, and names the
        `trial` whose log says more."""
        logs = f"`tuner logs {self._run} {trial}` says more, " if trial else ""
        self.hopeless = f"{why}; {logs}`tuner resume {self._run}` goes on with the run"
        self.stop("lost")

    @property
    def stranded(self) -> bool:
        """Whether the search is ending and no trial is left that a slot works on: those that still
        wait for one will never say anything."""
        return self.reason is not None and not self._running & self._seated

    @property
    def left(self) -> int:
        """How many trials are not done."""
        return finalists.in_all(self._history, self._direction) - self._history.done

    @property
    def done(self) -> set[str]:
        """The names of the trials that have ended for good."""
        return {name for name, record in self._history.records.items() if record.done}

    def next(self) -> Record | Literal["wait", "over"]:
        """The trial to run next; "wait" while every slot has one, "over" when all is done."""
        # Tune asks here again and again: a driver that may not go on ends in mid-training, too.
        self._journal.check()
        self._say_so()
        if self.reason is None and (self._waiting or self._undrawn > 0 or self._finalists()):
            if len(self._running) >= self._slots:
                return "wait"
            return self._begin(self._waiting.pop(0) if self._waiting else self._draw())
        return "wait" if self._running else "over"

    def _finalists(self) -> list[str]:
        """Whose runs under other seeds are to come; nobody's before the search's last trial."""
        if self._open > 0:
            return []
        if self._again is None:
            self._again = finalists.due(self._history, self._direction, self._finals)
            if self._again:
                names = ", ".join(dict.fromkeys(self._again))
                count = len(self._again)
                for watcher in self._watchers:
                    watcher.note(f"the best run again under other seeds, {count} trials: {names}")
        return self._again

    def _say_so(self) -> None:
        """Answer a Ctrl-C, though not from the signal's handler: it may come in mid-print."""
        if self._stopping == "interrupted" and not self._said_so:
            self._said_so = True
            for watcher in self._watchers:
                watcher.note("ending: trials stop at their next report; Ctrl-C again ends at once")

    def _draw(self) -> str:
        number, more = len(self._history.records), {}
        if self._undrawn > 0:
            name, configuration, start_point = self._study.draw()
            self._undrawn -= 1
        else:
            name, start_point, original = f"t{number:03d}", False, self._finalists().pop(0)
            configuration = finalists.again(self._history, original, self._finals)
            more = {"reseed_of": original}
        self._journal.append(
            "drawn",
            trial=name,
            number=number,
            configuration=dict(configuration),
            start_point=start_point,
            **more,
        )
        self._tell("drawn", name)
        return name

    def _begin(self, name: str) -> Record:
        self._running.add(name)
        self._seated.discard(name)
        return self._history.records[name]

    def taken(self, name: str) -> None:
        """A slot takes a trial."""
        self._seated.add(name)
        self._journal.append("taken", trial=name)
        self._tell("taken", name)

    def result(self, report: Report, slot: str) -> bool:
        """Take a report in, and say whether the trial goes on."""
        self._given_up = 0
        event, goes_on = self._meaning(report, slot)
        fields = fields_of(report, self._objective, slot)
        warned = self._history.records[report.trial].warning
        self._journal.append(
            event, **fields, **({} if event == "report" else {"error": report.error})
        )
        if event in DONE:
            self._running.discard(report.trial)
            self._ended(report.trial)
        if report.warning not in (None, warned):
            for watcher in self._watchers:
                watcher.note(f"{report.trial}: {report.warning}")
        self._tell(event, report.trial)
        if event == "report" and self.reason is not None:
            goes_on = False  # neither stopped nor failed: `resume` runs it again
            self._running.discard(report.trial)
        return goes_on

    def _ended(self, name: str) -> None:
        record = self._history.records[name]
        if record.reseed_of is None:  # the others were not drawn by the study
            self._open -= 1
            self._study.tell(record)

    def _meaning(self, report: Report, slot: str) -> tuple[str, bool]:
        if report.kind == "failed":
            return "failed", False
        goes_on = self._history.records[report.trial].reseed_of is not None or self._judge.goes_on(
            report.trial, score_of(report, self._objective, slot)
        )
        if report.kind == "end":
            return "finished", False
        return ("report", True) if goes_on else ("stopped", False)

    def lost(self, name: str, error: str, preempted: bool = False) -> None:
        """A slot died with a trial or on the way to it: another gets the trial, or it fails.

        `preempted`: its host was to be taken away, and was known to be; that may happen any number
        of times, and where the slot did not even take the trial it is not worth a word.
        """
        if name not in self._running:
            return
        self._running.discard(name)
        if preempted and self._history.records[name].status == "drawn":
            self._waiting.insert(0, name)
            return
        self._journal.append("lost", trial=name, error=error, preempted=preempted)
        for watcher in self._watchers:
            watcher.note(f"{name} {'was preempted' if preempted else 'lost its slot'}: {error}")
        self._tell("lost", name)
        losses = self._history.records[name].losses
        if preempted or losses < self._attempts:
            self._waiting.insert(0, name)
            return
        self._journal.append(
            "failed", trial=name, error=f"its slot died {losses} times, the last time: {error}"
        )
        self._ended(name)
        self._tell("failed", name)
        self._given_up += 1
        if self._given_up >= _HOPELESS * max(1, self._slots):
            self.give_up(f"{self._given_up} trials in a row lost every slot: {error}", name)

    def all_lost(self, error: str) -> bool:
        """Every slot went at once; False when none had a trial."""
        running = sorted(self._running)
        for name in reversed(running):
            self.lost(name, error)
        return bool(running)

    def close(self) -> Reason:
        """Write how the search ended, and say it. Raises SearchError when its slots cannot run."""
        left = self.left
        reason: Reason = self.reason or "complete"
        if left > 0 and reason == "complete":
            reason = "lost"
        if left <= 0 and reason == "budget":
            reason = "complete"
        self._journal.append("ended", reason=reason)
        for watcher in self._watchers:
            watcher.search_ended(reason)
        if self.hopeless:
            raise SearchError(self.hopeless)
        return reason

    def _tell(self, event: str, name: str) -> None:
        for watcher in self._watchers:
            watcher.event(event, self._history.records[name], self._history)
