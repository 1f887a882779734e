"""Fused classification losses: value and gradient in one pass over the logits, block by block.

What plain autograd does in twenty sweeps over (N, C) tensors, keeping most of them for the backward, is
done here on blocks that stay in the processor's cache, and only the gradient is kept. Two kinds of
expression allow it:

- cls-binary without Softmax: a class that is not the sample's own has q = y = 0, so the loss there is a
  function of x alone, and the (N,) own classes are put in afterwards;
- cls-multiclass in which the classes meet only in Softmax(X) and in Dot with Y: Dot with Y picks the
  sample's own column, so the loss is a function of ℓ = log p_own and w, and its gradient is ∂L/∂ℓ·(y − p).

A double backward goes through the plain form, so it is exact too. A term that is multiplied by y = 0 is
left out altogether, so an infinite logit gives NaN in fewer places than in the plain form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.graph import LossGraph, Node, stabilize
from cse_autoloss.losses.program import Program, Tape
from cse_autoloss.operators import ALL_OPERATORS, ShapeRule
from cse_autoloss.operators.operator import Value
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.standing import STANDING, standing_in

BLOCK = 1 << 17
"""Numbers in a block: a handful of float32 tensors of it stay in the second-level and shared caches."""

SERIAL_BLOCK = (1 << 15) - 1
"""Numbers in a block when several threads take blocks: torch runs an operation of this size on one thread."""

FEWEST_FOR_THREADS = 1 << 21
"""Numbers from which on threads of our own pay: below, starting them costs more than torch's own threads do."""

SOFTMAX_BLOCK = 1 << 24
"""Numbers in a block of the multi-class form on several threads: its few operations use torch's own, which should
meet seldom, so this only bounds the memory."""

Plain = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]
"""The same loss before the reduction, differentiable as often as wanted."""


class BinaryKernel:
    """An elementwise cls-binary loss, α weighting included."""

    def __init__(self, nodes: tuple[Node, ...], alpha: float | None) -> None:
        positive, negative = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
        self.rest = _binary_program(nodes, 0.0, negative, own=False)
        self.own = _binary_program(nodes, 1.0, positive, own=True)
        self._standing: Mapping[str, Tensor] = {}

    def at(self, standing: Mapping[str, Tensor]) -> BinaryKernel:
        """The same where inputs that a loss reads stand: one number, or (C,) one a class."""
        found = copy(self)
        found._standing = {name: value.detach() for name, value in standing.items()}
        return found

    def _with_standing(self, known: dict[str, Tensor], own: Tensor | None = None) -> dict[str, Tensor]:
        """The inputs of all columns, or of the sample's `own`, (N, 1), and those that stand still."""
        like = known["X"]
        for name, value in self._standing.items():
            value = value.to(like.dtype)
            known[name] = (value if own is None or not value.dim() else value[own]).expand_as(like)
        return known

    def __call__(
        self, logits: Tensor, target: Tensor, iou: Tensor | None, elements: bool, slope: bool
    ) -> _Answer:
        classes = logits.shape[-1]
        positive = (target < classes).unsqueeze(-1)
        column = target.clamp(max=classes - 1).unsqueeze(-1)
        quality = torch.ones_like(target, dtype=logits.dtype) if iou is None else iou.to(logits.dtype)
        own = {"X": logits.gather(-1, column), "Q": quality.unsqueeze(-1)}
        self._with_standing(own, column)
        own_value, own_slope = self.own[slope].run(own) if slope else (*self.own[slope].run(own), 0.0)
        answer = _Answer(logits, elements, slope)

        def work(block: slice) -> Tensor | None:
            rows, at, mark = logits[block], column[block], positive[block]
            results = self.rest[slope].run(self._with_standing({"X": rows}))
            value = _fresh(results[0], rows)
            _put(value, at, mark, own_value, block)
            # Taken in before the slope is touched: where f' = f the two are one tensor.
            total = answer.take(block, value)
            if answer.slope is not None:
                gradient = _fresh(results[1], rows)
                _put(gradient, at, mark, own_slope, block)
                answer.slope[block] = gradient
            return total

        answer.sums = _in_threads(work, logits)
        return answer


