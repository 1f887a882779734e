"""Every operator against its own declarations, generically: a 22nd entry in the table is tested as it is."""

import math

import pytest
import sympy
import torch

from cse_autoloss.operators import EPSILON, OPERATORS, STABLE_OPERATORS, Operator

ALL = {**OPERATORS, **STABLE_OPERATORS}
POINTS = (-87.0, -20.0, -3.0, -1.0, -0.3, -1e-13, 0.0, 1e-13, 0.3, 1.0, 3.0, 20.0, 87.0)
POSITIVE_ONLY = {"Log", "Sqrt"}
KINKS = {"Abs": (0.0,), "Relu": (0.0,)}
elementwise = [op for op in ALL.values() if op.shape == "elementwise"]


def arguments(operator: Operator) -> list[tuple[float, ...]]:
    points = [p for p in POINTS if p > 0] if operator.name in POSITIVE_ONLY else list(POINTS)
    if operator.arity == 1:
        return [(p,) for p in points]
    pairs = [(a, b) for a in points for b in points]
    return [(a, b) for a, b in pairs if operator.name != "Div" or b != 0.0]


@pytest.mark.parametrize("operator", elementwise, ids=lambda op: op.name)
def test_torch_equals_sympy(operator: Operator) -> None:
    symbols = sympy.symbols("a b", real=True)[: operator.arity]
    form = operator.to_sympy(sympy, *symbols).subs(sympy.Symbol("epsilon"), sympy.Float("1e-20", 40))
    for values in arguments(operator):
        exact = form.subs({s: sympy.Float(v, 40) for s, v in zip(symbols, values, strict=True)})
        expected = float(sympy.re(exact.evalf(30)))
        got = operator.torch(*(torch.tensor(v, dtype=torch.float64) for v in values)).item()
        assert got == pytest.approx(expected, rel=1e-12, abs=1e-15), values


@pytest.mark.parametrize("operator", elementwise, ids=lambda op: op.name)
def test_declared_derivative_equals_autograd(operator: Operator) -> None:
    for values in arguments(operator):
        if any(v in KINKS.get(operator.name, ()) for v in values):
            continue
        args = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
        value = operator.torch(*args)
        expected = torch.autograd.grad(value, args)
        assert operator.derivative is not None
        for partial, grad in zip(
            operator.derivative(value.detach(), *(a.detach() for a in args)), expected, strict=True
        ):
            assert partial.item() == pytest.approx(grad.item(), rel=1e-10, abs=1e-15), values


@pytest.mark.parametrize(
    "operator", [op for op in ALL.values() if op.shape != "elementwise"], ids=lambda op: op.name
)
def test_jvp_of_class_operators_equals_autograd(operator: Operator) -> None:
    generator = torch.Generator().manual_seed(0)
    args = tuple(torch.randn(5, 4, dtype=torch.float64, generator=generator) for _ in range(operator.arity))
    tangents = tuple(torch.randn(5, 4, dtype=torch.float64, generator=generator) for _ in args)
    value, expected = torch.func.jvp(operator.torch, args, tangents)
    torch.testing.assert_close(operator.jvp(value, args, tangents), expected)
    assert value.shape == ((5, 1) if operator.shape == "dot" else (5, 4))


@pytest.mark.parametrize("operator", ALL.values(), ids=lambda op: op.name)
def test_source_template_equals_torch(operator: Operator) -> None:
    args = [torch.rand(3, 4, dtype=torch.float64) + 0.1 for _ in range(operator.arity)]
    names = [f"v{i}" for i in range(operator.arity)]
    line = operator.source.format(*names)
    got = eval(line, {"torch": torch, **dict(zip(names, args, strict=True))})
    torch.testing.assert_close(got, operator.torch(*args), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("operator", ALL.values(), ids=lambda op: op.name)
def test_declarations_are_complete(operator: Operator) -> None:
    assert operator.meaning
    assert operator.origin
    assert len(operator.latex_needs) == operator.arity
    rendered = operator.latex.format(*["a", "b"][: operator.arity])
    assert rendered.count("{") == rendered.count("}")
    assert (operator.derivative is None) == (operator.shape != "elementwise")
    if operator.commutative:
        one, two = (torch.rand(2, 3, dtype=torch.float64) for _ in range(2))
        torch.testing.assert_close(operator.torch(one, two), operator.torch(two, one))


def test_there_are_21() -> None:
    assert len(OPERATORS) == 21
    names = (
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Neg",
        "Abs",
        "Exp",
        "Log",
        "Sqrt",
        "Softplus",
        "Sig",
        "Serf",
        "Erfc",
    )
    assert set(OPERATORS) == {*names, "Salf", "Sgdf", "Tanh", "Relu", "Sin", "Cos", "Softmax", "Dot"}


@pytest.mark.parametrize("name", ["Sig", "Serf", "Salf", "Sgdf"])
def test_s_curves_are_half_with_slope_a_quarter_at_zero(name: str) -> None:
    operator = OPERATORS[name]
    at = torch.tensor(0.0, dtype=torch.float64)
    value = operator.torch(at)
    assert operator.derivative is not None
    assert value.item() == pytest.approx(0.5)
    assert operator.derivative(value, at)[0].item() == pytest.approx(0.25)


def test_epsilons_and_limits_of_the_paper() -> None:
    assert OPERATORS["Log"].torch(torch.tensor(0.0)).item() == pytest.approx(math.log(EPSILON), rel=1e-6)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    assert OPERATORS["Div"].torch(one, zero).item() == pytest.approx(1e20, rel=1e-6)
    assert torch.isfinite(OPERATORS["Exp"].torch(torch.tensor(1e4)))


def test_a_wrong_derivative_would_be_noticed() -> None:
    sine = OPERATORS["Sin"]
    at = torch.tensor(0.5, dtype=torch.float64)
    assert sine.derivative is not None
    assert sine.derivative(sine.torch(at), at)[0].item() != pytest.approx(math.sin(0.5))
