"""A Gaussian process from a loss's slopes to its worth, and whom to train next by it.

Worths are taken by rank: v of n trainings becomes the normal quantile Φ⁻¹((rank(v) − ½)/n), so that the last half
point of average precision weighs as much as the first ten. Features are the first principal components of the slopes.
The kernel is c·Matérn(3/2); c and its length are those of the largest marginal likelihood on a grid, so that nothing
depends on an optimiser's rounding. What is remembered of other runs enters with a larger noise.

Sources: C. E. Rasmussen, C. K. I. Williams: Gaussian Processes for Machine Learning, 2006; Thompson sampling in
batches: K. Kandasamy et al.: Parallelised Bayesian Optimisation via Thompson Sampling, AISTATS 2018.
"""

from __future__ import annotations

from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]

COMPONENTS = 8
"""Principal components of the slopes that the model sees; set by hand."""
NOISE = 0.1
"""Variance of a worth, in units of all worths' variance; set by hand."""
REMEMBERED_NOISE = 0.6
"""The same of what another run told: other data, another schedule."""
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Lengths of the kernel, in standard deviations of the first component."""
AMPLITUDES = (0.5, 1.0, 2.0)
"""Variances of the kernel."""
MOST = 1000
"""Candidates that are drawn for together, the likeliest: the draw costs their number cubed."""


def placed(worth: Floats) -> Floats:
    """(n,) normal quantiles of the ranks of n worths; equal ones share their rank."""
    return np.asarray(norm.ppf((rankdata(worth) - 0.5) / max(len(worth), 1)), dtype=np.float64)


class Surrogate:
    """What losses of one slot are worth, foretold from their slopes."""

    def __init__(
        self,
        features: Floats,
        worth: Floats,
        remembered: tuple[Floats, Floats] | None = None,
    ) -> None:
        """
        Args:
            features: (n, D) of the losses that were trained, see `slope_features`; n may be 0 if some are remembered.
            worth: (n,) what they were worth, higher is better; only the order counts.
            remembered: features (m, D) and placed worths (m,) of other runs' losses.
        """
        known, target = features, placed(worth)
        noise = np.full(len(known), NOISE)
        if remembered is not None:
            known = np.concatenate((known, remembered[0]))
            target = np.concatenate((target, remembered[1]))
            noise = np.concatenate((noise, np.full(len(remembered[0]), REMEMBERED_NOISE)))
        self._known, self._target, self._noise = known, target, noise

    def foretell(self, features: Floats) -> Floats:
        """(N,) expected placed worths of losses with these features (N, D)."""
        return np.asarray(self._model.predict(self._project(features)), dtype=np.float64)

    def order(self, features: Floats, count: int, rng: np.random.Generator) -> list[int]:
        """Whom to train: places of all N losses, the first `count` by Thompson sampling, the rest by expectation.

        Each of the first is the best not yet taken of one function drawn from all that agree with what is known: so
        they are spread over what may be good, and none is chosen for the same reason twice.

        Args:
            features: (N, D) of the losses.
            count: that are wanted.
            rng: draws the functions.
        """
        points = self._project(features)
        mean = np.asarray(self._model.predict(points), dtype=np.float64)
        ranking = np.argsort(-mean, kind="stable")
        likely = ranking[:MOST]
        middle, covariance = self._model.predict(points[likely], return_cov=True)
        covariance[np.diag_indices_from(covariance)] += 1e-8
        draws = rng.multivariate_normal(
            middle, covariance, size=count, method="cholesky", check_valid="ignore"
        )
        chosen: list[int] = []
        free = np.ones(len(likely), dtype=bool)
        for draw in draws[: len(likely)]:
            best = int(np.argmax(np.where(free, draw, -np.inf)))
            free[best] = False
            chosen.append(int(likely[best]))
        taken = set(chosen)
        return chosen + [int(place) for place in ranking if int(place) not in taken]

    @cached_property
    def _axes(self) -> tuple[Floats, Floats]:
        """Mean (D,) and principal axes (D, k), scaled so that the first component has deviation 1."""
        mean = self._known.mean(axis=0)
        _, size, axes = np.linalg.svd(self._known - mean, full_matrices=False)
        scale = max(float(size[0]) / np.sqrt(len(self._known)), 1e-12)
        # The sign of an axis is the library's whim.
        axes = axes[:COMPONENTS]
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
        return mean, axes.T / scale

    def _project(self, features: Floats) -> Floats:
        mean, axes = self._axes
        return np.asarray((features - mean) @ axes, dtype=np.float64)

    @cached_property
    def _model(self):  # type: ignore[no-untyped-def]
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern

        points = self._project(self._known)
        tried = [
            GaussianProcessRegressor(
                ConstantKernel(amplitude) * Matern(length, nu=1.5), alpha=self._noise, optimizer=None
            ).fit(points, self._target)
            for amplitude, length in product(AMPLITUDES, LENGTHS)
        ]
        return max(tried, key=lambda model: model.log_marginal_likelihood_value_)
