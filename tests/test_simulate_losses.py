"""The batch of losses gives each candidate the values and gradients that it has alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cse_autoloss.graph import LossGraph, compile_graph
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES
from cse_autoloss.operators import OPERATORS
from cse_autoloss.simulation.losses import LossBatch
from cse_autoloss.spaces import SIGNATURES, parse

DETECTION = ("cls-binary", "cls-multiclass", "reg")

CPU = torch.device("cpu")
SAMPLES, CLASSES = 32, 4
MOVING = {"cls-binary": ("X",), "cls-multiclass": ("X",), "reg": ("I", "U", "E")}


def _graphs(branch: str) -> list[LossGraph]:
    """The catalogue's losses, every operator once, shared subexpressions, constants and losses that ignore a
    variable."""
    catalogue = {"cls-binary": BINARY_ENTRIES, "reg": BOX_ENTRIES}.get(branch, ())
    formulas = [entry.formula for entry in catalogue if entry.formula is not None]
    x = "U" if branch == "reg" else "X"
    y = {"cls-binary": "PY", "cls-multiclass": "Y", "reg": "I"}[branch]
    for name in SIGNATURES[branch].operators:
        inner = f"{name}({x})" if OPERATORS[name].arity == 1 else f"{name}({x},Add({y},{x}))"
        if OPERATORS[name].shape == "dot":
            formulas += [inner, f"Mul({inner},Exp({inner}))"]
        elif branch == "cls-multiclass":
            formulas.append(f"Dot({y},{inner})")
        else:
            formulas.append(f"Mul({inner},{inner})")
    formulas += {
        "cls-binary": ["X", "1", "Add(2,3)", "PY", "Mul(Q,Sub(X,X))"],
        "cls-multiclass": ["Z", "1", "Mul(Z,Neg(Dot(Mul(Y,Add(1,Sin(Z))),Log(Softmax(X)))))"],
        "reg": ["I", "2", "Div(I,Mul(U,E))"],
    }[branch]
    return [parse(formula, branch) for formula in formulas]


def _inputs(branch: str, count: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    if branch == "reg":
        area = torch.rand(count, SAMPLES, 1, generator=generator) * 50 + 1
        return {"I": area, "U": area * 1.7, "E": area * 2.1}
    logits = 3 * torch.randn(count, SAMPLES, CLASSES, generator=generator)
    one_hot = torch.eye(CLASSES)[torch.arange(SAMPLES) % CLASSES][None]
    quality = torch.rand(count, SAMPLES, 1, generator=generator)
    if branch == "cls-multiclass":
        return {"X": logits, "Y": one_hot, "Z": quality.expand(-1, -1, CLASSES)}
    return {"X": logits, "Q": one_hot * quality, "PY": one_hot, "NY": 1 - one_hot}


@pytest.mark.parametrize("branch", DETECTION)
def test_values_and_gradients_are_those_of_the_compiled_graph(branch: str) -> None:
    graphs = _graphs(branch)
    inputs = _inputs(branch, len(graphs))
    batch = LossBatch(graphs, MOVING[branch], CPU)
    values = batch.value(inputs)
    seed = torch.rand(SAMPLES, values.shape[-1], generator=torch.Generator().manual_seed(1)) + 0.1
    if branch == "cls-multiclass":
        seed[:, 1:] = 0
    gradients = batch.gradients(seed)
    for number, graph in enumerate(graphs):
        own = {name: tensor[min(number, len(tensor) - 1)].clone() for name, tensor in inputs.items()}
        for name in MOVING[branch]:
            own[name].requires_grad_()
        if branch == "cls-multiclass":
            own["Z"] = own["Z"][:, :1]
        expected = compile_graph(graph)(own).expand(values[number].shape)
        torch.testing.assert_close(values[number], expected, equal_nan=True, rtol=1e-5, atol=1e-6)
        if expected.requires_grad:
            (expected * seed).sum().backward()
        for name in MOVING[branch]:
            slope = own[name].grad if own[name].grad is not None else torch.zeros_like(own[name])
            torch.testing.assert_close(gradients[name][number], slope, equal_nan=True, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("branch", DETECTION)
def test_a_loss_gets_the_same_digits_in_every_company(branch: str) -> None:
    graphs = _graphs(branch)
    inputs = _inputs(branch, len(graphs))
    together = LossBatch(graphs, MOVING[branch], CPU)
    values, seed = together.value(inputs), torch.ones(SAMPLES, 1)
    gradients = together.gradients(seed)
    order = list(range(len(graphs)))[::-3]
    fewer = LossBatch([graphs[n] for n in order], MOVING[branch], CPU)
    some = {name: tensor[order] if len(tensor) > 1 else tensor for name, tensor in inputs.items()}
    assert torch.equal(fewer.value(some).nan_to_num(7.0), values[order].nan_to_num(7.0))
    for name, slope in fewer.gradients(seed).items():
        assert torch.equal(slope.nan_to_num(7.0), gradients[name][order].nan_to_num(7.0))


def test_a_loss_that_overflows_leaves_the_others_alone() -> None:
    graphs = [parse(f) for f in ("Div(PY,Sub(X,X))", "Mul(NY,Softplus(X))", "Log(Neg(Exp(X)))")]
    inputs = _inputs("cls-binary", 3)
    batch = LossBatch(graphs, ("X",), CPU)
    values = batch.value(inputs)
    slope = batch.gradients(torch.ones(SAMPLES, 1))["X"]
    assert torch.isfinite(values).flatten(1).all(1).tolist() == [True, True, False]
    assert torch.isfinite(slope).flatten(1).all(1).tolist() == [False, True, True]
    torch.testing.assert_close(slope[1], inputs["NY"][0] * torch.sigmoid(inputs["X"][1]))
