"""A plan in words, and how a run compares with its estimate. Words only; computes no plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tuner.cells import configuration
from tuner.forecast import FORESEEN, Estimate, Schedule, spent
from tuner.headings import duration
from tuner.history import History
from tuner.hyperparameters import REDUCTION
from tuner.resources import Layout, lay_out

if TYPE_CHECKING:
    from tuner.plan import Plan

_WIDTH = 11


def outlook(plan: Plan, price: float | None = None) -> list[str]:
    """The plan, a line a fact; `price` is what an hour of a slot costs."""
    found: list[str] = []
    for name, lines in (
        ("task", _task(plan)),
        ("space", _space(plan)),
        ("trials", [_trials(plan)]),
        ("rungs", _rungs(plan)),
        ("finalists", _finalists(plan)),
        ("search", _search(plan)),
        ("retraining", _retraining(plan)),
        ("disk", _disk(plan)),
        ("time", _time(plan, price)),
    ):
        for number, line in enumerate(lines):
            found.append(f"{'' if number else name:{_WIDTH}}{line}")
    return found


def comparison(facts: Mapping[str, Any], history: History) -> list[str]:
    """How the search of a run compares with the estimate in its run.yaml, if there is one."""
    estimate = Estimate.read(facts.get("estimate"))
    if estimate is None:
        return []
    real = spent(history)
    lines = [f"{real.epochs:.1f} spent, {_expected(estimate)}"]
    if estimate.seconds is not None:
        took = f"{duration(real.seconds)}, {duration(estimate.seconds)} estimated"
        lines.append(f"{took}{_off(estimate.seconds, real.seconds)}")
    if real.done < estimate.trials:
        lines[-1] += f" for all {estimate.trials} trials; {real.done:g} are done"
    names = ("epochs", "search")
    return [f"{name:{_WIDTH}}{line}" for name, line in zip(names, lines, strict=False)]


def _expected(estimate: Estimate) -> str:
    if estimate.exact:
        return f"{estimate.epochs:.1f} planned"
    return f"{estimate.epochs:.1f} expected ({estimate.low:.1f} to {estimate.high:.1f})"


def _off(said: float, real: float) -> str:
    return f" ({100 * (said - real) / real:+.0f} %)" if real > 0 else ""


def _task(plan: Plan) -> list[str]:
    made = plan.preparation
    data, task = made.data, made.task
    rows = (
        f"the official validation split's {data.selection.num_rows:,}"
        if data.selected_on == "validation"
        else f"{data.selection.num_rows:,} held out of the training split"
    )
    return [
        f"{task.name}, {task.objective}, with the model {made.base.name}",
        f"trials train on {data.train.num_rows:,} of {data.full_train.num_rows:,} training rows, "
        f"scored on {rows}",
    ]


def _space(plan: Plan) -> list[str]:
    space = plan.preparation.space
    widest = max(len(parameter.name) for parameter in space.parameters)
    chosen = plan.preparation.choice
    lines = [space.name if chosen is None else f"{space.name}, for {chosen.why}"]
    lines += [f"  {p.name:{widest}}  {p}" for p in space.parameters]
    for number, point in enumerate(space.start[: plan.search.trials]):
        lines.append(f"  tried {_ordinal(number)}: {configuration(point)}")
    return lines


def _ordinal(number: int) -> str:
    return ("first", "second", "third")[number] if number < 3 else f"{number + 1}th"


def _trials(plan: Plan) -> str:
    more = "" if plan.now >= plan.at_once else f" ({plan.now} until more hosts have come)"
    return f"{plan.search.trials:,}, {plan.at_once} at a time{more}: {_why(plan)}"


def _why(plan: Plan) -> str:
    """Why so many at a time and not more."""
    layout, settings = plan.layout, plan.preparation.settings
    workers, gpus = layout.workers, settings.gpus_per_worker
    if plan.at_once < layout.slots:
        return f"there are no more trials; {layout.slots} would fit"
    if settings.slots != "auto":
        # An autoscaler may add hosts that nobody knows of yet.
        most = lay_out(plan.nodes, workers=workers, gpus_per_worker=gpus, bounded=False).slots
        if most < layout.slots:
            return "as --slots asks"
        room = f"; {most} would fit" if most > layout.slots else ", and no more would fit"
        return f"as --slots asks{room}"
    hosts = "this host has" if len(plan.nodes) == 1 else f"the {len(plan.nodes)} hosts have"
    cores = int(sum(node.cpus for node in plan.nodes))
    devices = sum(node.gpus for node in plan.nodes)
    there = _counted(cores, "core") + (f" and {_counted(devices, 'GPU')}" if devices else "")
    return f"a slot takes {_takes(layout)}, and {hosts} {there}"


def _takes(layout: Layout) -> str:
    if layout.gpus:
        one = f"{layout.gpus:g} GPU{'' if layout.gpus == 1 else 's'} and a core"
    else:
        one = _counted(layout.cpus, "core")
    return one if layout.workers == 1 else f"{layout.workers} workers of {one} each"


def _counted(number: float, what: str) -> str:
    return f"{number:,g} {what}{'' if number == 1 else 's'}"


def _rungs(plan: Plan) -> list[str]:
    settings = plan.preparation.settings
    top = REDUCTION ** (settings.rungs - 1)
    shares = [f"{100 * REDUCTION**k / top:.0f} %" for k in range(settings.rungs)]
    judged = "ASHA stops the weaker two thirds" if plan.search.asha else "nothing is stopped"
    where = f"at {_listed(shares)} of a trial's own schedule; {judged} before the end"
    if settings.rungs == 1:
        where = "at the end of a trial's schedule only"
    return [f"{settings.rungs}: {where}", f"a trial: {_ranges(plan.schedules)}"]


def _finalists(plan: Plan) -> list[str]:
    search = plan.search
    if not search.repeats:
        return []
    seeds = _counted(search.reseeds, "new seed")
    who = f"the best {search.finalists} configurations run again under {seeds} each"
    if search.finalists == 1:
        who = f"the best configuration runs again under {seeds}"
    more = _counted(search.repeats, "full schedule")
    return [f"{who}: {more} more, which nothing stops, to be ranked by the mean"]


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _ranges(schedules: Iterable[Schedule]) -> str:
    given = list(schedules)
    epochs = _range(given, lambda schedule: schedule.epochs)
    steps = _range(given, lambda schedule: schedule.steps)
    evaluations = _range(given, lambda schedule: len(schedule.rungs))
    return f"{epochs} epochs, {steps} steps, {evaluations} evaluations"


def _range(given: list[Schedule], of: Callable[[Schedule], float]) -> str:
    low, high = min(map(of, given)), max(map(of, given))
    return f"{low:,g}" if low == high else f"{low:,g} to {high:,g}"


def _search(plan: Plan) -> list[str]:
    found = plan.estimate
    about = "" if found.exact else "about "
    epochs = f"{about}{found.epochs:,.1f} epochs"
    if found.drawn - found.epochs > 0.05:
        epochs += f" of the {found.drawn:,.1f} that the schedules have together"
    lines = [epochs, f"{about}{found.steps:,.0f} steps, {found.evaluations:,.0f} evaluations"]
    if found.exact:
        lines[-1] += ", exactly: nothing in it is left to chance"
        return lines
    why = (
        f"simulated with scores at random: {found.low:,.1f} to {found.high:,.1f} epochs in 8 of 10"
    )
    if plan.search.trials > FORESEEN and len(plan.schedules) != plan.search.trials:
        why += f"; the first {FORESEEN} draws are known, the others follow the scores"
    return [*lines, why]


def _retraining(plan: Plan) -> list[str]:
    settings, data = plan.preparation.settings, plan.preparation.data
    if not settings.retrain:
        return ["none (--no-retrain)"]
    steps = _range(list(plan.retraining), lambda schedule: schedule.steps)
    return [
        f"{steps} steps on all {data.full_train.num_rows:,} training rows, one evaluation on the "
        f"{data.validation.num_rows:,} validation rows"
    ]


def _disk(plan: Plan) -> list[str]:
    disk, settings = plan.disk, plan.preparation.settings
    often = duration(settings.checkpoint_every)
    lines = [
        f"at most {_bytes(disk.running)} while it runs (with checkpoints of trials that take more "
        f"than {often}), {_bytes(disk.kept)} when it is over"
    ]
    if disk.free is not None:
        short = " - TOO LITTLE" if disk.free < disk.running else ""
        lines.append(f"{_bytes(disk.free)} are free in {settings.storage}{short}")
    return lines


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def _time(plan: Plan, price: float | None) -> list[str]:
    found, settings = plan.estimate, plan.preparation.settings
    if found.seconds is None or found.slot_hours is None:
        return ["not timed; --probe times a few steps and an evaluation"]
    text = f"about {duration(found.seconds)} for the search"
    if settings.budget is not None and found.done < found.trials - 0.5:
        text += f", which the budget ends after about {found.done:.0f} trials"
    if found.retraining_seconds is not None:
        text += f", {duration(found.retraining_seconds)} for the retraining at one slot's pace"
    lines = [text, f"{found.slot_hours:.2g} slot-hours on {_counted(found.slots, 'slot')}"]
    if price is not None:
        lines[-1] += f", {found.slot_hours * price:,.2f} at {price:g} a slot-hour"
    return lines
