"""What an operator is: one value that states every fact the rest of the program derives things from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from torch import Tensor

ShapeRule = Literal["elementwise", "softmax", "dot"]
"""How an operator treats the class axis.

- elementwise: the arguments are broadcast against each other, each element by itself;
- softmax: per-class in, per-class out, the classes of a sample see each other;
- dot: sums over the class axis, so per-class in, per-sample out.
"""


@dataclass(frozen=True)
class Operator:
    """One primitive of the loss expressions.

    Attributes:
        name: its name in formulas, for example "Softplus".
        arity: number of arguments.
        shape: what it does to the class axis.
        torch: the value, from tensors that broadcast against each other; the class axis is the last one.
        derivative: from the value and the arguments, the tuple of partial derivatives. Elementwise: one tensor
            an argument. Softmax and Dot have `jvp` instead.
        jvp: directional derivative from (value, arguments, tangents); made from `derivative` if elementwise.
        sympy: the same as a SymPy expression; the first argument is the sympy module. ε is Symbol("epsilon").
        latex: template for `str.format`; `{0}`, `{1}` are the arguments.
        latex_level: how tightly the rendered form binds (0 sum, 1 product, 2 atom).
        latex_needs: what level each argument must have to stand without parentheses.
        source: template of the line of torch code; arguments are names, numbers or parenthesised.
        meaning: the formula in plain text.
        origin: where the operator comes from.
        commutative: whether f(a, b) = f(b, a).
    """

    name: str
    arity: int
    shape: ShapeRule
    torch: Callable[..., Tensor]
    sympy: Callable[..., Any]
    latex: str
    latex_needs: tuple[int, ...]
    source: str
    meaning: str
    origin: str
    derivative: Callable[..., tuple[Tensor, ...]] | None = None
    cross_jvp: Callable[[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]], Tensor] | None = None
    latex_level: int = 2
    commutative: bool = False

    def jvp(self, value: Tensor, args: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> Tensor:
        """Derivative of the value along `tangents`, one for each argument; all broadcast."""
        if self.cross_jvp is not None:
            return self.cross_jvp(value, args, tangents)
        assert self.derivative is not None
        partials = self.derivative(value, *args)
        total = partials[0] * tangents[0]
        for partial, tangent in zip(partials[1:], tangents[1:], strict=True):
            total = total + partial * tangent
        return total

    def to_sympy(self, sympy: ModuleType, *args: Any) -> Any:
        """The SymPy form of this operator on SymPy arguments."""
        return self.sympy(sympy, *args)
