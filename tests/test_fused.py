"""The fused form of a loss: the same as the plain one in value, gradient and second derivative."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from cse_autoloss.errors import FormulaError
from cse_autoloss.graph import GraphBuilder, LossGraph
from cse_autoloss.losses import GraphLoss, list_losses, load_loss
from cse_autoloss.losses import fused as fused_module
from cse_autoloss.losses.fused import kernel_of
from cse_autoloss.spaces import SIGNATURES, parse

OF_ALL_CLASSES = {"label-smoothing"}
"""They read the logarithm of every class's probability, so they have no kernel, which sees the true class alone."""
CLASSIFICATION = [
    entry
    for entry in list_losses()
    if entry.signature.name.startswith("cls") and entry.name not in OF_ALL_CLASSES and not entry.whole
]
MULTICLASS = [entry.name for entry in CLASSIFICATION if entry.signature.name == "cls-multiclass"]


def data(branch: str, rows: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(rows, 3, dtype=torch.float64, generator=generator) * 3
    target = torch.arange(rows) % (4 if branch == "cls-binary" else 3)
    return logits, target, torch.rand(rows, dtype=torch.float64, generator=generator)


def value_and_gradient(
    loss: GraphLoss, logits: Tensor, target: Tensor, iou: Tensor | None
) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, target, iou)
    if not value.requires_grad:
        return value, torch.zeros_like(logits)
    generator = torch.Generator().manual_seed(4)
    weights = torch.rand(value.shape, dtype=value.dtype, generator=generator)
    (gradient,) = torch.autograd.grad((value * weights).sum(), logits)
    return value.detach(), gradient


def both(graph: LossGraph, reduction: str, alpha: float | None = None) -> tuple[GraphLoss, GraphLoss]:
    fused, plain = GraphLoss(graph, reduction, alpha), GraphLoss(graph, reduction, alpha)
    plain.fused = False
    return fused, plain


def random_graph(branch: str, draw: random.Random) -> LossGraph | None:
    """A random expression of that branch, or None where the draw fits no shapes."""
    signature = SIGNATURES[branch]
    builder = GraphBuilder(signature)
    nodes = [builder.add(terminal) for terminal in signature.terminals]
    if branch == "cls-multiclass":
        nodes += [builder.add("Softmax", builder.add("X"))] * 3
    try:
        for _ in range(draw.randint(2, 9)):
            symbol = draw.choice([name for name in signature.operators if name != "Softmax"])
            arity = 2 if symbol in ("Add", "Sub", "Mul", "Div", "Dot") else 1
            nodes.append(builder.add(symbol, *(draw.choice(nodes[-8:]) for _ in range(arity))))
        if branch == "cls-multiclass":
            nodes.append(builder.add("Dot", builder.add("Y"), nodes[-1]))
        return builder.finish(nodes[-1])
    except FormulaError:
        return None


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in CLASSIFICATION])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("with_iou", [True, False])
def test_catalogue(entry: object, reduction: str, with_iou: bool) -> None:
    loss = entry.make(reduction)  # type: ignore[attr-defined]
    assert isinstance(loss, GraphLoss)
    assert kernel_of(loss.graph, loss.alpha) is not None
    fused, plain = both(loss.graph, reduction, loss.alpha)
    logits, target, iou = data(loss.signature.name)
    for got, wanted in zip(
        value_and_gradient(fused, logits, target, iou if with_iou else None),
        value_and_gradient(plain, logits, target, iou if with_iou else None),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("branch", ["cls-binary", "cls-multiclass"])
def test_random_expressions(branch: str) -> None:
    draw, seen = random.Random(8), 0
    logits, target, iou = data(branch)
    for _ in range(600):
        graph = random_graph(branch, draw)
        if graph is None or kernel_of(graph, None) is None:
            continue
        fused, plain = both(graph, "none", 0.3 if branch == "cls-binary" else None)
        value, gradient = value_and_gradient(plain, logits, target, iou)
        if not (value.isfinite().all() and gradient.isfinite().all() and gradient.abs().max() < 1e6):
            continue
        seen += 1
        got_value, got_gradient = value_and_gradient(fused, logits, target, iou)
        torch.testing.assert_close(got_value, value, rtol=1e-9, atol=1e-10, msg=str(graph))
        torch.testing.assert_close(got_gradient, gradient, rtol=1e-7, atol=1e-8, msg=str(graph))
    assert seen >= 100


@pytest.mark.parametrize("entry", MULTICLASS)
@pytest.mark.parametrize("with_iou", [True, False])
def test_what_compilers_see_is_the_plain_form(entry: str, with_iou: bool) -> None:
    loss = load_loss(entry, reduction="none")
    assert isinstance(loss, GraphLoss)
    kernel = kernel_of(loss.graph, None)
    assert isinstance(kernel, fused_module.MulticlassKernel)
    logits, target, iou = data("cls-multiclass")
    logits.requires_grad_()
    values = [f(logits, target, iou if with_iou else None) for f in (kernel.elements, loss.elements)]
    torch.testing.assert_close(values[0], values[1])
    gradients = [torch.autograd.grad(value.sum(), logits)[0] for value in values]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in CLASSIFICATION])
