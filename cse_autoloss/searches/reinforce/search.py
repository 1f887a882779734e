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
from cse_autoloss.searches.reinforce.adam import adam
from cse_autoloss.searches.reinforce.policy import normalise, ranked, score_gradient, sound
from cse_autoloss.searches.reinforce.reuse import clipped_weights
from cse_autoloss.searches.reinforce.spread import LIMITS, spread_gradient
from cse_autoloss.spaces.parametric import ParametricSpace

Draw = Literal["gaussian", "uniform"]
Baseline = Literal["mean", "moving", "none"]

_MEMORY = 0.9
"""Of the moving baseline, by epoch."""


@dataclass(frozen=True)
class ReinforceState:
    """All that the search remembers; plain numbers, so that it can be kept as JSON.

    Attributes:
        epoch: the epoch that is about to begin.
        mu: μ.
        first, second: Adam's moments.
        steps: Adam's steps so far; an epoch whose rewards were all equal takes none.
        spread: what was learnt of σ: the logarithm of its factor, and Adam's moments of that.
        baseline: moving mean of the rewards; None before the first epoch, and where none is kept.
    """

    epoch: int
    mu: tuple[float, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    steps: int = 0
    spread: tuple[float, float, float] = (0.0, 0.0, 0.0)
    baseline: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReinforceState:
        """The inverse of `to_dict`; of what an earlier version kept, too."""
        level, first, second = values.get("spread", (0.0, 0.0, 0.0))
        baseline = values.get("baseline")
        return cls(
            int(values["epoch"]),
            tuple(values["mu"]),
            tuple(values["first"]),
            tuple(values["second"]),
            int(values["steps"]),
            (float(level), float(first), float(second)),
            None if baseline is None else float(baseline),
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
        baseline: Baseline = "mean",
        sigma_lr: float = 0.0,
        reuse: int = 0,
        start: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            space: what θ means.
            samples: B, at least 2 where μ is updated: one reward has no variance.
            sigma: σ > 0.
            lr: η of Adam on μ.
            seed: of the samples.
            update: False leaves μ where it is, the paper's ablation ("guided random").
            draw: "uniform" draws within the space's bounds and needs update=False: Random-Softmax.
            decay: σ of epoch e is σ·decay^e.
            antithetic: draws come in pairs μ ± d; of an odd B the last draw is by itself.
            ranks: rewards count by their ranks.
            baseline: what is taken off the rewards: their mean; "moving", the mean of earlier epochs, of which older
                ones count less; or nothing. The mean of the others, each draw left out of its own, would be the same
                as the mean but for the factor B/(B − 1), which Adam does not see.
            sigma_lr: rate of Adam on log σ, one for all parameters; 0 leaves σ as it is.
            reuse: further steps on the same draws, by clipped importance weights.
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
        if not 0 <= sigma_lr < math.inf:
            raise ConfigError(f"sigma_lr: expected a number of at least 0, got {sigma_lr!r}")
        if reuse < 0:
            raise ConfigError(f"reuse: expected a whole number of at least 0, got {reuse!r}")
        if baseline not in ("mean", "moving", "none"):
            raise ConfigError(f"baseline: expected 'mean', 'moving' or 'none', got {baseline!r}")
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
        self.baseline, self.sigma_lr, self.reuse = baseline, sigma_lr, reuse

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
        return mu + self.sigma_at(state) * noise

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
        told = ranked(rewards) if self.ranks else list(rewards)
        advantages, baseline = normalise(told, self._off(state)), self._remembered(state, told)
        if not self.update or not bool(advantages.any()):
            return replace(state, epoch=state.epoch + 1, baseline=baseline)
        drawn, before, moved = self.ask(state), (_tensor(state.mu), self.sigma_at(state)), state
        for step in range(1 + self.reuse):
            now = _tensor(moved.mu), self.sigma_at(moved)
            counted = advantages
            if step:
                counted = advantages * clipped_weights(drawn, advantages, before, now)
                if not bool(counted.any()):
                    break
            moved = self._step(moved, drawn, counted, *now)
        return replace(moved, epoch=state.epoch + 1, baseline=baseline)

    def _step(
        self, state: ReinforceState, drawn: Tensor, advantages: Tensor, mu: Tensor, sigma: float
    ) -> ReinforceState:
        """One step of Adam on μ, and on log σ where that is learnt."""
        steps, spread = state.steps + 1, state.spread
        gradient = score_gradient(drawn, advantages, mu, sigma)
        way, first, second = adam(gradient, _tensor(state.first), _tensor(state.second), steps, self.lr)
        low, high = torch.tensor(self.space.bounds, dtype=torch.float64).T
        mu_after = torch.clamp(mu + way, low, high)
        if self.sigma_lr:
            level, old, square = _tensor(spread)
            up, *kept = adam(spread_gradient(drawn, advantages, mu, sigma), old, square, steps, self.sigma_lr)
            least, most = map(math.log, LIMITS)
            spread = (
                min(max(float(level + up), least), most),
                float(kept[0]),
                float(kept[1]),
            )
        return replace(
            state,
            mu=tuple(mu_after.tolist()),
            first=tuple(first.tolist()),
            second=tuple(second.tolist()),
            steps=steps,
            spread=spread,
        )

    def sigma_at(self, state: ReinforceState) -> float:
        """σ of the state's epoch."""
        return self.sigma * self.decay**state.epoch * math.exp(state.spread[0])

    def _off(self, state: ReinforceState) -> float | None:
        """What is taken off the rewards of an epoch; None for their own mean, which the first epoch has in any case."""
        return {"mean": None, "moving": state.baseline, "none": 0.0}[self.baseline]

    def _remembered(self, state: ReinforceState, rewards: Sequence[float]) -> float | None:
        if self.baseline != "moving":
            return None
        mean = float(sound(rewards).mean())
        return mean if state.baseline is None else _MEMORY * state.baseline + (1 - _MEMORY) * mean


def _tensor(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def best_of(rewards: Sequence[float]) -> int:
    """Index of the highest finite reward, the first of equals: a diverged model is never copied.

    Raises:
        DivergedError: no reward is finite.
    """
    normalise(rewards)  # tells when there is none
    return max(range(len(rewards)), key=lambda i: rewards[i] if math.isfinite(rewards[i]) else -math.inf)
