"""What a task is: text columns, label names, splits, metrics, objective; and the tasks built in.

Knows nothing of Ray or torch, reads no files and fetches nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from tuner.errors import UserError, suggestion

ACCURACY = "accuracy"
F1 = "f1"
MACRO_F1 = "macro_f1"
MATTHEWS = "matthews_correlation"
PEARSON = "pearson"
SPEARMAN = "spearman"
RMSE = "rmse"

DIRECTIONS: Mapping[str, Literal["max", "min"]] = MappingProxyType(
    {
        ACCURACY: "max",
        F1: "max",
        MACRO_F1: "max",
        MATTHEWS: "max",
        PEARSON: "max",
        SPEARMAN: "max",
        RMSE: "min",
    }
)
"""Every metric there is, and whether more or less of it is better."""

LEVEL = 0.95
"""How likely a metric lies within the interval that it is given with."""

CLASS_METRICS = (ACCURACY, MACRO_F1)
"""What a classification of one's own records."""

SCALE_METRICS = (PEARSON, SPEARMAN, RMSE)
"""What a regression of one's own records."""

GLUE = "nyu-mll/glue"


@dataclass(frozen=True)
class GlueFiles:
    """How GLUE's original distribution writes a task: a folder of tab-separated, unquoted files.

    `columns` are the header's names of the task's text columns, in their order, and `label` that of
    the label. `labels` is what the files write for each class, in the order of the task's label
    names; label names themselves are read too. `without_header` names the columns of files that
    have no header line.
    """

    folder: str
    columns: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ()
    train: str = "train.tsv"
    validation: str = "dev.tsv"
    test: str = "test.tsv"
    without_header: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A text classification task, or a regression where `label_names` is empty.

    `text_columns` are one column or two; `train_split`, `validation_split` and `test_split` are the
    rules for the splits' rows (`rules`), which for the tasks built in are the Hub's names of them;
    `split_seed` is that of rows drawn by a share. `drawn_from` marks the parts of the data that a
    run took shares or ranges of, to train and to validate (`sources.mark`). `hub` is a data set of
    the Hub and its configuration. `label_values` is what files write for each class, where that is
    not its name. `label_range` bounds the labels of a regression. `metrics` are all recorded;
    `objective` is the one that a search goes by. `counterparts` are tasks with the same rows to
    train on and another validation split, on which the trained model is scored, too.
    """

    name: str
    title: str
    text_columns: tuple[str, ...]
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    objective: str
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    label_column: str = "label"
    label_values: tuple[str, ...] = ()
    label_range: tuple[float, float] | None = None
    split_seed: int = 0
    drawn_from: tuple[str, ...] = ()
    hub: tuple[str, str | None] | None = None
    glue: GlueFiles | None = None
    counterparts: tuple[str, ...] = ()

    @property
    def regression(self) -> bool:
        """Whether labels are numbers rather than classes."""
        return not self.label_names

    @property
    def num_labels(self) -> int:
        """The model's outputs: one a class, one in all for a regression."""
        return len(self.label_names) or 1

    def with_objective(self, name: str) -> Task:
        """The task with another of its own metrics as the objective; raises UserError otherwise."""
        if name not in self.metrics:
            raise UserError(
                f"the task {self.name} has no metric {name!r}; choose from "
                f"{', '.join(self.metrics)}{suggestion(name, self.metrics)}"
            )
        return dataclasses.replace(self, objective=name)

    def split(self, name: str) -> str:
        """The rule for the rows of `train`, `validation` or `test`."""
        return str(getattr(self, f"{name}_split"))

    @property
    def built_in(self) -> bool:
        """Whether it is, but for its objective and where its columns stand, one of `TASKS`."""
        own = TASKS.get(self.name)
        return own is not None and own.title == self.title and own.label_names == self.label_names

    def plain(self) -> dict[str, Any]:
        """As plain data, without what a task built in knows of GLUE's files."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["glue"]
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Task:
        """The task that `plain` wrote; keys that it does not know are passed over.

        Raises UserError where something is missing or of another kind.
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"glue"}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
        try:
            task = cls(**given)
            wrong = not all(
                isinstance(name, str)
                for names in (task.text_columns, task.label_names, task.metrics, task.drawn_from)
                for name in (task.name, *names)
            )
        except TypeError:
            wrong = True
        if wrong:
            raise UserError("the task cannot be read: it is not what tuner writes")
        # GLUE's files are no part of what is written.
        own = TASKS[task.name] if task.built_in else task
        glue = own.glue if own.text_columns == task.text_columns else None
        return dataclasses.replace(task, glue=glue)


ENTAILMENT = ("entailment", "not_entailment")
INFERENCE = ("entailment", "neutral", "contradiction")
DIGITS = ("0", "1")
PAIR = ("sentence1", "sentence2")

