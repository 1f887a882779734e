"""A uniform sample of a stream of unknown length: whoever is offered has the same chance to be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """Keeps `size` items of all that were offered, each set of that many with the same chance.

    Algorithm R: the n-th item takes a random one of n places, and is kept where that is one of the first `size`
    (Vitter, "Random sampling with a reservoir", ACM TOMS 11, 1985). The same seed and stream give the same sample,
    however the stream is cut into batches.

    Attributes:
        size: items kept at most.
        population: items offered so far.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.population = 0
        self._rng = np.random.default_rng(seed)
        self._kept: list[Item] = []

    @property
    def items(self) -> tuple[Item, ...]:
        """The sample; its order says nothing."""
        return tuple(self._kept)

    def offer(self, count: int, make: Callable[[int], Item]) -> None:
        """Offer `count` items, of which `make(i)` builds the i-th: it is called for those that are kept at the end."""
        first = self.population
        self.population += count
        numbers = np.arange(first + 1, self.population + 1)
        places = np.floor(self._rng.random(count) * numbers).astype(np.int64)
        filling = numbers <= self.size
        places[filling] = numbers[filling] - 1
        latest = {int(places[i]): int(i) for i in np.flatnonzero(places < self.size)}
        for place, index in sorted(latest.items()):
            if place < len(self._kept):
                self._kept[place] = make(index)
            else:
                self._kept.append(make(index))
