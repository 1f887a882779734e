"""A Gaussian process from a loss's slopes to its worth, and whom to train next by it.

Worths are taken by rank: v of n trainings becomes the normal quantile Φ⁻¹((rank(v) − ½)/n), so that the last half
point of average precision weighs as much as the first ten. Features are the first principal components of the slopes,
divided by the power w of their deviation: the first tell losses that train from those that do not (w = 0), and what is
left to tell among good ones lies in the others (w = 1). The kernel is Matérn(3/2) and a training's noise is σ²; w, the
length and σ² are those of the largest marginal likelihood on a grid, so that nothing depends on an optimiser's
rounding. A loss that was trained with n seeds has noise σ²/n. What is remembered of other runs has a larger one.

Sources: C. E. Rasmussen, C. K. I. Williams: Gaussian Processes for Machine Learning, 2006; Thompson sampling in
batches: K. Kandasamy et al.: Parallelised Bayesian Optimisation via Thompson Sampling, AISTATS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.stats import norm, rankdata, spearmanr

Floats = NDArray[np.float64]

COMPONENTS = 16
"""Principal components of the slopes that the model sees; by `benchmarks/surrogate.py careless`."""
LEAST_DEVIATION = 1e-3
"""Of a component, as part of the first's: what varies less is rounding."""
NOISES = (0.05, 0.1, 0.2, 0.4)
"""Variances of a training's worth, in units of all worths' variance."""
REMEMBERED_NOISE = 0.6
"""The same of what another run told, at least: other data, another schedule."""
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Lengths of the kernel, in standard deviations of the first component."""
AMPLITUDES = (0.5, 1.0, 2.0)
"""Variances of the kernel where something is remembered; else it is 1, that of placed worths."""
WHITENINGS = (0.0, 0.5, 1.0)
"""Powers w."""
LEAST_OWN = 16
"""Trainings of the run from which on they choose w where others are remembered; 0 before."""
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
        seeds: Floats | None = None,
    ) -> None:
        """
        Args:
            features: (n, D) of the losses that were trained, see `slope_features`; n may be 0 if some are remembered.
            worth: (n,) what they were worth, higher is better; only the order counts. −∞ for one that failed.
            remembered: features (m, D) and placed worths (m,) of other runs' losses.
            seeds: (n,) how many trainings each worth is the mean of; None for one each.
        """
        known, target = features, placed(worth)
        self._worth, self._places = worth, target
        weight = np.ones(len(known)) if seeds is None else 1.0 / seeds
        least = np.zeros(len(known))
        if remembered is not None:
            known = np.concatenate((known, remembered[0]))
            target = np.concatenate((target, remembered[1]))
            weight = np.concatenate((weight, np.ones(len(remembered[0]))))
            least = np.concatenate((least, np.full(len(remembered[0]), REMEMBERED_NOISE)))
        self._known, self._target, self._weight, self._least = known, target, weight, least

    def foretell(self, features: Floats) -> Floats:
        """(N,) expected placed worths of losses with these features (N, D)."""
        return np.asarray(self._model.predict(self._project(features)), dtype=np.float64)

    def expected(self, features: Floats) -> Floats:
        """(N,) what losses with these features (N, D) are expected to be worth, in the unit of the worths given.

        Of a loss that was trained it is less noisy than its own score: losses with nearly its slopes have a say.
        """
        finite = np.isfinite(self._worth)
        places, first = np.unique(self._places[finite], return_index=True)
        return np.interp(self.foretell(features), places, self._worth[finite][first])

    def left_out(self) -> float:
        """Spearman's ρ of the run's own worths with what is foretold of each by all others that are known.

        Of a process with covariance K of its n noisy targets y, what it foretells of the i-th without it is
        yᵢ − [K⁻¹·y]ᵢ / [K⁻¹]ᵢᵢ (Rasmussen and Williams, 5.4.2).
        """
        inverse = cho_solve((self._model.L_, True), np.eye(len(self._known)))
        foretold = self._target - self._model.alpha_ / np.diag(inverse)
        return float(spearmanr(foretold[: len(self._worth)], self._worth).statistic)

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
    def _axes(self) -> tuple[Floats, Floats, Floats]:
        """Mean (D,), principal axes (D, k) and deviations (k,) of the slopes."""
        mean = self._known.mean(axis=0)
        _, size, axes = np.linalg.svd(self._known - mean, full_matrices=False)
        deviation = size / np.sqrt(len(self._known))
        told = deviation[:COMPONENTS] > LEAST_DEVIATION * max(float(deviation[0]), 1e-12)
        axes, deviation = axes[:COMPONENTS][told], deviation[:COMPONENTS][told]
        # The sign of an axis is the library's whim.
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
        return mean, axes.T, deviation

    def _projected(self, features: Floats, whitening: float) -> Floats:
        mean, axes, deviation = self._axes
        if not len(deviation):
            return np.zeros((len(features), 1))
        scale = deviation[0] * (deviation / deviation[0]) ** whitening
        return np.asarray((features - mean) @ axes / scale, dtype=np.float64)

    def _project(self, features: Floats) -> Floats:
        return self._projected(features, self._fitted[0])

    @property
    def _model(self):  # type: ignore[no-untyped-def]
        return self._fitted[1]

    @cached_property
    def _fitted(self):  # type: ignore[no-untyped-def]
        """The power w of the whitening, and the process."""
        own, everything = len(self._worth), len(self._known)
        if own == everything:
            return self._likeliest(own, WHITENINGS, (1.0,))
        # What is remembered is too coarse to tell which details count: the run's own trainings say it.
        whitening = self._likeliest(own, WHITENINGS, (1.0,))[0] if own >= LEAST_OWN else 0.0
        return self._likeliest(everything, (whitening,), AMPLITUDES)

    def _likeliest(self, count: int, whitenings: Sequence[float], amplitudes: Sequence[float]):  # type: ignore[no-untyped-def]
        """Of the first `count` that are known, the power and the process of the largest marginal likelihood."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern

        tried = []
        for whitening in whitenings:
            points = self._projected(self._known[:count], whitening)
            for amplitude, length, noise in product(amplitudes, LENGTHS, NOISES):
                kernel = ConstantKernel(amplitude) * Matern(length, nu=1.5)
                alpha = np.maximum(noise * self._weight, self._least)[:count]
                model = GaussianProcessRegressor(kernel, alpha=alpha, optimizer=None)
                tried.append((whitening, model.fit(points, self._target[:count])))
        return max(tried, key=lambda one: one[1].log_marginal_likelihood_value_)
