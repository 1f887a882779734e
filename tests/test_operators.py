"""Every operator against its own declarations, generically: a 22nd entry in the table is tested as it is."""

import math
import re
from itertools import pairwise, product

import pytest
import sympy
import torch
from torch import Tensor

from cse_autoloss.operators import ALL_OPERATORS, EPSILON, OPERATORS, PAPER_OPERATORS, Operator
from cse_autoloss.operators.derivatives import dual, partials, pull
from cse_autoloss.operators.intervals import cosine, divide, multiply
from cse_autoloss.operators.terms import names_in, term

POINTS = (-87.0, -20.0, -3.0, -1.0, -0.3, -1e-13, 0.0, 1e-13, 0.3, 1.0, 3.0, 20.0, 87.0)
EXTREMES = (-1e15, -1e4, *POINTS, 88.5, 1e4, 1e15)
"""Beyond 1e19 Salf's square overflows in float32."""
pointwise = [op for op in ALL_OPERATORS.values() if op.shape != "softmax"]
each = pytest.mark.parametrize("operator", ALL_OPERATORS.values(), ids=lambda op: op.name)
each_pointwise = pytest.mark.parametrize("operator", pointwise, ids=lambda op: op.name)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def exact_form(operator: Operator) -> tuple[list[sympy.Symbol], sympy.Expr]:
    symbols = list(sympy.symbols("a b", real=True)[: operator.arity])
    return symbols, operator.to_sympy(sympy, *symbols).subs(sympy.Symbol("epsilon"), sympy.Float("1e-20", 40))


def real_arguments(operator: Operator) -> list[tuple[tuple[float, ...], float]]:
    """Points where the operator has a real value, and that value."""
    symbols, form = exact_form(operator)
    found = []
    for values in product(POINTS, repeat=operator.arity):
        exact = form.subs({s: sympy.Float(v, 40) for s, v in zip(symbols, values, strict=True)}).evalf(30)
        if exact.is_real and exact.is_finite:
            found.append((values, float(exact)))
    assert len(found) >= 5
    return found


def at_kink(operator: Operator, values: tuple[float, ...]) -> bool:
    near = any(abs(values[0] - kink) < 1e-9 for kink in operator.kinks)
    return near or (operator.ties and abs(values[0] - values[-1]) < 1e-9)