_MNLI = Task(
    name="mnli",
    title="MultiNLI: does the premise entail, contradict or leave open the hypothesis (matched)",
    text_columns=("premise", "hypothesis"),
    label_names=INFERENCE,
    metrics=(ACCURACY,),
    objective=ACCURACY,
    validation_split="validation_matched",
    test_split="test_matched",
    hub=(GLUE, "mnli"),
    glue=GlueFiles(
        "MNLI",
        PAIR,
        "gold_label",
        INFERENCE,
        validation="dev_matched.tsv",
        test="test_matched.tsv",
    ),
    counterparts=("mnli-mm",),
)
_MNLI_GLUE = GlueFiles(
    "MNLI",
    PAIR,
    "gold_label",
    INFERENCE,
    validation="dev_mismatched.tsv",
    test="test_mismatched.tsv",
)

_BUILT_IN = (
    Task(
        name="cola",
        title="Corpus of Linguistic Acceptability: is it an English sentence",
        text_columns=("sentence",),
        label_names=("unacceptable", "acceptable"),
        metrics=(MATTHEWS,),
        objective=MATTHEWS,
        hub=(GLUE, "cola"),
        glue=GlueFiles(
            "CoLA",
            ("sentence",),
            "label",
            DIGITS,
            without_header=("source", "label", "star", "sentence"),
        ),
    ),
    _MNLI,
    dataclasses.replace(
        _MNLI,
        name="mnli-mm",
        title="MultiNLI, validated on genres that the training split lacks (mismatched)",
        validation_split="validation_mismatched",
        test_split="test_mismatched",
        glue=_MNLI_GLUE,
        counterparts=("mnli",),
    ),
    Task(
        name="mrpc",
        title="Microsoft Research Paraphrase Corpus: do two sentences mean the same",
        text_columns=PAIR,
        label_names=("not_equivalent", "equivalent"),
        metrics=(ACCURACY, F1),
        objective=ACCURACY,
        hub=(GLUE, "mrpc"),
        glue=GlueFiles("MRPC", ("#1 String", "#2 String"), "Quality", DIGITS),
    ),
    Task(
        name="qnli",
        title="Question NLI: does the sentence answer the question",
        text_columns=("question", "sentence"),
        label_names=ENTAILMENT,
        metrics=(ACCURACY,),
        objective=ACCURACY,
        hub=(GLUE, "qnli"),
        glue=GlueFiles("QNLI", ("question", "sentence"), "label", ENTAILMENT),
    ),
    Task(
        name="qqp",
        title="Quora Question Pairs: do two questions ask the same",
        text_columns=("question1", "question2"),
        label_names=("not_duplicate", "duplicate"),
        metrics=(ACCURACY, F1),
        objective=ACCURACY,
        hub=(GLUE, "qqp"),
        glue=GlueFiles("QQP", ("question1", "question2"), "is_duplicate", DIGITS),
    ),
    Task(
        name="rte",
        title="Recognizing Textual Entailment: does the first text entail the second",
        text_columns=PAIR,
        label_names=ENTAILMENT,
        metrics=(ACCURACY,),
        objective=ACCURACY,
        hub=(GLUE, "rte"),
        glue=GlueFiles("RTE", PAIR, "label", ENTAILMENT),
    ),
    Task(
        name="sst2",
        title="Stanford Sentiment Treebank: is the review positive",
        text_columns=("sentence",),
        label_names=("negative", "positive"),
        metrics=(ACCURACY,),
        objective=ACCURACY,
        hub=(GLUE, "sst2"),
        glue=GlueFiles("SST-2", ("sentence",), "label", DIGITS),
    ),
    Task(
        name="stsb",
        title="Semantic Textual Similarity Benchmark: how alike two sentences are, 0 to 5",
        text_columns=PAIR,
        label_names=(),
        metrics=(PEARSON, SPEARMAN),
        objective=PEARSON,
        label_range=(0.0, 5.0),
        hub=(GLUE, "stsb"),
        glue=GlueFiles("STS-B", PAIR, "score"),
    ),
    Task(
        name="wnli",
        title="Winograd NLI: does the sentence follow with its pronoun resolved",
        text_columns=PAIR,
        label_names=("not_entailment", "entailment"),
        metrics=(ACCURACY,),
        objective=ACCURACY,
        hub=(GLUE, "wnli"),
        glue=GlueFiles("WNLI", PAIR, "label", DIGITS),
    ),
    Task(
        name="demo",
        title="Built in: do two generated sentences name the same colour",
        text_columns=PAIR,
        label_names=("different", "same"),
        metrics=(ACCURACY,),
        objective=ACCURACY,
    ),
)

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _BUILT_IN})
"""The tasks built in, by name: GLUE's ten and `demo`. GLUE: Wang et al. 2019, gluebenchmark.com."""


def find_task(name: str) -> Task:
    """The task called `name`; raises UserError that suggests the nearest name."""
    try:
        return TASKS[name]
    except KeyError:
        raise UserError(
            f"there is no task {name!r}; choose from {', '.join(TASKS)}, or name a task file "
            f"(.yaml){suggestion(name.lower(), TASKS)}"
        ) from None


def direction(metric: str) -> Literal["max", "min"]:
    """Whether more ("max") or less ("min") of `metric` is better; raises UserError if unknown."""
    try:
        return DIRECTIONS[metric]
    except KeyError:
        raise UserError(
            f"there is no metric {metric!r}; choose from {', '.join(DIRECTIONS)}"
            f"{suggestion(metric, DIRECTIONS)}"
        ) from None