def test_first_and_second_derivative(entry: object) -> None:
    loss = entry.make("sum")  # type: ignore[attr-defined]
    logits, target, iou = data(loss.signature.name, 4)
    logits.requires_grad_()
    assert gradcheck(lambda x: loss(x, target, iou), logits)
    assert gradgradcheck(lambda x: loss(x, target, iou), logits)


@pytest.mark.parametrize(
    "formula", ["Exp(X)", "X", "Add(1,2)", "Mul(PY,X)", "Sub(X,X)", "Mul(X,X)", "Neg(X)", "Q"]
)
def test_outputs_that_share_memory_or_are_constant(formula: str) -> None:
    fused, plain = both(parse(formula, "cls-binary"), "none")
    logits, target, iou = data("cls-binary")
    before = logits.clone()
    for got, wanted in zip(
        value_and_gradient(fused, logits, target, iou),
        value_and_gradient(plain, logits, target, iou),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    ("formula", "fusible"),
    [
        ("Neg(Dot(Y,Log(Softmax(X))))", True),
        ("Dot(Mul(Neg(Y),Z),Log(Softmax(X)))", True),
        ("Dot(X,Y)", False),
        ("Dot(Softmax(X),Softmax(X))", False),
        ("Dot(Y,Softmax(Neg(X)))", False),
        ("Dot(Add(Y,1),Softmax(X))", False),
        ("Dot(Y,Mul(X,Softmax(X)))", False),
        ("Z", True),
    ],
)
def test_what_can_be_fused(formula: str, fusible: bool) -> None:
    assert (kernel_of(parse(formula, "cls-multiclass"), None) is not None) == fusible


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["focal", "cross-entropy", "cse-autoloss-b-cls"])
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_blocks_and_threads_do_not_show(
    name: str, threads: int, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, target, iou = data("cls-multiclass", 23)
    loss = load_loss(name, reduction=reduction)
    assert isinstance(loss, GraphLoss)
    whole = value_and_gradient(loss, logits, target, iou)
    for size in ("BLOCK", "SERIAL_BLOCK", "SOFTMAX_BLOCK", "FEWEST_FOR_THREADS"):
        monkeypatch.setattr(fused_module, size, 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for got, wanted in zip(value_and_gradient(loss, logits, target, iou), whole, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["focal", "cross-entropy"])
def test_a_retained_graph_can_be_backed_twice(name: str) -> None:
    logits, target, iou = data("cls-multiclass")
    logits.requires_grad_()
    value = load_loss(name)(logits, target, iou) * 3
    (first,) = torch.autograd.grad(value, logits, retain_graph=True)
    (second,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(first, second)


def test_masked_logits_give_no_nan() -> None:
    # The plain form multiplies −inf by y = 0.
    logits = torch.tensor([[1.0, -float("inf"), 0.5]], requires_grad=True)
    value = load_loss("cross-entropy")(logits, torch.tensor([0]))
    value.backward()
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(logits, torch.tensor([0])))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["focal", "cross-entropy"])
def test_torch_compile_takes_the_plain_form_in_one_graph(name: str) -> None:
    loss = load_loss(name)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    logits, target, iou = data("cls-multiclass")
    logits.requires_grad_()
    (got,) = torch.autograd.grad(compiled(logits, target, iou), logits)
    (wanted,) = torch.autograd.grad(loss(logits, target, iou), logits)
    torch.testing.assert_close(got, wanted)


def test_no_gradient_is_prepared_where_none_is_wanted() -> None:
    logits, target, iou = data("cls-binary")
    with torch.no_grad():
        value = load_loss("focal")(logits.requires_grad_(), target, iou)
    assert not value.requires_grad
    assert not load_loss("focal")(logits.detach(), target, iou).requires_grad


def test_a_loss_under_torch_func_needs_the_plain_form() -> None:
    logits, target, _ = data("cls-binary")
    loss = load_loss("focal")
    assert isinstance(loss, GraphLoss)
    loss.fused = False
    got = torch.func.grad(lambda x: loss.elements(x, target).sum())(logits)
    torch.testing.assert_close(got, torch.func.grad(lambda x: loss(x, target) * logits.numel())(logits))