def tensors(values: tuple[float, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.tensor(v, dtype=dtype) for v in values]


@each_pointwise
def test_torch_equals_sympy(operator: Operator) -> None:
    for values, expected in real_arguments(operator):
        got = operator.torch(*tensors(values)).item()
        assert got == pytest.approx(expected, rel=1e-12, abs=1e-15), values


@each_pointwise
def test_declared_derivative_equals_autograd(operator: Operator) -> None:
    for values, _ in real_arguments(operator):
        if at_kink(operator, values):
            continue
        args = [a.requires_grad_() for a in tensors(values)]
        value = operator.torch(*args)
        expected = torch.autograd.grad(value, args, allow_unused=True, materialize_grads=True)
        found = partials(operator, value.detach(), [a.detach() for a in args])
        for partial, grad in zip(found, expected, strict=True):
            assert float(partial) == pytest.approx(grad.item(), rel=1e-10, abs=1e-15), values


@each_pointwise
def test_gradcheck(operator: Operator) -> None:
    generator = torch.Generator().manual_seed(0)
    args = [torch.rand(7, dtype=torch.float64, generator=generator) + 0.3 for _ in range(operator.arity)]
    assert torch.autograd.gradcheck(operator.torch, [a.requires_grad_() for a in args])


@each_pointwise
def test_derivative_jumps_at_declared_kinks_alone(operator: Operator) -> None:
    """Between neighbouring points of a fine walk, away from kinks, the slope does not jump."""
    step = 1e-4

    def slope(a: float) -> float:
        args = tensors((a, 0.0)[: operator.arity])
        return float(partials(operator, operator.torch(*args), args)[0])

    places = [k + side for k in operator.kinks for side in (-step, step)]
    for below, above in zip(places[::2], places[1::2], strict=True):
        assert abs(slope(above) - slope(below)) > 0.5
    if operator.ties:
        assert abs(slope(step) - slope(-step)) > 0.5
    jumps = {*operator.kinks, *((0.0,) if operator.ties else ())}
    walk = [0.1 + 0.01 * i for i in range(300)] + [-0.1 - 0.01 * i for i in range(300)]
    for a, b in pairwise(sorted(walk)):
        if b - a < 0.02 and not any(a <= kink <= b for kink in jumps) and math.isfinite(slope(a)):
            assert abs(slope(b) - slope(a)) < 0.2 * (1 + abs(slope(a))), (a, b)


@each
def test_slopes_pass_both_ways_as_autograd_has_them(operator: Operator) -> None:
    generator = torch.Generator().manual_seed(0)
    args = [torch.rand(5, 4, dtype=torch.float64, generator=generator) + 0.2 for _ in range(operator.arity)]
    tangents = [torch.randn(5, 4, dtype=torch.float64, generator=generator) for _ in args]
    value, expected = torch.func.jvp(operator.function, tuple(args), tuple(tangents))
    assert value.shape == ((5, 1) if operator.shape == "sum" else (5, 4))
    got, slope = dual(operator, args, tangents)
    torch.testing.assert_close(got, value)
    torch.testing.assert_close(slope, expected)
    for keep in range(operator.arity):
        alone = [t if i == keep else None for i, t in enumerate(tangents)]
        zeros = [t if i == keep else torch.zeros_like(t) for i, t in enumerate(tangents)]
        wanted = torch.func.jvp(operator.function, tuple(args), tuple(zeros))[1]
        torch.testing.assert_close(dual(operator, args, alone)[1], wanted)
    own = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    free = [a.clone().requires_grad_() for a in args]
    wide = operator.function(*free).expand(5, 4)
    gradients = torch.autograd.grad(wide, free, own)
    for found, gradient in zip(pull(operator, value.expand(5, 4), args, own), gradients, strict=True):
        torch.testing.assert_close(found.expand(5, 4), gradient)


@each
def test_source_template_equals_torch(operator: Operator) -> None:
    args = [torch.rand(3, 4, dtype=torch.float64) + 0.1 for _ in range(operator.arity)]
    names = [f"v{i}" for i in range(operator.arity)]
    line = operator.source.format(*names)
    got = eval(line, {"torch": torch, **dict(zip(names, args, strict=True))})
    torch.testing.assert_close(got, operator.torch(*args), rtol=1e-12, atol=1e-15)


@each
@both_dtypes
def test_values_lie_within_the_interval_rule(operator: Operator, dtype: torch.dtype) -> None:
    """Of each box between two points of the grid: its corners and its middle."""
    ends = [torch.tensor(p, dtype=dtype).item() for p in EXTREMES]
    spans = [(a, b) for a, b in product(ends, repeat=2) if a <= b]
    boxes = [(s,) for s in spans] if operator.arity == 1 else list(product(spans, repeat=2))[::97]
    for box in boxes:
        low, high = (float(end) for end in operator.interval(*box))
        assert low <= high
        places = list(product(*[(a, 0.5 * a + 0.5 * b, b) for a, b in box]))
        args = [torch.tensor([place[i] for place in places], dtype=dtype) for i in range(operator.arity)]
        value = operator.torch(*args).double()
        value = value[value.isfinite()]
        slack = 8 * torch.finfo(dtype).eps * value.abs().clamp(min=1)
        assert ((value >= low - slack) & (value <= high + slack)).all(), (box, low, high, value)


def test_an_extreme_inside_an_interval_is_found() -> None:
    low, high = cosine((3.0, 3.3))
    assert low == -1.0  # at π; both ends are higher
    assert math.cos(3.3) <= high < math.cos(3.3) + 1e-6
    assert multiply((-2.0, 3.0), (-5.0, 1.0)) == pytest.approx((-15.0, 10.0))
    assert divide((1.0, 2.0), (-1e-13, 4.0)) == (-math.inf, math.inf)


@each
def test_declarations_are_complete(operator: Operator) -> None:
    assert operator.meaning
    assert operator.origin
    assert len(operator.latex_needs) == operator.arity
    rendered = operator.latex.format(*["a", "b"][: operator.arity])
    assert rendered.count("{") == rendered.count("}")
    assert len(operator.terms) in (0, operator.arity)
    for pattern, result in operator.rewrites:
        assert len(re.findall(r"\b[a-z]\b", pattern)) == 1
        assert names_in(term(pattern)) | names_in(term(result)) <= set(ALL_OPERATORS)
    if operator.commutative:
        one, two = (torch.rand(2, 3, dtype=torch.float64) for _ in range(2))
        torch.testing.assert_close(operator.torch(one, two), operator.torch(two, one))


def test_the_papers_operators_are_there_in_the_order_that_seeds_mean() -> None:
    assert [name for name in OPERATORS if name in PAPER_OPERATORS] == list(PAPER_OPERATORS)


@pytest.mark.parametrize("name", ["Sig", "Serf", "Salf", "Sgdf"])
def test_s_curves_are_half_with_slope_a_quarter_at_zero(name: str) -> None:
    operator = OPERATORS[name]
    at = torch.tensor(0.0, dtype=torch.float64)
    value = operator.torch(at)
    assert value.item() == pytest.approx(0.5)
    assert float(partials(operator, value, [at])[0]) == pytest.approx(0.25)


def test_epsilons_and_limits_of_the_paper() -> None:
    assert OPERATORS["Log"].torch(torch.tensor(0.0)).item() == pytest.approx(math.log(EPSILON), rel=1e-6)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    assert OPERATORS["Div"].torch(one, zero).item() == pytest.approx(1e20, rel=1e-6)
    assert torch.isfinite(OPERATORS["Exp"].torch(torch.tensor(1e4)))


def test_a_wrong_derivative_would_be_noticed() -> None:
    sine = OPERATORS["Sin"]
    at = torch.tensor(0.5, dtype=torch.float64)
    assert float(partials(sine, sine.torch(at), [at])[0]) != pytest.approx(math.sin(0.5))
