"""What each chart shows, in a sentence or two: for those who cannot see it, and beside it.

Words only; knows nothing of HTML.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

from tuner.headings import duration
from tuner.page.report import CURVES, POINTS, UNKNOWN, Report


def captions(page: Report) -> dict[str, str]:
    """A text for each chart, by its name; empty for one that has nothing to show."""
    return {
        "curves": _curves(page),
        "points": _points(page),
        "parallel": _parallel(page),
        "importance": _importance(page),
        "best": _best(page),
        "work": _work(page),
        "confusion": _confusion(page),
    }


def _some(shown: int, most: int, trials: int) -> str:
    return f" Drawn are the best {shown:,} of {trials:,} trials." if shown == most < trials else ""


def _curves(page: Report) -> str:
    if not page.curves:
        return ""
    stops = Counter(
        min(page.rungs, key=lambda rung: abs(rung - curve.shares[-1]))
        for curve in page.curves
        if curve.status == "stopped" and page.rungs
    )
    told = ", ".join(f"{many} at {100 * share:.0f} %" for share, many in sorted(stops.items()))
    stopped = f" Stopped by ASHA: {told} of their schedules." if told else ""
    lines = "Each line is a trial" if not page.plain else "The line is the training"
    return (
        f"{lines}: {page.objective} on the selection rows over its schedule.{stopped}"
        f"{_some(len(page.curves), CURVES, page.trials)}"
    )


def _points(page: Report) -> str:
    if not page.points.axes:
        return ""
    names = ", ".join(axis.label for axis in page.points.axes)
    return (
        f"Each mark is a trial at its last report: {page.objective} against {names}. Stopped "
        "trials count with the score at which they were stopped."
        f"{_some(len(page.points.trials), POINTS, page.trials)}"
    )


def _parallel(page: Report) -> str:
    if len(page.points.axes) < 2 or len(page.points.trials) < 2:
        return ""
    return (
        "Each line is a trial, from one hyperparameter to the next and to its score, which gives "
        "its colour. Drag along an axis to keep only the trials in that range; the table holds the "
        f"same figures.{_some(len(page.points.trials), POINTS, page.trials)}"
    )


def _importance(page: Report) -> str:
    shares = ", ".join(
        f"{page.labels[name]} {100 * share:.0f} %" for name, share in page.importance.shares.items()
    )
    note = page.importance.note
    if page.plain:
        return ""
    return f"{shares}: {note}." if shares else f"{note[:1].upper()}{note[1:]}."


def _best(page: Report) -> str:
    best = page.best
    if page.plain or not best.seconds:
        return ""
    first, last = best.scores[0], best.best[-1]
    place = best.scores.index(last)
    return (
        f"The first trial to finish ({best.trials[0]}, after {duration(best.seconds[0])}) scored "
        f"{first:.4f}; the best, {last:.4f} ({best.trials[place]}), came after "
        f"{duration(best.seconds[place])}."
    )


def _work(page: Report) -> str:
    if page.plain or not page.work:
        return ""
    busy = sum(piece.end - piece.start for piece in page.work)
    begin = min(piece.start for piece in page.work)
    many = sum(slot != UNKNOWN for slot in page.slots)
    at_once = _at_once(page)
    whole = max(1e-9, (page.seconds - begin) * at_once)
    lost = sum(piece.ended in ("lost", "cut") for piece in page.work)
    slots = f"{many} slot{'s' * (many != 1)}"
    if lost:
        pieces = f"{lost} piece{'s' * (lost != 1)} of work"
        return f"{slots} worked on trials; {pieces} ended with a slot or a driver that was lost."
    slots += f", {at_once} at once" if many > at_once else ""
    share = min(100, 100 * busy / whole)
    return f"{slots}, at work on trials for {share:.0f} % of the time from the first trial on."


def _at_once(page: Report) -> int:
    """How many pieces of work went on at the same time at most: a slot that another one followed
    was not idle ever after."""
    moments = sorted(
        moment for piece in page.work for moment in ((piece.start, 1), (piece.end, -1))
    )
    # What began and ended in one moment went on, too.
    return max(1, *accumulate(step for _, step in moments))


def _confusion(page: Report) -> str:
    final = page.final
    if final is None or final.confusion is None:
        return ""
    right = sum(row[place] for place, row in enumerate(final.confusion))
    wrong = [
        (many, final.labels[a], final.labels[b])
        for a, row in enumerate(final.confusion)
        for b, many in enumerate(row)
        if a != b and many
    ]
    text = f"{right:,} of {final.rows:,} rows of the {final.split} split are right."
    if wrong:
        many, true, said = max(wrong, key=lambda cell: cell[0])
        text += f" Most often, {many:,} times, {true} is taken for {said}."
    return text
