"""What became of a trial, in lines: what the journal says of it, event by event, then its log.

Reads; knows nothing of how either came to be written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuner.cells import configuration
from tuner.errors import UserError, suggestion
from tuner.journal import read_part
from tuner.runs import Run, bring


def trial_lines(run: Run, trial: str) -> list[str]:
    """The lines about `trial`, also of a run that is not whole. Raises UserError when the run has
    none of that name."""
    events: list[Mapping[str, Any]] = []
    part = read_part(run.journal_file, run.place(run.journal_file.name), events.append)
    trouble = f"{run.journal_file.name} is missing" if part.missing else part.broken
    if trial not in part.history.records:
        raise unknown_trial(run, trial, list(part.history.records), [trouble] if trouble else [])
    troubles = [f"Not whole: {trouble}"] if trouble else []
    return [*_told(events, trial), *troubles, "", *_log(run, trial)]


def unknown_trial(
    run: Run, trial: str, names: Sequence[str], troubles: Sequence[str] = ()
) -> UserError:
    """That the run has the trials `names` only, as far as it is whole."""
    what = f"it has {names[0]} to {names[-1]}" if names else "none was drawn yet"
    hint = suggestion(trial, names) or f"; {what}"
    if troubles:
        hint = f"; not whole: {'; '.join(troubles)}"
    return UserError(f"the run {run.name} has no trial {trial[:60]!r}{hint}")


def _told(events: Iterable[Mapping[str, Any]], trial: str) -> list[str]:
    lines: list[str] = []
    takes, under_way = 0, False
    for event in events:
        name, mine = event["event"], event.get("trial") == trial
        if name == "session" and under_way:
            text = "another driver began, and so does the trial"
            under_way = False
        elif name == "note" and str(event.get("text", "")).startswith(f"{trial} "):
            text = str(event["text"])
        elif mine:
            takes += name == "taken"
            under_way = name in ("taken", "report")
            text = _text(name, event, takes)
        else:
            continue
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(event.get("time") or 0)))
        lines.append(f"{moment}  {text}")
    return lines


def _text(name: str, event: Mapping[str, Any], takes: int) -> str:
    if name == "drawn":
        start = " (a start point)" if event.get("start_point") else ""
        return f"drawn{start}: {configuration(event.get('configuration') or {})}"
    if name == "taken":
        return "taken by a slot" + (f", for the {_ordinal(takes)} time" if takes > 1 else "")
    if name == "lost":
        return f"{'preempted' if event.get('preempted') else 'lost its slot'}: {event.get('error')}"
    where = f" on {event['slot']}" if event.get("slot") else ""
    if name == "failed":
        return f"failed{where}: {event.get('error') or 'no reason given'}"
    metrics = event.get("metrics") or {}
    scores = [f"{key} {_decimals(value)}" for key, value in metrics.items()]
    scores.append(f"loss {_decimals(event.get('loss'))}")
    what = {"report": "reported", "finished": "finished", "stopped": "stopped"}.get(name, name)
    at = f" at step {event.get('step')} of {event.get('total_steps')}"
    return f"{what}{at}{where}: {', '.join(scores)}"


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _decimals(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _log(run: Run, trial: str) -> list[str]:
    """The trial's log, and those of its other workers."""
    folder, lines = run.logs_folder.name, []
    mine = re.compile(re.escape(trial) + r"(\.rank\d+)?\.log")
    for name in sorted(filter(mine.fullmatch, _names(run, folder)), key=lambda it: (len(it), it)):
        if bring(run, f"{folder}/{name}"):
            content = (run.logs_folder / name).read_text(encoding="utf-8", errors="replace")
            lines += [f"{run.place(f'{folder}/{name}')}:", *content.splitlines()]
    return lines or ["no log: a trial that ends without trouble keeps none"]


def _names(run: Run, folder: str) -> list[str]:
    if run.store is not None:
        return [entry.name.rpartition("/")[2] for entry in run.store.entries(folder)]
    return [path.name for path in run.logs_folder.glob("*.log")]
