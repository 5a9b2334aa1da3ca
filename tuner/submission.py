"""What GLUE's server takes: a zip with a file of predictions for each of its test sets.

https://gluebenchmark.com/faq says the form. Knows which model answers which file; nothing of how a
model comes to its answers.
"""

from __future__ import annotations

import dataclasses
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tuner.addresses import Data, with_config
from tuner.answers import tsv
from tuner.errors import Absent, UserError
from tuner.glue import holds
from tuner.origins import dataset_of, probe_data
from tuner.places import Place
from tuner.sources import INDEX, read_split
from tuner.tasks import DIGITS, ENTAILMENT, GLUE, INFERENCE, PAIR, GlueFiles, Task, find_task

HEADER = ("index", "prediction")

_AX = dataclasses.replace(
    find_task("mnli"),
    name="ax",
    title="GLUE's diagnostic set, answered by MNLI's model",
    test_split="test",
    hub=(GLUE, "ax"),
    glue=GlueFiles("diagnostic", PAIR, "gold_label", INFERENCE, test="diagnostic.tsv"),
)
_SCORE = re.compile(r"[0-4]\.\d{3}|5\.000")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can name: equal predictions give equal bytes."""


@dataclass(frozen=True)
class Answers:
    """One file of the zip: `task` reads its test set, models of the tasks `by` answer it.

    `rows` is the size of GLUE's test set. `labels` are all that may be written (none: scores from 0
    to 5). `commonest` is the commonest label of GLUE's training rows, of STS-B their mean score;
    the classes of MNLI and QNLI are equally common, and it is the first of them.
    """

    name: str
    task: Task
    by: tuple[str, ...]
    rows: int
    labels: tuple[str, ...]
    commonest: str


def _answers(name: str, task: str, rows: int, labels: tuple[str, ...], commonest: str) -> Answers:
    return Answers(name, find_task(task), (task,), rows, labels, commonest)


_MNLI = ("mnli", "mnli-mm")

FILES = (
    _answers("CoLA.tsv", "cola", 1063, DIGITS, "1"),
    _answers("SST-2.tsv", "sst2", 1821, DIGITS, "1"),
    _answers("MRPC.tsv", "mrpc", 1725, DIGITS, "1"),
    _answers("STS-B.tsv", "stsb", 1379, (), "2.701"),
    Answers("MNLI-m.tsv", find_task("mnli"), _MNLI, 9796, INFERENCE, "entailment"),
    Answers("MNLI-mm.tsv", find_task("mnli-mm"), _MNLI, 9847, INFERENCE, "entailment"),
    _answers("QNLI.tsv", "qnli", 5463, ENTAILMENT, "entailment"),
    _answers("QQP.tsv", "qqp", 390_965, DIGITS, "0"),
    _answers("RTE.tsv", "rte", 3000, ENTAILMENT, "entailment"),
    _answers("WNLI.tsv", "wnli", 146, DIGITS, "0"),
    Answers("AX.tsv", _AX, _MNLI, 1104, INFERENCE, "entailment"),
)
"""The files of the zip in GLUE's order."""


@dataclass(frozen=True)
class Entrant:
    """A model that answers: what the user called it, its folder, its task, and where the test sets
    are read from (None: the Hub)."""

    called: str
    folder: Path
    task: Task
    data: Data


@dataclass(frozen=True)
class Plan:
    """Which files are answered, by whom, on which rows; and for the others, why not."""

    answered: Mapping[Answers, tuple[Entrant, pa.Table]]
    missing: Mapping[Answers, str]

    @property
    def rows(self) -> int:
        """All rows that are to be predicted."""
        return sum(table.num_rows for _, table in self.answered.values())


def plan(entrants: Sequence[Entrant]) -> Plan:
    """Find each file's model and read its test set.

    Raises UserError for a model of a task that GLUE does not ask for, two models of one task, a
    test set that is there and cannot be used, and a Hub that does not answer.
    """
    chosen = _chosen(entrants)
    answered: dict[Answers, tuple[Entrant, pa.Table]] = {}
    missing: dict[Answers, str] = {}
    for entrant in entrants:
        if (dataset := dataset_of(entrant.data, entrant.task)) is not None:
            probe_data(entrant.data, dataset)
    for file in FILES:
        answering = next((chosen[name] for name in file.by if name in chosen), None)
        if answering is None:
            missing[file] = f"no run of {file.by[0]}"
            continue
        try:
            table = _test_rows(file, answering)
        except Absent as error:
            missing[file] = f"no test set: {error.what}"
            continue
        _check_index(file, table)
        answered[file] = answering, table
    return Plan(answered, missing)


def _test_rows(file: Answers, entrant: Entrant) -> pa.Table:
    """The rows of a file's test set, from where the entrant's data lie.

    Only the entrant's own test set may be called just `test`: MNLI's other half and the diagnostic
    set lie beside it under their names.
    """
    if file.task is _AX:
        return _diagnostics(entrant.data)
    return read_split(file.task, "test", entrant.data, exact=file.task.name != entrant.task.name)


