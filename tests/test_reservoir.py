"""Samples of what the filters throw away: uniform, the same for the same seed, however the stream is cut."""

from __future__ import annotations

import numpy as np
import pytest

from cse_autoloss.discovery.reservoir import Reservoir


def _sample(size: int, seed: int, batches: list[int]) -> list[int]:
    reservoir: Reservoir[int] = Reservoir(size, seed)
    done = 0
    for count in batches:
        reservoir.offer(count, lambda i, done=done: done + i)
        done += count
    assert reservoir.population == done
    return list(reservoir.items)


@pytest.mark.parametrize("batches", [[1000], [1, 999], [7] * 142 + [6], [0, 500, 0, 500]])
def test_batches_do_not_change_the_sample(batches: list[int]) -> None:
    assert _sample(40, 3, batches) == _sample(40, 3, [1] * 1000)


def test_a_short_stream_is_kept_whole() -> None:
    assert _sample(40, 0, [25]) == list(range(25))
    assert _sample(40, 0, [40]) == list(range(40))
    assert _sample(40, 0, []) == []


def test_a_sample_has_no_item_twice_and_another_seed_gives_another() -> None:
    one, other = _sample(40, 0, [5000]), _sample(40, 1, [5000])
    assert len(set(one)) == len(set(other)) == 40
    assert len(set(one) & set(other)) < 10


def test_every_place_of_the_stream_has_the_same_chance() -> None:
    counts = np.zeros(200)
    for seed in range(2000):
        counts[_sample(10, seed, [120, 80])] += 1
    # 2000 x 10 / 200 = 100 expected of each, with a standard deviation of 9.7.
    assert counts.min() > 60
    assert counts.max() < 145
    assert abs(counts[:10].mean() - 100) < 10
    assert abs(counts[-20:].mean() - 100) < 8


def test_only_what_is_kept_is_made() -> None:
    made: list[int] = []

    def make(index: int) -> int:
        made.append(index)
        return index

    reservoir: Reservoir[int] = Reservoir(5, 0)
    reservoir.offer(10_000, make)
    assert sorted(made) == sorted(reservoir.items)
