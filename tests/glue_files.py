"""Small GLUE folders made from the demo's rows, for whole runs on files."""

from pathlib import Path

from tuner.demo import demo_rows

NAMES = ("not_entailment", "entailment")


def write_rte(folder: Path, rows: int = 300, validation: int = 60, flipped: bool = False) -> Path:
    """RTE's files, with rows of the demo. `flipped` replaces the validation rows, and turns their
    labels around; there are as many."""
    (folder / "RTE").mkdir(parents=True)
    shown = demo_rows("test" if flipped else "validation")[:validation]
    splits = {
        "train": demo_rows("train")[:rows],
        "dev": [(a, b, 1 - label if flipped else label) for a, b, label in shown],
        "test": demo_rows("test")[:20],
    }
    for split, given in splits.items():
        labelled = split != "test"
        lines = ["\t".join(["index", "sentence1", "sentence2", *["label"] * labelled])]
        for number, (first, second, label) in enumerate(given):
            lines.append("\t".join([str(number), first, second, *[NAMES[label]] * labelled]))
        (folder / "RTE" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


TEST_FILES = {
    "cola": ("CoLA/test.tsv", ("index", "sentence")),
    "sst2": ("SST-2/test.tsv", ("index", "sentence")),
    "mrpc": ("MRPC/test.tsv", ("index", "#1 ID", "#2 ID", "#1 String", "#2 String")),
    "stsb": (
        "STS-B/test.tsv",
        "index genre filename year old_index source1 source2 sentence1 sentence2".split(),
    ),
    "mnli": ("MNLI/test_matched.tsv", ("index", "promptID", "sentence1", "sentence2")),
    "mnli-mm": ("MNLI/test_mismatched.tsv", ("index", "promptID", "sentence1", "sentence2")),
    "ax": ("diagnostic/diagnostic.tsv", ("index", "sentence1", "sentence2")),
    "qnli": ("QNLI/test.tsv", ("index", "question", "sentence")),
    "qqp": ("QQP/test.tsv", ("id", "question1", "question2")),
    "rte": ("RTE/test.tsv", ("index", "sentence1", "sentence2")),
    "wnli": ("WNLI/test.tsv", ("index", "sentence1", "sentence2")),
}


def write_test_file(folder: Path, task: str, rows: int = 6, first: int = 0) -> Path:
    """A test file as GLUE has it, numbered from `first`; the last two columns hold the texts."""
    name, header = TEST_FILES[task]
    lines = ["\t".join(header)]
    for number, (one, two, _) in enumerate(demo_rows("test")[:rows], first):
        texts = [one] if task in ("cola", "sst2") else [one, two]
        between = ["x"] * (len(header) - 1 - len(texts))
        lines.append("\t".join([str(number), *between, *texts]))
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_mnli(folder: Path, rows: int = 300) -> Path:
    """MNLI's files with the demo's rows: two of three classes; the mismatched rows are others."""
    (folder / "MNLI").mkdir(parents=True)
    names = ("entailment", "neutral", "contradiction")
    splits = {
        "train": demo_rows("train")[:rows],
        "dev_matched": demo_rows("validation")[:40],
        "dev_mismatched": demo_rows("test")[:50],
    }
    for split, given in splits.items():
        lines = ["index\tsentence1\tsentence2\tgold_label"]
        for number, (one, two, label) in enumerate(given):
            name = names[2] if number % 5 == 0 else names[label]
            lines.append(f"{number}\t{one}\t{two}\t{name}")
        (folder / "MNLI" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder
