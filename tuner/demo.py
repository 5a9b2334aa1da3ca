"""The rows of the built-in task `demo`: sentence pairs from a small grammar, the same everywhere.

Pure Python; knows nothing of files, tasks or models.

The first sentence gives something a colour, among other things that it says; the second one gives
a colour again. The label says whether the two colours agree. Which words occur says next to
nothing about that: a model has to compare two places. A share of the rows carries a word that
gives the answer away, so that the first rungs of a trial tell a good learning rate from a bad one.
"""

from __future__ import annotations

import functools
import random
from typing import Literal

Split = Literal["train", "validation", "test"]
Row = tuple[str, str, int]
"""First sentence, second sentence, label: 1 where both name the same colour, 0 where not."""

SIZES: dict[Split, int] = {"train": 4000, "validation": 400, "test": 400}

NAMES = ("anna", "bob", "carla", "dino", "emma", "felix", "gina", "hugo", "iris", "jonas")
VERBS = ("gave", "sent", "showed", "lent", "sold")
THINGS = ("key", "cup", "book", "lamp", "chair", "coat", "ball", "box", "bike", "bag", "pen", "hat")
COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey")

EASY_SHARE = 0.2
"""How many rows say `still` or `now`. A bag of words gets half of this above chance."""

_SEED = 20240229


@functools.cache
def _all_rows() -> dict[Split, tuple[Row, ...]]:
    """Every split, one after the other from one generator; no pair of sentences comes twice."""
    rng = random.Random(_SEED)
    seen: set[tuple[str, str]] = set()
    splits: dict[Split, tuple[Row, ...]] = {}
    for split, size in SIZES.items():
        labels = [number % 2 for number in range(size)]
        rng.shuffle(labels)
        splits[split] = tuple(_new_row(rng, label, seen) for label in labels)
    return splits


def _new_row(rng: random.Random, label: int, seen: set[tuple[str, str]]) -> Row:
    while True:
        first, second = _sentences(rng, label)
        if (first, second) not in seen:
            seen.add((first, second))
            return first, second, label


def _sentences(rng: random.Random, label: int) -> tuple[str, str]:
    giver, taker = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS)
    colour, other = rng.sample(COLOURS, 2)
    first = f"{giver} {rng.choice(VERBS)} the {colour} {thing} to {taker}"
    hint = ""
    if rng.random() < EASY_SHARE:
        hint = "still " if label else "now "
    return first, f"the {thing} is {hint}{colour if label else other}"


def demo_rows(split: Split) -> list[Row]:
    """The rows of `split`: 4,000 for training, 400 each for validation and test, half of them 1.

    No pair of sentences occurs twice, within a split or across two.
    """
    return list(_all_rows()[split])
