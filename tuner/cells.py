"""What stands in the cells of a leaderboard's table: its columns, and each row's text in them.

Knows nothing of where the table is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tuner.headings import TIED, Heading, decimals, mean_and_sd
from tuner.hyperparameters import LEARNING_RATE, SHORT, Value
from tuner.leaderboard import Row
from tuner.ordering import SHOWN, Pick, spread
from tuner.sheets import Head, Sheet

_ERROR_WIDTH = 100


def value(name: str, given: Value | None) -> str:
    """A hyperparameter's value in short: `3.1e-05`, `3`, `cosine`."""
    if given is None:
        return ""
    if isinstance(given, float):
        return f"{given:.2g}" if name == LEARNING_RATE else f"{given:.3g}"
    return str(given).lower() if isinstance(given, bool) else one_line(str(given), 24)


def configuration(given: Mapping[str, Value]) -> str:
    """Hyperparameters in one line: `lr 3.1e-05, epochs 3, batch 16, seed 7`."""
    return ", ".join(f"{SHORT.get(name, name)} {value(name, it)}" for name, it in given.items())


@dataclass(frozen=True)
class Column:
    """A column of the table: its name, whether it holds numbers, and each row's text.

    A narrow terminal does first without the columns of the highest `spare`, never without 0.
    """

    name: str
    numeric: bool
    text: Callable[[Row], str]
    spare: int = 0


def columns(rows: Sequence[Row], about: Heading) -> list[Column]:
    """The columns worth showing: the rank, the scores, what was searched, and errors if any."""
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    metrics.pop(about.objective, None)
    shown = [
        Column("rank", True, lambda row: str(row.rank or "")),
        Column("trial", False, _trial),
        Column("status", False, lambda row: status(row, about)),
        *_seeds(rows),
        Column(about.objective, True, lambda row: decimals(row.objective)),
        *_errors(rows),
        *(Column(name, True, _metric(name), spare=3) for name in metrics),
        Column("done", True, lambda row: f"{100 * row.progress:.0f} %" if row.begun else ""),
        *(
            Column(SHORT.get(name, name), True, _hyperparameter(name), spare=min(place, 1))
            for place, name in enumerate(searched(rows))
        ),
        Column("time", True, lambda row: _seconds(row.total_seconds), spare=2),
    ]
    if any(row.restarts for row in rows):
        shown.append(Column("restarts", True, lambda row: str(row.restarts or ""), spare=2))
    if any(row.preemptions for row in rows):
        shown.append(Column("preempted", True, lambda row: str(row.preemptions or ""), spare=2))
    if any(row.warning for row in rows):
        shown.append(
            Column("warning", False, lambda row: one_line(row.warning or "", _ERROR_WIDTH), 2)
        )
    if any(row.error for row in rows):
        shown.append(Column("error", False, lambda row: one_line(row.error or "", _ERROR_WIDTH)))
    return shown


def searched(rows: Sequence[Row]) -> list[str]:
    """The hyperparameters that differ between rows; all of them when none does."""
    names = dict.fromkeys(name for row in rows for name in row.hyperparameters)
    differ = [n for n in names if len({repr(row.hyperparameters.get(n)) for row in rows}) > 1]
    return differ or list(names)


def _trial(row: Row) -> str:
    return row.trial if row.reseed_of is None else f"  {row.trial} of {row.reseed_of}"


def _seeds(rows: Sequence[Row]) -> list[Column]:
    """What ranks configurations that ran under several seeds, where there are any."""
    if not any(row.seeds > 1 for row in rows):
        return []
    return [Column("mean ± sd (seeds)", True, mean)]


def mean(row: Row) -> str:
    """The mean and its spread over so many seeds; empty for a configuration that ran once."""
    if row.objective_mean is None or row.objective_sd is None:
        return ""
    return f"{mean_and_sd(row.objective_mean, row.objective_sd)} ({row.seeds})"


def _errors(rows: Sequence[Row]) -> list[Column]:
    """How sure the objective is, and who may be as good as the leader, where that is known."""
    shown = []
    if any(row.objective_se is not None for row in rows):
        shown.append(Column("± se", True, lambda row: decimals(row.objective_se), spare=1))
    if any(row.tied for row in rows):
        shown.append(Column(TIED, False, lambda row: TIED if row.tied else ""))
    return shown


def status(row: Row, about: Heading) -> str:
    """A row's status in words: of a trial that is not done, whether anybody runs it."""
    if row.status != "running":
        return row.status
    if about.reason == "broken" and not about.live:
        return "unknown"
    if not row.begun:
        return "waiting"
    return "running" if about.live else "unfinished"


def _metric(name: str) -> Callable[[Row], str]:
    return lambda row: decimals(row.metrics.get(name))


def _hyperparameter(name: str) -> Callable[[Row], str]:
    return lambda row: value(name, row.hyperparameters.get(name))


def _seconds(number: float | None) -> str:
    return "" if number is None else f"{number:.1f} s"


def one_line(text: str, width: int) -> str:
    """`text` without line ends, control and escape characters, cut to `width` characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    return line if len(line) <= width else line[: width - 3] + "..."


def chosen(rows: Sequence[Row], about: Heading, wanted: Sequence[Pick]) -> list[Column]:
    """The columns `wanted`, as the table has them where it does; all that are worth showing where
    none is wanted."""
    usual = columns(rows, about)
    if not wanted:
        return usual
    known = {column.name: column for column in usual}
    return [_chosen(column, known, about) for column in spread(rows, wanted)]


def _chosen(wanted: Pick, known: Mapping[str, Column], about: Heading) -> Column:
    if wanted.inner is not None:
        metric = wanted.field == "metrics"
        name = wanted.inner if metric else SHORT.get(wanted.inner, wanted.inner)
        text = _metric(wanted.inner) if metric else _hyperparameter(wanted.inner)
    else:
        name = SHOWN.get(wanted.field, wanted.field)
        name = about.objective if name == "objective" else name
        text = _field(wanted.field)
    usual = known.get(name)
    return Column(name, wanted.field not in _TEXTS, usual.text if usual else text)


_TEXTS = ("run", "trial", "status", "slot", "error", "warning", "reseed_of")


def _field(name: str) -> Callable[[Row], str]:
    if name.endswith("_seconds"):
        return lambda row: _seconds(getattr(row, name))
    return lambda row: _cell(getattr(row, name))


def _cell(given: Value | None) -> str:
    if isinstance(given, float):
        return decimals(given)
    return value("", given) if not isinstance(given, str) else one_line(given, _ERROR_WIDTH)


def sheet(rows: Sequence[Row], listed: Sequence[Column]) -> Sheet:
    """The rows as texts."""
    heads = [Head(column.name, column.numeric, column.spare) for column in listed]
    return Sheet(heads, [[column.text(row) for column in listed] for row in rows])
