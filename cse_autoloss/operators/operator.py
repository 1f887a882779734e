"""What an operator is: one value that states every fact the rest of the program derives things from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import BuiltinFunctionType, ModuleType
from typing import Any, Literal

from torch import Tensor

from cse_autoloss.operators.intervals import UNBOUNDED, Interval
from cse_autoloss.operators.terms import Term, term

ShapeRule = Literal["elementwise", "softmax", "sum"]
"""How an operator treats the class axis.

- elementwise: the arguments are broadcast against each other, each element by itself;
- softmax: per-class in, per-class out, the classes of a sample see each other;
- sum: elementwise, then summed over the class axis, so per-class in, per-sample out.
"""

Value = Tensor | float
Derivative = Callable[..., tuple[Value, ...]]
Pull = Callable[[Tensor, Sequence[Tensor], Tensor], tuple[Tensor, ...]]
Dual = Callable[[Sequence[Value], Sequence[Tensor | None]], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Operator:
    """One primitive of the loss expressions. What has a default below may be left out of an entry.

    Attributes:
        name: its name in formulas, for example "Softplus".
        arity: number of arguments, 1 or 2.
        shape: what it does to the class axis.
        torch: the value, from tensors that broadcast against each other; the class axis is the last one. Of shape
            "sum", what is summed.
        sympy: the same as a SymPy expression; the first argument is the sympy module. ε is Symbol("epsilon").
        source: template of the line of torch code for `torch`; arguments are names, numbers or parenthesised.
        meaning: the formula in plain text.
        origin: where the operator comes from.
        derivative: the partial derivatives by each argument, as terms over a, b and the value v, or as a function of
            (v, a, b). Without one, autograd finds them, which is right and slow. Not for shape "softmax".
        spelled: the derivative as terms, for whom shares work between value and derivative, where `derivative` is a
            function for the sake of its digits.
        followed: the derivative as terms that intervals can follow, where neither of the two is: without cancellation,
            and with Step(a), 1 where a > 0 and else 0, where it jumps.
        pull: of shape "softmax": from (value, arguments, gradient of the value) the arguments' gradients, class axis
            last. Without one, autograd.
        dual: from (arguments, their slopes) the value and its slope, class axis second, for whom one pass is more
            exact or cheaper than value and derivative apart. An argument may be a number, and None stands still.
        interval: from an interval (low, high) for each argument, one that holds all real values. Ends are float64
            numbers or numpy arrays of many boxes that broadcast: np.maximum, not max. Without one, it holds everything.
        kinks: values of the first argument where the derivative jumps.
        ties: whether it jumps where both arguments are equal.
        rewrites: (pattern, term) of the stable rewrites that lead to this operator, see `graph.rewrite`.
        stable: a fused form that rewrites put in; no formula may name it.
        latex: template for `str.format`; `{0}`, `{1}` are the arguments. Without one, its name in lower case.
        latex_level: how tightly the rendered form binds (0 sum, 1 product, 2 atom).
        latex_needs: what level each argument must have to stand without parentheses.
        commutative: whether f(a, b) = f(b, a).
        opaque: stays a function of its own in SymPy: σ(x) reads better than 1/(1 + e⁻ˣ).
        named: its code does not tell what it is, so exported code gives it a line of its own.
    """

    name: str
    arity: int
    shape: ShapeRule
    torch: Callable[..., Tensor]
    sympy: Callable[..., Any]
    source: str
    meaning: str
    origin: str
    derivative: tuple[str, ...] | Derivative | None = None
    spelled: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    pull: Pull | None = None
    dual: Dual | None = None
    interval: Callable[..., Interval] = lambda *_: UNBOUNDED
    kinks: tuple[float, ...] = ()
    ties: bool = False
    rewrites: tuple[tuple[str, str], ...] = ()
    stable: bool = False
    latex: str = ""
    latex_level: int = 2
    latex_needs: tuple[int, ...] = ()
    commutative: bool = False
    opaque: bool = False
    named: bool = False

    def __post_init__(self) -> None:
        arguments = ", ".join(f"{{{i}}}" for i in range(self.arity))
        default = rf"\operatorname{{{{{self.name.lower()}}}}}\left({arguments}\right)"
        object.__setattr__(self, "latex", self.latex or default)
        object.__setattr__(self, "latex_needs", self.latex_needs or (0,) * self.arity)

    @cached_property
    def function(self) -> Callable[..., Tensor]:
        """The value with the class axis last, the sum of shape "sum" included."""
        inner = self.torch
        return inner if self.shape != "sum" else lambda *args: inner(*args).sum(-1, keepdim=True)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The partial derivatives as terms over v, a and b; empty where they are declared by a function alone."""
        texts = self.spelled or (self.derivative if isinstance(self.derivative, tuple) else ())
        return tuple(term(text) for text in texts)

    @cached_property
    def followed_terms(self) -> tuple[Term, ...]:
        """The partial derivatives as terms for intervals; empty where none are declared."""
        return tuple(term(text) for text in self.followed) or self.terms

    @cached_property
    def in_place(self) -> Callable[..., Tensor] | None:
        """torch's form of the function that overwrites its first argument."""
        builtin = isinstance(self.torch, BuiltinFunctionType)
        return getattr(Tensor, f"{self.torch.__name__}_", None) if builtin else None

    @cached_property
    def takes_numbers(self) -> bool:
        """Whether a number may stand for an argument of `torch`: Python's own arithmetic."""
        return getattr(self.torch, "__module__", "") == "_operator"

    def per_class(self, args: Sequence[bool]) -> bool | None:
        """Whether the value has a class axis, from whether each argument has; None where they don't fit."""
        if self.shape != "elementwise" and not any(args):
            return None
        return any(args) and self.shape != "sum"

    def to_sympy(self, sympy: ModuleType, *args: Any) -> Any:
        """The SymPy form of this operator on SymPy arguments."""
        return self.sympy(sympy, *args)
