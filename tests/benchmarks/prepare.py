"""How long it takes from a file of rows to tokens, how much memory, and what the cache saves.

    prepare.py [--repeats N] -- OPTIONS-OF-TUNER-DATA…

Each measurement is a process of its own. See README.md here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from tuner.options import data_command
from tuner.settings import Settings

WAYS = ("no cache", "first run", "second run")
STAGES = ("read", "check", "libraries and tokenizer", "fingerprint", "prepare")


def measure(options: list[str]) -> dict[str, Any]:
    """Seconds a stage, MiB at the peak, and a digest of all that came out."""
    spent: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent[stage] = time.perf_counter() - began

    began = time.perf_counter()
    settings = read_options(options)
    from tuner.preparation import resolve, texts_of
    from tuner.progress import Silent
    from tuner.reading import read_task

    settings, draft = resolve(settings)
    with timed("read"):
        reading = read_task(draft, settings, lambda text: None)
    task, splits = reading.task, reading.splits
    with timed("libraries and tokenizer"):
        from tuner.bases import load_reader
        from tuner.cache import token_cache
        from tuner.checks import check_rows
        from tuner.data import fingerprint, prepare_data

        reader = load_reader(str(settings.model), task, lambda: texts_of(task, splits["train"]))
    with timed("check"):
        check_rows(task, splits)
    with timed("fingerprint"):
        for rows in splits.values():
            fingerprint(task, rows)
    with timed("prepare"):
        data = prepare_data(
            task,
            splits,
            reader.tokenizer,
            model_limit=reader.model_limit,
            fraction=settings.fraction,
            select_on=settings.select_on,
            max_length=settings.max_length,
            seed=settings.seed,
            progress=Silent(),
            cache=token_cache(),
        )
    total = time.perf_counter() - began - spent["fingerprint"]  # which prepare has in it, too
    tables = (data.train, data.selection, data.full_train, data.validation)
    return {
        **spent,
        "total": total,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": sum(rows.num_rows for rows in splits.values()),
        "tokens": sum(len(table["input_ids"].combine_chunks().values) for table in tables[2:]),
        "digest": digest(tables),
    }


def digest(tables: Any) -> str:
    """SHA-256 of every value of the tables."""
    found = hashlib.sha256()
    for table in tables:
        for row_columns in table.to_batches(max_chunksize=1000):
            found.update(json.dumps(row_columns.to_pydict()).encode())
    return found.hexdigest()


def read_options(options: list[str]) -> Settings:
    """The settings that `tuner data` makes of its options."""
    kept: list[Settings] = []

    @data_command
    def keep(settings: Settings) -> int:
        kept.append(settings)
        return 0

    app = typer.Typer(add_completion=False)
    app.command()(keep)
    app(options, standalone_mode=False)
    return kept[0]


def child(way: str, cache: str, options: list[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", "--", *options]
    environment = {**os.environ, "TUNER_CACHE": "off" if way == WAYS[0] else cache}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("options", nargs="+")
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.options)))
        return
    header = ("way", *STAGES, "total", "peak", "same tokens")
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---", *["---:"] * (len(header) - 1)]), "|")
    digests: set[str] = set()
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for way in WAYS:
                found = child(way, cache, given.options)
                digests.add(found["digest"])
                seconds = [f"{found[stage]:.1f} s" for stage in (*STAGES, "total")]
                same = "yes" if len(digests) == 1 else "NO"
                cells = [way, *seconds, f"{found['peak']:,.0f} MiB", same]
                print("|", " | ".join(cells), "|", flush=True)
    print(f"{found['rows']:,} rows, {found['tokens']:,} tokens")


if __name__ == "__main__":
    main()
