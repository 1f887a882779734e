"""B models of one architecture, their parameters stacked, trained together: each with a loss of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from cse_autoloss.classifiers.branches import of_all_heads
from cse_autoloss.settings.fields import Precision
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.training.precision import DTYPES
from cse_autoloss.training.stacked import side_by_side, stacked


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent: m ← momentum·m + g + weight_decay·p, p ← p − lr·m, as
    `torch.optim.SGD`."""

    momentum: float = 0.9
    weight_decay: float = 5e-4


class ModelStack:
    """B models. Nothing of one reaches another, so that one that diverges harms itself alone.

    Attributes:
        copies: B.
        failed: (B,) bool: a loss of the model was not finite at some step.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        sgd: Sgd | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        """
        Args:
            models: one architecture, B times; the first one's code runs for all. Copied, not kept.
            sgd: the optimiser.
            device: where the stack lives.
            precision: of the forward pass in training.
        """
        self.copies = len(models)
        self._sgd = sgd or Sgd()
        self._template = models[0]
        self._half = DTYPES.get(precision)
        self._parameters = _stacked([dict(model.named_parameters()) for model in models], device)
        self._buffers = _stacked([dict(model.named_buffers()) for model in models], device)
        self._moments = {name: torch.zeros_like(value) for name, value in self._parameters.items()}
        self.failed = torch.zeros(self.copies, dtype=torch.bool, device=device)
        for value in self._parameters.values():
            value.requires_grad_()

    def forward(self, images: Tensor, *, train: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings (B, N, D) and logits (B, N, C); of several heads, in training, (B, heads·N, C).

        Args:
            images: (N, channels, H, W) for all models, or (B, N, channels, H, W).
            train: BatchNorm uses the batch's statistics, and keeps its running ones.
        """
        self._template.train(train)
        dim, half = 0 if images.dim() == 5 else None, self._half if train else None
        found: tuple[Tensor, Tensor] = side_by_side(
            self._template, self._parameters, self._buffers, images, dim, half
        )
        return found

    def step(
        self,
        images: Tensor,
        labels: Tensor,
        space: ParametricSpace,
        theta: Tensor,
        lr: float | Tensor,
    ) -> Tensor:
        """One step of gradient descent on each model's mean loss, over its heads too, and what it has beside.

        Args:
            images: as of `forward`.
            labels: (N,) or (B, N) int64.
            space: the losses.
            theta: (B, K), one loss for each model.
            lr: for all, or (B,).

        Returns:
            (B,) losses before the step.
        """
        embedding, logits = self.forward(images, train=True)
        dim = 0 if labels.dim() == 2 else None
        told = of_all_heads(self._template, labels)
        losses = vmap(space.loss, in_dims=(0, dim, 0))(logits, told, theta.to(logits)).mean(-1)
        beside: Any = getattr(self._template, "beside", None)
        if beside is not None:
            losses = losses + vmap(beside, in_dims=(0, dim))(embedding, labels)
        names = list(self._parameters)
        gradients = torch.autograd.grad(losses.sum(), [self._parameters[name] for name in names])
        self.failed |= ~losses.detach().isfinite()
        with torch.no_grad():
            for name, gradient in zip(names, gradients, strict=True):
                value, moment = self._parameters[name], self._moments[name]
                moment.mul_(self._sgd.momentum).add_(gradient).add_(value, alpha=self._sgd.weight_decay)
                value.sub_(
                    moment * lr.view(-1, *[1] * (value.dim() - 1)) if isinstance(lr, Tensor) else moment * lr
                )
        return losses.detach()

    @torch.no_grad()
    def predict(self, images: Tensor, chunk: int = 512) -> tuple[Tensor, Tensor]:
        """Embeddings (B, N, D) and logits (B, N, C) of images (N, channels, H, W), in evaluation mode."""
        parts = [self.forward(part) for part in images.split(chunk)]
        return torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1)

    @torch.no_grad()
    def spread(self, index: int) -> None:
        """Copy model `index`, its optimiser's moments included, to all others."""
        for group in (self._parameters, self._buffers, self._moments):
            for value in group.values():
                value.copy_(value[index].clone().expand_as(value))
        self.failed.fill_(bool(self.failed[index]))

    def weights(self, index: int) -> dict[str, Tensor]:
        """State dict of one model, on the CPU."""
        both = {**self._parameters, **self._buffers}
        return {name: value[index].detach().cpu().clone() for name, value in both.items()}

    @torch.no_grad()
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Give all models the weights that `weights` gave of one; moments and `failed` stay."""
        for group in (self._parameters, self._buffers):
            for name, value in group.items():
                value.copy_(weights[name].expand_as(value))

    def state(self) -> dict[str, Any]:
        """Tensors from which `load_state` goes on; plain enough for `torch.load(weights_only=True)`."""
        return {
            "parameters": {name: value.detach().cpu() for name, value in self._parameters.items()},
            "buffers": {name: value.cpu() for name, value in self._buffers.items()},
            "moments": {name: value.cpu() for name, value in self._moments.items()},
            "failed": self.failed.cpu(),
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        mine = {"parameters": self._parameters, "buffers": self._buffers, "moments": self._moments}
        for group, values in mine.items():
            for name, value in values.items():
                value.copy_(state[group][name])
        self.failed.copy_(state["failed"])


def _stacked(each: list[dict[str, Tensor]], device: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = stacked(each)
    return {name: value.detach().to(device) for name, value in found.items()}
