"""Settings of the model optimisation simulation."""

from __future__ import annotations

from dataclasses import dataclass

from cse_autoloss.errors import ConfigError


@dataclass(frozen=True)
class SimulateSettings:
    """How the small models are trained, and what one must reach.

    Attributes:
        share: a candidate must reach this share of the default losses' score; docs/benchmarks/simulate.md shows
            what each share lets through and what it loses.
        steps: of SGD, each on all cells.
        lr: peak of the one-cycle schedule, for classification losses.
        lr_box: the same for box losses, which are told apart best while the boxes are still on their way.
        clip: largest gradient norm of a step.
        width: channels of the trunk's first convolution; its features have twice as many.
        hidden: channels of the layer between the frozen features and the outputs.
        trunk_steps: of SGD that train the trunk with the default losses, once.
        box_weight: of the box loss.
        seed: of the weights.
    """

    share: float = 0.4
    steps: int = 30
    lr: float = 0.04
    lr_box: float = 0.015
    clip: float = 10.0
    width: int = 24
    hidden: int = 32
    trunk_steps: int = 100
    box_weight: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be trained with, naming the setting."""
        if (
            self.steps < 1
            or min(self.lr, self.lr_box) <= 0
            or self.clip <= 0
            or self.width % 4
            or self.width <= 0
        ):
            raise ConfigError(
                "simulate: expected steps >= 1, lr and lr_box > 0, clip > 0 and width a multiple of 4, got "
                f"{self.steps}, {self.lr}, {self.lr_box}, {self.clip} and {self.width}"
            )
        if self.hidden < 1 or self.trunk_steps < 0:
            raise ConfigError(
                f"simulate: expected hidden >= 1 and trunk_steps >= 0, got {self.hidden} and {self.trunk_steps}"
            )
        if not self.share >= 0:
            raise ConfigError(f"simulate.share: expected at least 0, got {self.share}")