class MulticlassKernel:
    """A cls-multiclass loss that is a function of the own class's log-probability and of w."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        tape = Tape()
        leaf = tape.leaf("L")
        known = {"Y": tape.constant(1.0), "Z": tape.leaf("Z")}
        own: dict[int, int] = {}
        for index, node in enumerate(nodes):
            if node.symbol == "LogSoftmax":
                own[index] = leaf
            elif node.symbol == "Softmax":
                own[index] = tape.apply("Exp", leaf)
            elif node.symbol == "X":
                own[index] = leaf  # only LogSoftmax and Softmax read it, and they are here already
            elif node.symbol == "Dot":
                own[index] = tape.apply("Mul", own[node.args[0]], own[node.args[1]])
            else:
                own[index] = (
                    tape.graph([node._replace(args=())], known)
                    if not node.args
                    else tape.apply(node.symbol, *(own[a] for a in node.args))
                )
        root = own[len(nodes) - 1]
        self.followed = Program(tape, [root], in_place=False)
        self.program = (Program(tape, [root]), Program(tape, [root, tape.differentiate(root, leaf)]))

    def __call__(
        self, logits: Tensor, target: Tensor, iou: Tensor | None, elements: bool, slope: bool
    ) -> _Answer:
        weight = _weight(logits, target, iou)
        answer = _Answer(logits, elements, slope, per_sample=True)
        for block in _blocks(logits, SOFTMAX_BLOCK if torch.get_num_threads() > 1 else BLOCK):
            column = target[block].unsqueeze(-1)
            log_p = torch.log_softmax(logits[block], -1)
            own = log_p.gather(-1, column)
            results = self.program[slope].run({"L": own, "Z": weight[block].unsqueeze(-1)})
            answer.sums.append(answer.take(block, _fresh(results[0], own).squeeze(-1)))
            if answer.slope is not None:
                # Faster than exp(log_p): torch's softmax has an exponential of its own.
                gradient = torch.softmax(logits[block], -1, out=answer.slope[block])
                # It is −1 for cross-entropy, and then a pass is saved.
                if isinstance(results[1], Tensor) or results[1] != -1.0:
                    gradient.mul_(-results[1])
                gradient.scatter_add_(-1, column, _fresh(results[1], own))
        return answer

    def elements(self, logits: Tensor, target: Tensor, iou: Tensor | None) -> Tensor:
        """The loss of each sample, for autograd and compilers: without a one-hot target."""
        own = torch.log_softmax(logits, 1).gather(1, target.unsqueeze(1))  # -1: ONNX tools stumble over it
        weight = _weight(logits, target, iou).unsqueeze(-1)
        (value,) = self.followed.run({"L": own, "Z": weight})
        return (value if isinstance(value, Tensor) else torch.full_like(own, value)).squeeze(-1)


Kernel = BinaryKernel | MulticlassKernel


def kernel_of(graph: LossGraph, alpha: float | None) -> Kernel | None:
    """The fused form of a loss, or None for an expression or signature that has none."""
    nodes = stabilize(graph).nodes
    head = form_of(graph.signature).head
    if head == "sigmoid" and all(_shape(node) == "elementwise" for node in nodes):
        return BinaryKernel(nodes, alpha)
    if head == "softmax" and not standing_in(graph) and _picks_its_own(nodes, graph):
        return MulticlassKernel(nodes)
    return None


def _shape(node: Node) -> ShapeRule:
    """How the node treats the class axis."""
    return ALL_OPERATORS[node.symbol].shape if node.args else "elementwise"


def _picks_its_own(nodes: tuple[Node, ...], graph: LossGraph) -> bool:
    """Whether classes meet only in Softmax(X), and every Dot has Y for a factor."""
    variables = graph.signature.variables
    marked: list[bool] = []  # has Y for a factor, so it is 0 at all classes but the own
    crossed: list[bool] = []  # a per-class value that no Dot has picked from yet
    for node in nodes:
        if node.symbol in ("Softmax", "LogSoftmax"):
            if nodes[node.args[0]].symbol != "X":
                return False
            marked.append(False)
            crossed.append(True)
        elif "X" in (nodes[a].symbol for a in node.args):
            return False
        elif node.symbol == "Dot":
            if not any(marked[a] for a in node.args):
                return False
            marked.append(False)
            crossed.append(False)
        elif _shape(node) != "elementwise":
            return False
        else:
            by_class = node.symbol in variables and node.symbol != "Z"
            crossed.append(by_class or any(crossed[a] for a in node.args))
            factor = node.symbol == "Y" or (
                node.symbol in ("Mul", "Neg") and any(marked[a] for a in node.args)
            )
            marked.append(factor)
    return not crossed[-1]


class FusedLoss(torch.autograd.Function):
    """`apply(logits, target, iou, kernel, plain, reduction, slope)` is the reduced loss.

    `slope` says whether a backward is to be prepared.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        iou: Tensor | None,
        kernel: Kernel,
        plain: Plain,
        reduction: str,
        slope: bool,
    ) -> Tensor:
        answer = kernel(logits, target, iou, reduction == "none", slope)
        ctx.save_for_backward(logits, target, iou)
        ctx.kernel, ctx.plain = kernel, plain
        ctx.slope = answer.slope
        ctx.per_sample = answer.per_sample
        ctx.share = 1.0 / max(answer.count, 1) if reduction == "mean" else 1.0
        if reduction == "none":
            assert answer.elements is not None
            return answer.elements
        if answer.count == 0:
            return logits.new_zeros(())
        return answer.total * ctx.share

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, iou = ctx.saved_tensors
        upstream = upstream * ctx.share if ctx.share != 1.0 else upstream
        if torch.is_grad_enabled():
            values = ctx.plain(logits, target, iou)
            if not values.requires_grad:
                return torch.zeros_like(logits), *[None] * 6
            (gradient,) = torch.autograd.grad(values, logits, upstream.expand_as(values), create_graph=True)
            return gradient, *[None] * 6
        slope, ctx.slope = ctx.slope, None
        if slope is None:  # a second backward through a graph that was retained
            slope = ctx.kernel(logits, target, iou, False, True).slope
        if upstream.dim() == 1:
            upstream = upstream.unsqueeze(-1)
        if upstream.dim() or upstream.device.type != "cpu" or upstream.item() != 1.0:
            slope.mul_(upstream)
        return slope, *[None] * 6


