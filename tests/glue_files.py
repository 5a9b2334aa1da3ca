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
