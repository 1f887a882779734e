"""Algorithm 1 of AM-LFS as `init / ask / tell` on a value: the outer loop over the distribution of losses.

Source: Li et al., ICCV 2019. Each epoch: draw B θs from N(μ, σ²I), train B copies of the model one epoch with
each, score them on validation data, normalise the rewards, and move μ by Adam along
(1/B)·Σ R(θ_i)·∇ log g(θ_i; μ, σ). The best model is copied to all; that is the caller's part, see `best_of`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from cse_autoloss.classifiers.seeds import generator
from cse_autoloss.errors import ConfigError
from cse_autoloss.searches.reinforce.policy import normalise, ranked, score_gradient
from cse_autoloss.spaces.parametric import ParametricSpace

Draw = Literal["gaussian", "uniform"]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True)
class ReinforceState:
    """All that the search remembers; plain numbers, so that it can be kept as JSON.

    Attributes:
        epoch: the epoch that is about to begin.
        mu: μ.
        first, second: Adam's moments.
        steps: Adam's steps so far; an epoch whose rewards were all equal takes none.
    """

    epoch: int
    mu: tuple[float, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    steps: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReinforceState:
        """The inverse of `to_dict`."""
        return cls(
            int(values["epoch"]),
            tuple(values["mu"]),
            tuple(values["first"]),
            tuple(values["second"]),
            int(values["steps"]),
        )


class Reinforce:
    """The search: holds settings alone; what it learns is in the state."""

    def __init__(
        self,
        space: ParametricSpace,
        *,
        samples: int = 32,
        sigma: float = 0.2,
        lr: float = 0.05,
        seed: int = 0,
        update: bool = True,
        draw: Draw = "gaussian",
        decay: float = 1.0,
        antithetic: bool = False,
        ranks: bool = False,
        start: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            space: what θ means.
            samples: B, at least 2 where μ is updated: one reward has no variance.
            sigma: σ > 0, fixed.
            lr: η of Adam on μ.
            seed: of the samples.
            update: False leaves μ where it is, the paper's ablation ("guided random").
            draw: "uniform" draws within the space's bounds and needs update=False: Random-Softmax.
            decay: σ of epoch e is σ·decay^e.
            antithetic: draws come in pairs μ ± d; of an odd B the last draw is by itself.
            ranks: rewards count by their ranks.
            start: first μ; the space's own by default.

        Raises:
            ConfigError: an impossible value.
        """
        least = 2 if update else 1
        if samples < least:
            why = ": one reward has no variance, so μ would never move" if samples == 1 else ""
            raise ConfigError(f"samples: expected a whole number of at least {least}, got {samples!r}{why}")
        for name, value in (("sigma", sigma), ("lr", lr)):
            if not 0 < value < math.inf:
                raise ConfigError(f"{name}: expected a number above 0, got {value!r}")
        if draw not in ("gaussian", "uniform"):
            raise ConfigError(f"draw: expected 'gaussian' or 'uniform', got {draw!r}")
        if draw == "uniform":
            if update:
                raise ConfigError("draw: a uniform draw has no μ to update; give update=False")
            if not all(math.isfinite(low) and math.isfinite(high) for low, high in space.bounds):
                raise ConfigError(f"draw: {space.name} has no bounds to draw between")
        first = tuple(float(value) for value in (space.start if start is None else start))
        if len(first) != len(space.parameters):
            raise ConfigError(f"start: expected {len(space.parameters)} values, got {len(first)}")
        self.space, self.samples, self.sigma, self.lr = space, samples, float(sigma), float(lr)
        self.seed, self.update, self.draw, self.start = seed, update, draw, first
        self.decay, self.antithetic, self.ranks = decay, antithetic, ranks

    def init(self) -> ReinforceState:
        """The state before the first epoch."""
        nothing = (0.0,) * len(self.start)
        return ReinforceState(0, self.start, nothing, nothing)

    def ask(self, state: ReinforceState) -> Tensor:
        """The θs of the state's epoch as drawn, (B, K) float64; the same each time it is asked."""
        source = generator("theta", self.seed, state.epoch)
        shape = (self.samples, len(state.mu))
        if self.draw == "uniform":
            low, high = torch.tensor(self.space.bounds, dtype=torch.float64).T
            return low + (high - low) * torch.rand(shape, generator=source, dtype=torch.float64)
        mu = torch.tensor(state.mu, dtype=torch.float64)
        noise = torch.randn(shape, generator=source, dtype=torch.float64)
        if self.antithetic:
            half = len(noise) // 2
            noise[half : 2 * half] = -noise[:half]
        return mu + self._sigma(state) * noise

    def _sigma(self, state: ReinforceState) -> float:
        return self.sigma * self.decay**state.epoch

    def tell(self, state: ReinforceState, rewards: Sequence[float]) -> ReinforceState:
        """The state after an epoch.

        Args:
            state: that was asked.
            rewards: (B,) of the θs that `ask(state)` gave, higher is better; NaN where a model diverged.

        Raises:
            DivergedError: no reward is finite.
        """
        if len(rewards) != self.samples:
            raise ValueError(f"expected {self.samples} rewards, got {len(rewards)}")
        advantages = normalise(ranked(rewards) if self.ranks else rewards)
        if not self.update or not bool(advantages.any()):
            return replace(state, epoch=state.epoch + 1)
        mu, first, second = (
            torch.tensor(v, dtype=torch.float64) for v in (state.mu, state.first, state.second)
        )
        gradient = score_gradient(self.ask(state), advantages, mu, self._sigma(state))
        steps = state.steps + 1
        first = _BETAS[0] * first + (1 - _BETAS[0]) * gradient
        second = _BETAS[1] * second + (1 - _BETAS[1]) * gradient.square()
        moved = first / (1 - _BETAS[0] ** steps)
        size = (second / (1 - _BETAS[1] ** steps)).sqrt() + _EPSILON
        low, high = torch.tensor(self.space.bounds, dtype=torch.float64).T
        mu = torch.clamp(mu + self.lr * moved / size, low, high)
        return ReinforceState(
            state.epoch + 1, tuple(mu.tolist()), tuple(first.tolist()), tuple(second.tolist()), steps
        )


def best_of(rewards: Sequence[float]) -> int:
    """Index of the highest finite reward, the first of equals: a diverged model is never copied.

    Raises:
        DivergedError: no reward is finite.
    """
    normalise(rewards)  # tells when there is none
    return max(range(len(rewards)), key=lambda i: rewards[i] if math.isfinite(rewards[i]) else -math.inf)
