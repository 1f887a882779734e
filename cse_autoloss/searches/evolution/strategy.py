"""CMA-ES: a Gaussian whose covariance follows what was worth more.

Source: N. Hansen, A. Ostermeier: Completely Derandomized Self-Adaptation in Evolution Strategies, Evolutionary
Computation 2001; DEAP's implementation, with a random generator of its own in place of numpy's global one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from deap import base, cma

Vector = tuple[float, ...]


class Strategy:
    """`ask`, score what it gave, `tell`, and so on; the same seed and scores give the same questions.

    Attributes:
        offspring: vectors asked for at a time.
    """

    def __init__(self, centre: Sequence[float], step: float, offspring: int, seed: int) -> None:
        """
        Args:
            centre: where it starts.
            step: first standard deviation of each number.
            offspring: vectors asked for at a time.
            seed: of the draws.
        """
        self.offspring = offspring
        self._strategy = _Deap(centroid=list(centre), sigma=step, lambda_=offspring)
        self._strategy.rng = np.random.default_rng(seed)

    @property
    def mean(self) -> Vector:
        """What it holds best so far."""
        return tuple(float(value) for value in self._strategy.centroid)

    def ask(self) -> list[Vector]:
        """`offspring` vectors."""
        return [tuple(drawn) for drawn in self._strategy.generate(_Drawn)]

    def tell(self, asked: Sequence[Vector], scores: Sequence[float]) -> None:
        """Scores of vectors that it gave; higher is better. With fewer than the parents nothing is learnt."""
        told = [_Drawn(vector) for vector in asked]
        for one, score in zip(told, scores, strict=True):
            one.fitness.values = (score,)
        if len(told) >= self._strategy.mu:
            self._strategy.update(told)


class _Deap(cma.Strategy):
    rng: np.random.Generator

    def generate(self, ind_init: Callable[[Any], Any]) -> list[Any]:
        steps = self.rng.standard_normal((self.lambda_, self.dim)) @ self.BD.T
        return [ind_init(self.centroid + self.sigma * step) for step in steps]


class _Drawn(list[float]):
    """What DEAP's strategy draws and sorts."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__(float(value) for value in values)
        self.fitness = _Fitness()


class _Fitness(base.Fitness):
    weights = (1.0,)