def _diagnostics(data: Data) -> pa.Table:
    """The diagnostic set beside MNLI: a folder among GLUE's, a configuration on the Hub and in
    copies of it."""
    if data is None or (isinstance(data, str) and _AX.glue and holds(_AX.glue, Place.of(data))):
        return read_split(_AX, "test", data)
    absent = Absent(
        f"{data}: has neither a folder diagnostic/ nor a configuration {_AX.name}",
        "name the folder that holds diagnostic/ with --data",
    )
    if not isinstance(data, str):
        raise absent
    folder, _ = with_config(data) or (data, "")
    try:
        return read_split(_AX, "test", f"{folder}:{_AX.name}", exact=True)
    except UserError as error:
        raise absent from error


def _chosen(entrants: Sequence[Entrant]) -> dict[str, Entrant]:
    """The entrants by the first task that any of their files can be answered by."""
    known = {name for file in FILES for name in file.by}
    chosen: dict[str, Entrant] = {}
    for entrant in entrants:
        if entrant.task.name not in known or not entrant.task.built_in:
            raise UserError(
                f"{entrant.called} is a model of {entrant.task.name}, which GLUE does not ask for; "
                f"leave it out (GLUE's tasks: {', '.join(sorted(known))})"
            )
        name = "mnli" if entrant.task.name in _MNLI else entrant.task.name
        if name in chosen:
            raise UserError(
                f"{chosen[name].called} and {entrant.called} are both models of {name}; "
                "leave one of them out"
            )
        chosen[name] = entrant
    return chosen


def _check_index(file: Answers, table: pa.Table) -> None:
    """GLUE numbers the rows of its test sets from 0, in their order, and wants them back so."""
    if INDEX not in table.column_names:
        return
    for row, number in enumerate(table[INDEX].to_pylist()):
        if number != row:
            raise UserError(
                f"{file.name}: row {row} of the test set has the index {number}, but GLUE's are "
                "numbered 0, 1, 2, … in their order; use GLUE's own file"
            )


def check_complete(missing: Mapping[Answers, str]) -> None:
    """Raises UserError that lists what is missing, if anything is."""
    if missing:
        raise UserError(
            f"{len(missing)} of {len(FILES)} files are missing, and GLUE takes none without them: "
            f"{'; '.join(f'{file.name} ({why})' for file, why in missing.items())}. Pass the runs "
            "that answer them, or --fill-missing to write each training set's commonest label"
        )


def filled(file: Answers) -> list[str]:
    """The commonest label for every row of GLUE's test set."""
    return [file.commonest] * file.rows


def pack(predictions: Mapping[Answers, Sequence[str]]) -> bytes:
    """The zip: a file of `index` and `prediction` for each. Equal predictions give equal bytes.

    Raises UserError when GLUE would not take it.
    """
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for file in FILES:
            if file in predictions:
                entry = zipfile.ZipInfo(file.name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3
                entry.external_attr = 0o644 << 16
                packed.writestr(entry, tsv(HEADER, enumerate(predictions[file])))
    content = sink.getvalue()
    if problems := faults(content):
        raise UserError(f"GLUE would not take these predictions: {problems[0]}; look at the runs")
    return content


def faults(content: bytes) -> list[str]:
    """What is wrong with a zip for GLUE's server; nothing where it follows the form."""
    try:
        packed = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        return [f"it is no zip: {error}"]
    with packed:
        names = packed.namelist()
        wanted = {file.name: file for file in FILES}
        found = [f"{name} does not belong in it" for name in names if name not in wanted]
        found += [f"{name} is in it twice" for name in wanted if names.count(name) > 1]
        for name, file in wanted.items():
            if name not in names:
                found.append(f"{name} is missing")
            elif (wrong := _fault(file, packed.read(name))) is not None:
                found.append(f"{name}:{wrong}")
    return found


def _fault(file: Answers, content: bytes) -> str | None:
    """`line: what is wrong` with a file, for its first fault."""
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        return "1: is not UTF-8"
    if lines[0] != "\t".join(HEADER):
        return f"1: the header is {lines[0]!r}, but must be {' TAB '.join(HEADER)}"
    if lines[-1]:
        return f"{len(lines)}: the last line has no end"
    if len(lines) < 3:
        return "2: there are no predictions"
    allowed = set(file.labels)
    for row, line in enumerate(lines[1:-1]):
        index, tab, label = line.partition("\t")
        if not tab or index != str(row):
            return f"{row + 2}: must begin with the index {row} and a tab"
        if label not in allowed if allowed else not _SCORE.fullmatch(label):
            rule = f"one of {', '.join(file.labels)}" if allowed else "0.000 to 5.000"
            return f"{row + 2}: the prediction {label!r} must be {rule}"
    return None


def unusual(predictions: Mapping[Answers, Sequence[str]]) -> list[str]:
    """What GLUE's server will refuse though its form is right: files of another length."""
    return [
        f"{file.name} has {len(given):,} predictions, but GLUE's test set {file.rows:,} rows"
        for file, given in predictions.items()
        if len(given) != file.rows
    ]
