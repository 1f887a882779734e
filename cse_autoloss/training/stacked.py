"""Trainings side by side in one process: their weights stacked, so that a GPU has one large step in place of B small.

What differs is each model's loss. Nothing of one model reaches another; each ends as it would have alone, up to
rounding, which a long training makes larger.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from cse_autoloss.training.loop import (
    NO_PREDICTION,
    NO_WEIGHT,
    Diverged,
    HalvedLoss,
    NotFinite,
    TrainingRun,
    no_number,
)
from cse_autoloss.training.precision import DTYPES, in_float32


def stacked(trees: Sequence[Any]) -> Any:
    """Equal dicts and lists of tensors, B times, as one with tensors (B, ...); what is no tensor is the first's."""
    return tree_map(lambda *own: torch.stack(own) if isinstance(own[0], Tensor) else own[0], *trees)


def row(tree: Any, index: int) -> Any:
    """What `stacked` was given at a place."""
    return tree_map(lambda own: own[index].clone() if isinstance(own, Tensor) else own, tree)


def side_by_side(
    model: nn.Module,
    weights: dict[str, Tensor],
    buffers: dict[str, Tensor],
    inputs: Tensor,
    dim: int | None = None,
    half: torch.dtype | None = None,
) -> Any:
    """What B models of one architecture say: the tensors of its predictions, each (B, ...) and float32.

    Args:
        model: whose code runs; its own weights do not count.
        weights, buffers: by name, (B, ...).
        inputs: for all, or with `dim` = 0 one a model.
        dim: see `inputs`.
        half: computes in that.
    """

    def one(own: dict[str, Tensor], statistics: dict[str, Tensor], given: Tensor) -> Any:
        return functional_call(model, (own, statistics), (given,))

    every = vmap(one, in_dims=(0, 0, dim), randomness="different")
    if half is None:
        return every(weights, buffers, inputs)
    with torch.autocast(inputs.device.type, half):
        return in_float32(every(weights, buffers, inputs))


def advance_together(members: Sequence[TrainingRun], until: int) -> dict[int, Diverged]:
    """`TrainingRun.advance` of all, each left as it leaves it; by place in `members`, those that diverged.

    Args:
        members: that differ in their losses alone, wherever they stand; those at the same step go together.
        until: step.
    """
    diverged: dict[int, Diverged] = {}
    for step in dict.fromkeys(member.step for member in members):
        places = [place for place, member in enumerate(members) if member.step == step]
        if len(places) == 1:
            try:
                members[places[0]].advance(until)
            except Diverged as one:
                diverged[places[0]] = one
            continue
        stack = StackedRun([members[place] for place in places])
        stack.advance(until)
        for own, place in enumerate(places):
            if own in stack.diverged:
                diverged[place] = stack.diverged[own]
                continue
            members[place].load_state(stack.state_of(own))
            members[place].model.eval()
    return diverged


class StackedRun(TrainingRun):
    """B trainings as one, each weight (B, ...); its state is theirs, stacked.

    Attributes:
        diverged: by place, those that did. Their weights are zeros from then on.
    """

    _flat = 2

    def __init__(self, members: Sequence[TrainingRun]) -> None:
        """
        Args:
            members: at the same step of the same schedule, with equal seeds and data, SGD and a `HalvedLoss` each.
        """
        first = members[0]
        assert all((one.step, one.schedule) == (first.step, first.schedule) for one in members)
        assert first.schedule.optimizer == "sgd"
        assert first.schedule.precision != "float16"
        self._losses = [cast(HalvedLoss, one.batch_loss) for one in members]
        state = _stacked_states([one.state() for one in members])
        super().__init__(
            _of_stacked(first.model, state["model"]),
            first.samples,
            first.batch_loss,
            first.schedule,
            seed=0,
            losses=[loss for one in members for loss in one.moving],
            order=first.order,
        )
        self.load_state(state)
        self.diverged: dict[int, Diverged] = {}
        self._weights: dict[str, Tensor] = dict(self.model.named_parameters())
        self._buffers = dict(self.model.named_buffers())

    def state_of(self, place: int) -> dict[str, Any]:
        """The state of one of the trainings, as its own `TrainingRun` takes it."""
        state = self.state()
        optimiser = {**state["optimiser"], "state": row(state["optimiser"]["state"], place)}
        return {**state, "model": row(state["model"], place), "optimiser": optimiser}

    def advance(self, until: int) -> None:
        """Train up to step `until`, or until all have diverged."""
        try:
            super().advance(until)
        except _NobodyLeft:
            self.model.eval()

    def _learn(self, index: Tensor, where: str) -> None:
        losses = self._judged(index, where)
        if not losses:
            raise _NobodyLeft
        self._optimiser.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        gradients = [cast(Tensor, weight.grad) for weight in self._weights.values()]
        norms = torch.stack([own.reshape(len(own), -1).norm(dim=1) for own in gradients]).norm(dim=0)
        alive = torch.tensor([*losses], device=norms.device)
        told = torch.stack((torch.stack([*losses.values()]).detach(), norms[alive])).cpu()
        for place, loss, norm in zip(losses, *told, strict=True):
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                self.diverged[place] = Diverged(f"{no_number(loss.item(), norm.item())} {where}")
        factors = (self.schedule.clip / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, [factors.view(-1, *[1] * (own.dim() - 1)) for own in gradients])
        self._forget(gradients)
        self._optimiser.step()

    def _judged(self, index: Tensor, where: str) -> dict[int, Tensor]:
        """Losses of those that have not diverged, by place."""
        inputs, half = self._losses[0].inputs(index), DTYPES.get(self.schedule.precision)
        found = side_by_side(self.model, self._weights, self._buffers, inputs, half=half)
        leaves, form = tree_flatten(found)
        losses: dict[int, Tensor] = {}
        for place, own in enumerate(zip(*(leaf.unbind() for leaf in leaves), strict=True)):
            if place in self.diverged:
                continue
            try:
                losses[place] = self._losses[place].judge(tree_unflatten(list(own), form), index)
            except NotFinite:
                self.diverged[place] = Diverged(f"{NO_PREDICTION} {where}")
        return losses

    def _look(self, when: str) -> None:
        sound = [
            tensor.reshape(len(tensor), -1).isfinite().all(1) for tensor in self.model.state_dict().values()
        ]
        for place, own in enumerate(torch.stack(sound).all(0).tolist()):
            if not own:
                self.diverged[place] = Diverged(f"{NO_WEIGHT} {when}")

    @torch.no_grad()
    def _forget(self, gradients: Sequence[Tensor]) -> None:
        """Leave what has diverged out of all that follows: of zeros, nothing that is not finite comes."""
        if self.diverged:
            moments = [own for one in self._optimiser.state.values() for own in one.values()]
            for tensor in (*gradients, *self._weights.values(), *self._buffers.values(), *moments):
                tensor[[*self.diverged]] = 0


class _NobodyLeft(Exception):
    """All trainings of a stack have diverged."""


def _stacked_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = states[0]
    optimiser = {**first["optimiser"], "state": stacked([one["optimiser"]["state"] for one in states])}
    return {**first, "model": stacked([dict(one["model"]) for one in states]), "optimiser": optimiser}


def _of_stacked(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the model with these weights and buffers, for `side_by_side`; alone it says nothing."""
    found = copy.deepcopy(model)
    for name, own in (*found.named_parameters(), *found.named_buffers()):
        own.data = tensors[name].clone()
    return found