class _Answer:
    """What a kernel gives: the sum or the elements, and the derivative by each logit."""

    def __init__(self, logits: Tensor, elements: bool, slope: bool, per_sample: bool = False) -> None:
        shape = logits.shape[:1] if per_sample else logits.shape
        self.per_sample = per_sample
        self.count = math.prod(shape)
        self.elements = logits.new_empty(shape) if elements else None
        self.slope = torch.empty_like(logits, memory_format=torch.contiguous_format) if slope else None
        self.sums: list[Tensor | None] = []

    def take(self, block: slice, values: Tensor) -> Tensor | None:
        """Keep the values of a block, or give their sum where only that is wanted."""
        if self.elements is None:
            return values.sum()
        self.elements[block] = values
        return None

    @property
    def total(self) -> Tensor:
        """Sum of all values."""
        return torch.stack([part for part in self.sums if part is not None]).sum()


def _binary_program(
    nodes: tuple[Node, ...], y: float, weight: float, *, own: bool
) -> tuple[Program, Program]:
    """Programs for the value, and for value and slope, of the classes with that y."""
    tape = Tape()
    leaf = tape.leaf("X")
    quality = tape.leaf("Q") if own else tape.constant(0.0)
    known = {"X": leaf, "Q": quality, "PY": tape.constant(y), "NY": tape.constant(1 - y)}
    for one in STANDING:
        if any(node.symbol == one.name for node in nodes):
            known[one.name] = tape.leaf(one.name)
    root = tape.apply("Mul", tape.graph(nodes, known), tape.constant(weight))
    return Program(tape, [root]), Program(tape, [root, tape.differentiate(root, leaf)])


def _weight(logits: Tensor, target: Tensor, iou: Tensor | None) -> Tensor:
    """w of each sample: the IoU of positives, 1 for background; (N,)."""
    ones = torch.ones_like(target, dtype=logits.dtype)
    return ones if iou is None else torch.where(target < logits.shape[-1] - 1, iou.to(logits.dtype), ones)


def _blocks(logits: Tensor, numbers: int) -> list[slice]:
    rows, columns = logits.shape
    if logits.device.type != "cpu":
        return [slice(0, rows)]
    step = max(1, numbers // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _in_threads(work: Callable[[slice], Tensor | None], logits: Tensor) -> list[Tensor | None]:
    """`work` on each block, answers in order: always the same sum, however the threads run.

    The threads are torch's number but not its own, which meet after each operation; these meet once.
    """
    threads = torch.get_num_threads()
    blocks = _blocks(logits, SERIAL_BLOCK)
    if threads == 1 or logits.numel() < FEWEST_FOR_THREADS or logits.device.type != "cpu":
        return [work(block) for block in _blocks(logits, BLOCK)]
    share = -(-len(blocks) // (4 * threads))

    @torch.no_grad()
    def run(part: list[slice]) -> list[Tensor | None]:
        return [work(block) for block in part]

    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(run, [blocks[i : i + share] for i in range(0, len(blocks), share)])
        return [answer for part in parts for answer in part]


def _fresh(value: Value, like: Tensor) -> Tensor:
    """`value` as a tensor of its own: a number is spread, and the input itself is copied."""
    if not isinstance(value, Tensor):
        return torch.full_like(like, value)
    if value.untyped_storage().data_ptr() == like.untyped_storage().data_ptr():
        return value.clone()
    return value


def _put(values: Tensor, column: Tensor, positive: Tensor, own: Value, block: slice) -> None:
    """Write the positives' own values in place."""
    chosen = own[block] if isinstance(own, Tensor) else torch.full_like(values[:, :1], own)
    values.scatter_(-1, column, torch.where(positive, chosen, values.gather(-1, column)))
