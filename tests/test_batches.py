"""Batches are the same on any number of workers, hold every row once, and are padded as told."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.toy import toy_table
from tuner.batches import Feed, GroupedBatches, Padding, Part, Rows, padded, scoring_batches
from tuner.hyperparameters import cut_batch, total_steps

RIGHT = Padding(0, "right")
LENGTHS = np.random.default_rng(0).integers(3, 90, 203)


def batches(
    workers: int = 1, effective: int = 16, seed: int = 5, worker: int = 0, most: int | None = None
) -> GroupedBatches:
    return GroupedBatches(LENGTHS, cut_batch(effective, workers, most), seed, worker)


@pytest.mark.parametrize("effective", [1, 5, 16, 64, 300])
def test_an_epoch_has_every_row_once_and_its_odd_rows_last(effective: int) -> None:
    found = batches(effective=effective).global_batches()
    assert sorted(np.concatenate(found)) == list(range(len(LENGTHS)))
    sizes = [len(batch) for batch in found]
    assert sizes[:-1] == [effective] * (len(sizes) - 1)
    assert sizes[-1] == (len(LENGTHS) % effective or effective)
    assert len(sizes) == total_steps(len(LENGTHS), effective, 1)


@pytest.mark.parametrize("most", [None, 1, 3])
@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("effective", [3, 16, 17])
def test_workers_share_out_the_batches_of_one_worker(
    effective: int, workers: int, most: int | None
) -> None:
    whole = batches(effective=effective).global_batches()
    cut = cut_batch(effective, workers, most)
    hands = [list(batches(workers, effective, 5, worker, most)) for worker in range(workers)]
    assert {len(hand) for hand in hands} == {len(whole) * cut.accumulation}
    for step, rows in enumerate(whole):
        passes = [hand[step * cut.accumulation : (step + 1) * cut.accumulation] for hand in hands]
        parts = [part for hand in passes for part in hand]
        assert sorted(np.concatenate([part.rows for part in parts])) == sorted(rows)
        assert all(part.whole == len(rows) for part in parts)
        assert max(len(part.rows) for part in parts) <= cut.micro
        shares = [sum(len(part.rows) for part in hand) for hand in passes]
        assert max(shares) - min(shares) <= 1


def test_batches_hold_rows_of_similar_length() -> None:
    lengths = np.random.default_rng(1).integers(3, 90, 3200)
    grouped = GroupedBatches(lengths, cut_batch(16, 1), 5).global_batches()
    spread = np.mean([np.ptp(lengths[batch]) for batch in grouped])
    assert spread < 5 < np.ptp(lengths) / 10


def test_a_longest_row_comes_first_so_that_too_little_memory_shows_at_once() -> None:
    whole = [batch for batch in batches().global_batches() if len(batch) == 16]
    assert LENGTHS[whole[0]].max() == max(LENGTHS[batch].max() for batch in whole)


def test_seed_and_epoch_alone_change_the_batches() -> None:
    def order(sampler: GroupedBatches, epoch: int) -> list[int]:
        sampler.set_epoch(epoch)
        return [int(row) for batch in sampler.global_batches() for row in batch]

    first = order(batches(), 0)
    torch.manual_seed(9)
    np.random.seed(9)
    sampler = batches()
    assert order(sampler, 1) != first
    assert order(sampler, 0) == first
    assert order(batches(seed=6), 0) != first


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_keeps_every_token_on_its_side(side: str) -> None:
    table = toy_table(9, False, seed=3)
    inputs = padded(Rows.of(table), np.array([4, 0, 7]), Padding(2, side))
    for place, row in enumerate([4, 0, 7]):
        tokens = table.column("input_ids")[row].as_py()
        mask = inputs["attention_mask"][place].bool()
        assert inputs["input_ids"][place][mask].tolist() == tokens
        assert set(inputs["input_ids"][place][~mask].tolist()) <= {2}
        assert bool(mask[0 if side == "right" else -1])


def test_batches_are_padded_to_eights_but_never_beyond_the_longest_row() -> None:
    tokens = [[1] * size for size in (3, 9, 13)]
    rows = Rows.of(pa.table({"input_ids": tokens, "labels": [0, 1, 0], "row": [0, 1, 2]}))
    widths = [padded(rows, np.array([row]), RIGHT)["input_ids"].shape[1] for row in range(3)]
    assert widths == [8, 13, 13]


def test_rows_of_a_slice_are_the_rows_of_its_copy() -> None:
    table = toy_table(20, False, seed=3)
    types = [[0, *[1] * (len(row) - 1)] for row in table.column("input_ids").to_pylist()]
    table = table.append_column("token_type_ids", pa.array(types, pa.list_(pa.int32())))
    copied = pa.Table.from_pylist(table.slice(5, 9).to_pylist())
    mixed = table.slice(5, 9).set_column(
        3, "token_type_ids", pa.array(types[5:14], pa.list_(pa.int32()))
    )
    for one in (table.slice(5, 9), pa.concat_tables([table.slice(5, 4), table.slice(9, 5)]), mixed):
        for name, tensor in padded(Rows.of(one), np.arange(9), RIGHT).items():
            assert torch.equal(tensor, padded(Rows.of(copied), np.arange(9), RIGHT)[name])


def test_an_empty_pass_runs_a_spare_row_without_weight() -> None:
    feed = Feed(Rows.of(toy_table(9, False, seed=3)), RIGHT)
    empty = feed[Part(np.array([], int), whole=4, spare=2)]
    assert empty["weights"].tolist() == [0.0]
    full = feed[Part(np.array([1, 3]), whole=4, spare=2)]
    assert full["weights"].tolist() == [0.25, 0.25]
    assert len(full["labels"]) == len(full["input_ids"]) == 2


def test_scoring_batches_hold_every_row_once_within_their_bounds_longest_first() -> None:
    rows = Rows.of(toy_table(100, False, seed=3, longest=30))
    found = scoring_batches(rows, most_tokens=64, most_rows=6)
    assert sorted(np.concatenate(found)) == list(range(100))
    longest = [int(rows.lengths[batch].max()) for batch in found]
    assert longest == sorted(longest, reverse=True)
    for batch, length in zip(found, longest, strict=True):
        assert len(batch) <= 6
        assert len(batch) * rows.width(length) <= 64 or len(batch) == 1
    single = scoring_batches(rows, most_tokens=1, most_rows=6)
    assert len(single) == 100, "a row longer than the bound still has its batch"


def test_fractions_of_an_epoch_are_rounded_up_to_steps() -> None:
    steps = math.ceil(len(LENGTHS) / 16)
    assert total_steps(len(LENGTHS), 16, 0.5) == math.ceil(steps / 2)
