"""All that is known of one trial: its scores, its learning curve, its time, its end, and how to run
it again. As plain data and as lines of text; prints nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuner.cells import one_line, status
from tuner.curves import ASCII, Marks, bar, draw
from tuner.documents import finite
from tuner.formats import to_json
from tuner.headings import bounds, decimals, duration, mean_and_sd, percent
from tuner.hyperparameters import SHORT
from tuner.journal import DONE, Record, Score
from tuner.leaderboard import Row
from tuner.logs import unknown_trial
from tuner.repeating import Command, again, in_full
from tuner.runs import Run
from tuner.sheets import Head, Sheet, fitted, plain
from tuner.views import View
from tuner.views import view as view_of

WIDTH = 80
"""Characters of a line where there is no terminal."""

_BAR = 20
_LONGEST = 2000


@dataclass(frozen=True)
class Times:
    """Where a trial's time went, in seconds, from its drawing to its end or to the last that was
    heard of it. `other` is what a slot had it for without training or scoring, with what a restart
    did again; `waiting` is the time without a slot."""

    train: float
    evaluation: float
    other: float
    waiting: float

    @property
    def whole(self) -> float:
        return self.train + self.evaluation + self.other + self.waiting


@dataclass(frozen=True)
class Dossier:
    """A trial: its row, its record, its times (None before a slot took it), and the commands that
    run it again (none without run.yaml)."""

    view: View
    row: Row
    record: Record
    times: Times | None
    commands: tuple[Command, ...]


def dossier(run: Run, trial: str) -> Dossier:
    """What is known of `trial`. Raises UserError when the run has none of that name."""
    events: list[Mapping[str, Any]] = []
    view = view_of(run, events.append)
    if trial not in view.history.records:
        raise unknown_trial(run, trial, list(view.history.records), view.troubles)
    record = view.history.records[trial]
    commands: list[Command] = []
    if view.settings is not None:
        made = (make(view.settings, view.facts, record) for make in (again, in_full))
        commands = [command for command in made if command is not None]
    row = next(row for row in view.rows if row.trial == trial)
    return Dossier(view, row, record, _times(events, record), tuple(commands))


def _times(events: Iterable[Mapping[str, Any]], record: Record) -> Times | None:
    waiting = held = heard = 0.0
    waits: float | None = None  # since when
    works: float | None = None
    for event in events:
        name, moment = event["event"], float(event.get("time") or heard)
        if event.get("trial") != record.name:
            if name == "session" and works is not None:
                # A driver that was killed says nothing: what came after is no slot's time.
                held, works, waits = held + heard - works, None, heard
            continue
        if name in ("drawn", "lost"):
            held += 0.0 if works is None else moment - works
            works, waits = None, moment
        elif name == "taken":
            waiting += 0.0 if waits is None else moment - waits
            works, waits = moment, None
        elif name in DONE and works is not None:
            held, works = held + moment - works, None
        heard = moment
    if not record.takes:
        return None
    held += 0.0 if works is None else heard - works
    last = record.last or Score()
    other = max(0.0, held - last.train_seconds - last.eval_seconds)
    return Times(last.train_seconds, last.eval_seconds, other, max(0.0, waiting))


def as_json(found: Dossier) -> dict[str, Any]:
    """The trial as plain data: its row of the leaderboard, and more."""
    (row,) = to_json([found.row])
    times, record = found.times, found.record
    scores = [{**asdict(score), "progress": score.progress} for score in record.scores]
    told = {
        "run": found.view.run.where,
        "task": found.view.task,
        **row,
        "losses": record.losses,
        "scores": scores,
        "times": None if times is None else asdict(times),
        "commands": [
            {"words": list(command.words), "text": str(command), "notes": list(command.notes)}
            for command in found.commands
        ],
        "troubles": list(found.view.troubles),
    }
    plain_data: dict[str, Any] = finite(told)
    return plain_data


def lines(found: Dossier, width: int = WIDTH, marks: Marks = ASCII) -> list[str]:
    """The trial in lines of `width` characters, but for words and values that are longer."""
    width = max(40, width)
    told = [*_head(found), ""]
    told += ["configuration", *_configuration(found.row), ""]
    told += _scores(found, width)
    told += _curve(found, width, marks)
    told += _spent(found, marks)
    told += _slot(found)
    told += _end(found)
    for command in found.commands:
        what = "to run it again" if command.words[1] == "tune" else "to train it on all rows"
        if len(found.commands) == 1:
            what = "to run it again"
        told += ["", what, *(f"  {line}" for line in command.lines(width - 2))]
        for note in command.notes:
            told += [f"  {line}" for line in textwrap.wrap(f"({note})", width - 2)]
    return told


def _head(found: Dossier) -> list[str]:
    row, view = found.row, found.view
    how = status(row, view.heading)
    how = "waiting for a slot" if how == "waiting" else how
    ranked = sum(other.rank is not None for other in view.rows)
    place = "" if row.rank is None else f", rank {row.rank} of {ranked}"
    start = ", a start point" if row.start_point else ""
    said = [f"{row.trial} of {view.run.name}: {how}{place}{start}"]
    if row.objective is not None:
        within = bounds(row.objective_low, row.objective_high)
        interval = f" (95 % interval {within})" if within else ""
        done = "" if row.progress == 1 else f" after {percent(row.progress, 1)} of its schedule"
        said.append(f"{view.objective} {row.objective:.4f}{interval}{done}")
    if row.tied:
        said.append("its rows cannot tell it from the leader")
    elif row.worse is not None:
        said.append(f"really worse than the leader with a probability of {row.worse:.2f}")
    if row.objective_mean is not None and row.seeds > 1:
        mean = mean_and_sd(row.objective_mean, row.objective_sd)
        said.append(f"{mean} over {row.seeds} seeds")
    if row.reseed_of:
        said.append(f"the configuration of {row.reseed_of} under another seed")
    return said + [f"Not whole: {trouble}" for trouble in view.troubles]


def _configuration(row: Row) -> list[str]:
    names = [f"{name} ({SHORT[name]})" if name in SHORT else name for name in row.hyperparameters]
    wide = max(map(len, names), default=0)
    values = row.hyperparameters.values()
    said = [f"  {name:<{wide}}  {it}" for name, it in zip(names, values, strict=True)]
    if row.effective_batch_size and row.micro_batch_size:
        passes = row.gradient_accumulation_steps or 1
        times = f"{row.micro_batch_size} rows a pass" + (f" x {passes}" if passes > 1 else "")
        said.append(f"  {row.effective_batch_size} rows a step, {times}")
    return said


def _scores(found: Dossier, width: int) -> list[str]:
    scores = [score for score in found.record.scores if score.level or score.metrics]
    if not scores:
        return ["it has not reported yet", ""]
    metrics = dict.fromkeys([found.view.objective, *(n for score in scores for n in score.metrics)])
    heads = [
        Head("done", True),
        Head("step", True),
        *(Head(name, True, spare=min(place, 1) * 3) for place, name in enumerate(metrics)),
        Head("loss", True),
        Head("train loss", True, spare=1),
        Head("time", True, spare=2),
    ]
    rows = [
        [
            percent(score.progress, 1),
            f"{score.step}/{score.total_steps}",
            *(decimals(score.metrics.get(name)) for name in metrics),
            decimals(score.loss),
            decimals(score.train_loss),
            f"{score.total_seconds:.1f} s",
        ]
        for score in scores
    ]
    shown, _ = fitted(Sheet(heads, rows), width - 2)
    return ["its scores", *(f"  {line}" for line in plain(shown).splitlines()), ""]


def _curve(found: Dossier, width: int, marks: Marks) -> list[str]:
    said: list[str] = []
    scores = found.record.scores
    for name, points in (
        (found.view.objective, _points(scores, [score.objective for score in scores])),
        ("loss", _points(scores, [score.loss for score in scores])),
    ):
        if len(points) > 1:
            drawn = draw(points, min(width, 72) - 2, marks=marks)
            said += [f"{name} along its schedule", *(f"  {line}" for line in drawn), ""]
    return said


def _points(scores: Sequence[Score], values: Sequence[float]) -> list[tuple[float, float]]:
    pairs = zip(scores, values, strict=True)
    return [(score.progress, value) for score, value in pairs if value == value]


def _spent(found: Dossier, marks: Marks) -> list[str]:
    times = found.times
    if times is None:
        return []
    said = [f"where its {duration(times.whole)} went"]
    names = {
        "training": times.train,
        "evaluation": times.evaluation,
        "other in its slot": times.other,
        "waiting for a slot": times.waiting,
    }
    for name, seconds in names.items():
        share = seconds / times.whole if times.whole else 0.0
        drawn = bar(share, _BAR, marks)
        said.append(f"  {name:<18}  {seconds:>8.1f} s  {round(100 * share):>3} %  {drawn}".rstrip())
    return [*said, ""]


def _slot(found: Dossier) -> list[str]:
    record = found.record
    slot = f"slot {record.slot}" if record.slot else "no slot yet"
    counts = [
        f"begun {record.takes} times" if record.restarts else "",
        f"{record.losses} slot{'s' * (record.losses > 1)} died with it" if record.losses else "",
        f"{record.preemptions} times preempted" if record.preemptions else "",
        f"its micro-batch halved {found.row.halvings} times" if found.row.halvings else "",
    ]
    return [", ".join([slot, *filter(None, counts)])]


def _end(found: Dossier) -> list[str]:
    said = []
    if found.row.status == "stopped":
        said.append(f"ASHA stopped it after {percent(found.row.progress, 1)} of its schedule")
    for name, text in (("warning", found.row.warning), ("error", found.row.error)):
        if text:
            said.append(f"{name}: {one_line(text, _LONGEST)}")
    if found.row.status == "failed":
        said.append(f"`tuner logs {found.view.heading.resume} {found.row.trial}` has its log")
    return said
